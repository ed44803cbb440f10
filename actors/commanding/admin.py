"""The commands of those who look after the server: settings, channels, mutes, and why it speaks."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from actors.commanding.support import ChannelSwitch, Done, RefusedError, RuntimeSettings, done
from actors.kernel import ActorRef
from actors.messages import Fetch, Muted
from persona.domain.chat import Channel, ChannelId, ChannelKind
from persona.domain.command_texts import WHY, for_how_long, place, shown_value, when
from persona.domain.commands import RESET, SETTING_KEYS, Invocation
from persona.ports import ChannelProgress, ChannelSeen, Desk, IngestProgress, MessageStore, ReplyRecord

_MUTE_MINUTES = 60
_DECISIONS_SHOWN = 5
_CHANNELS_SHOWN = 60
_CAN_HOLD_TALK = frozenset(
    {ChannelKind.TEXT, ChannelKind.NEWS, ChannelKind.VOICE, ChannelKind.FORUM, ChannelKind.THREAD}
)


class AdminCommands:
    """Carries them out; each change is in the store before it is confirmed."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: MessageStore,
        progress: IngestProgress,
        live: RuntimeSettings,
        allow_list: ChannelSwitch,
        ingest: ActorRef,
        responder: ActorRef,
        restart: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._desk = desk
        self._store = store
        self._progress = progress
        self._live = live
        self._allow_list = allow_list
        self._ingest = ingest
        self._responder = responder
        self._restart = restart
        self._now = now

    def handlers(self) -> Mapping[str, Callable[[Invocation], Awaitable[Done]]]:
        """Return what carries out which command."""
        return {
            "settings": self.settings,
            "channels": self.channels,
            "mute": self.mute,
            "unmute": self.unmute,
            "why": self.why,
            "restart": self.restart,
        }

    # --- settings ---

    async def settings(self, invocation: Invocation) -> Done:
        """Show all settings, or one; or change one."""
        name, value = invocation.options.get("name"), invocation.options.get("value")
        if name is None:
            if value is not None:
                raise RefusedError(f"Which setting? There are: {', '.join(SETTING_KEYS)}.")
            return done("\n".join(self._described(each) for each in SETTING_KEYS), outcome="shown")
        name = str(name)
        if value is None:
            return done(self._described(name), outcome="shown")
        key, by = SETTING_KEYS[name], invocation.caller.author.id
        if str(value).strip().casefold() == RESET:
            change = await self._live.reset(key, by)
            text = f"{name} is {shown_value(change.after)} again, as config.toml says."
        else:
            change = await self._live.change(key, value, by)
            text = f"{name} is {shown_value(change.after)} now; it was {shown_value(change.before)}."
        return done(text, outcome=f"{shown_value(change.before)} -> {shown_value(change.after)}")

    def _described(self, name: str) -> str:
        key = SETTING_KEYS[name]
        source = "changed here" if self._live.is_changed(key) else "config.toml"
        return f"**{name}** {shown_value(self._live.value(key))} (allowed: {self._live.allowed(key)}; {source})"

    # --- channels ---

    async def channels(self, invocation: Invocation) -> Done:
        """List the channels that are read, or put one on the list or take it off."""
        match invocation.options.get("action", "list"):
            case "allow":
                return await self._allow(invocation)
            case "disable":
                return await self._disable(invocation)
        return await self._list(invocation)

    async def _allow(self, invocation: Invocation) -> Done:
        channel = _meant(invocation)
        if channel.kind not in _CAN_HOLD_TALK:
            raise RefusedError("Only channels and threads with messages can be put on the list, not categories.")
        if self._allow_list.allows(channel.id):
            return done(f"{place(channel.id)} is on the list already.", outcome="was allowed")
        await self._store.put_channels([replace(channel, allowed=False)])
        await self._allow_list.set([channel.id], allowed=True)
        self._ingest.tell(ChannelSeen(channel=replace(channel, allowed=True)))
        self._ingest.tell(Fetch(channel_ids=frozenset({channel.id})))
        text = f"{place(channel.id)} is on the list now: what is said there is kept, and its history is being read."
        return done(f"{text} `/channels` shows how far it is.", outcome=f"allowed {channel.id}")

    async def _disable(self, invocation: Invocation) -> Done:
        channel = _meant(invocation)
        if not self._allow_list.allows(channel.id, channel.parent_id):
            return done(f"{place(channel.id)} is not on the list.", outcome="was not allowed")
        await self._allow_list.set([channel.id], allowed=False)
        self._ingest.tell(ChannelSeen(channel=replace(channel, allowed=False)))
        text = f"{place(channel.id)} is off the list: nothing is read or said there any more."
        kept = "What was stored of it stays stored, but is not searched; members can have theirs removed with /forget."
        return done(f"{text} {kept}", outcome=f"disabled {channel.id}")

    async def _list(self, invocation: Invocation) -> Done:
        here = [channel for channel in await self._store.channels() if channel.guild_id == invocation.channel.guild_id]
        rows = {row.channel_id: row for row in await self._progress.progress([channel.id for channel in here])}
        known = [channel for channel in here if channel.allowed or _stored(rows, channel.id)]
        if not known:
            return done(
                "No channel of this server is on the list. `/channels action:allow` puts one there.", outcome="shown"
            )
        lines = [_channel_line(channel, rows.get(channel.id)) for channel in _by_size(known, rows)]
        if len(lines) > _CHANNELS_SHOWN:
            rest = len(lines) - _CHANNELS_SHOWN
            lines = [*lines[:_CHANNELS_SHOWN], f"and {rest} more with fewer messages"]
        return done("\n".join(lines), outcome="shown")

    # --- speaking ---

    async def mute(self, invocation: Invocation) -> Done:
        """Keep quiet in this channel for a while."""
        minutes = int(invocation.options.get("minutes", _MUTE_MINUTES))
        until = self._now() + timedelta(minutes=minutes)
        await self._desk.mute(invocation.channel.id, until)
        await self._responder.send(Muted(channel_id=invocation.channel.id, until=until))
        text = f"Quiet in {place(invocation.channel.id)} for {for_how_long(minutes * 60)}, until {when(until)}."
        return done(f"{text} `/unmute` ends that.", outcome=f"muted {invocation.channel.id} for {minutes} min")

    async def unmute(self, invocation: Invocation) -> Done:
        """Speak in this channel again."""
        channel_id = invocation.channel.id
        muted = channel_id in await self._desk.mutes(self._now())
        await self._desk.mute(channel_id, None)
        await self._responder.send(Muted(channel_id=channel_id, until=None))
        text = "It may speak here again." if muted else "It was not muted here."
        return done(text, outcome=f"unmuted {channel_id}" if muted else "was not muted")

    async def why(self, invocation: Invocation) -> Done:
        """Give the reasons of the last decisions in this channel, or of the message that the command answers."""
        if invocation.target is not None:
            record = await self._desk.reply_to(invocation.target)
            if record is None or record.channel_id != invocation.channel.id:
                raise RefusedError("Nothing is known about that message; reply to one that the bot wrote.")
            return done(_decision_line(record))
        records = await self._desk.decisions(invocation.channel.id, _DECISIONS_SHOWN)
        if not records:
            return done("Nothing has been decided in this channel yet.")
        return done("\n".join(map(_decision_line, records)))

    async def restart(self, _invocation: Invocation) -> Done:
        """End the process in good order, to begin anew."""
        return replace(done("Back in a moment: what is being written is finished first."), then=self._restart)


def _meant(invocation: Invocation) -> Channel:
    """Return the channel that an option names, else the one the command was given in."""
    wanted = invocation.options.get("channel")
    if wanted is None:
        return invocation.channel
    named = invocation.named
    if named is None or named.guild_id != invocation.channel.guild_id:
        raise RefusedError("There is no such channel on this server, or the bot cannot see it.")
    return named


def _stored(rows: Mapping[ChannelId, ChannelProgress], channel_id: ChannelId) -> int:
    row = rows.get(channel_id)
    return row.messages if row else 0


def _by_size(channels: Iterable[Channel], rows: Mapping[ChannelId, ChannelProgress]) -> list[Channel]:
    return sorted(channels, key=lambda channel: (not channel.allowed, -_stored(rows, channel.id)))


def _channel_line(channel: Channel, row: ChannelProgress | None) -> str:
    count = f"{row.messages if row else 0:,} messages"
    if not channel.allowed:
        return f"{place(channel.id)} off the list, {count} stored but not searched"
    fetched = f"last read {when(row.fetched_at)}" if row and row.fetched_at else "history not read yet"
    return f"{place(channel.id)} {count}, {fetched}"


def _decision_line(record: ReplyRecord) -> str:
    reason = WHY.get(record.reason, record.reason)
    spoke = "spoke" if record.spoke else "kept quiet"
    line = f"{when(record.decided_at)} it {spoke} because {reason}"
    if record.outcome not in {"sent", "silent"}:
        line += f"; {record.outcome}"
    if record.spoke:
        seconds = sum(record.stage_ms.values()) / 1000
        line += f" ({seconds:.1f} s, {record.completion_tokens} tokens, {record.recollections} old messages in mind)"
    return line + "."
