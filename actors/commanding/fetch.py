"""The `fetch` command: reads history and shows how far it is, in place."""

import asyncio
from collections.abc import Awaitable, Callable

from actors.commanding.support import ChannelSwitch, Done, RefusedError, asked, done
from actors.kernel import ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import ChannelTrouble, DescribeFetch, Fetch, FetchStatus
from persona.domain.chat import ChannelId
from persona.domain.command_rights import AdminRules, is_keeper
from persona.domain.command_texts import for_how_long, place
from persona.domain.commands import Answer, Invocation
from persona.errors import PersonaError
from persona.ports import MessageStore

Show = Callable[[Answer], Awaitable[bool]]
"""Shows an answer that more may follow; False when it cannot be shown."""

_LONGEST_FETCH_SECONDS = 24 * 3600.0
_SHOWN_FOR_SECONDS = 14 * 60.0
"""Discord lets an answer be changed for fifteen minutes."""
_ASK_SECONDS = 5.0
_TROUBLES_SHOWN = 5


class FetchCommand:
    """Carries it out; `every` is the time between two looks, in seconds.

    Whoever does not look after all servers reads, and hears of, the channels of the server they are on. Of all others
    nothing is shown to anybody, and of channels that the caller cannot see not even that there are any.
    """

    def __init__(
        self, *, ingest: ActorRef, store: MessageStore, allow_list: ChannelSwitch, rules: AdminRules, every: float
    ) -> None:
        self._ingest = ingest
        self._store = store
        self._allow_list = allow_list
        self._rules = rules
        self._every = every

    async def run(self, invocation: Invocation, show: Show) -> Done:
        """Read the history of one channel or of all; the answer follows what happens."""
        wanted = await self._wanted(invocation)
        # The work goes on in the ingest when nobody waits for it any more.
        work = asyncio.ensure_future(self._ingest.ask(Fetch(channel_ids=wanted), timeout=_LONGEST_FETCH_SECONDS))
        loop = asyncio.get_running_loop()
        ends, told = loop.time() + _SHOWN_FOR_SECONDS, ""
        try:
            while not (await asyncio.wait({work}, timeout=self._every))[0]:
                text = await self._progress(invocation)
                if loop.time() >= ends:
                    later = "It goes on, but this answer cannot change any more: `/channels` shows the counts."
                    return done(f"{text}\n{later}" if text else later, outcome="still running")
                if text and text != told:
                    await show(Answer(text=text, done=False))
                    told = text
            work.result()
        except (AskTimeout, ActorCrashed, ActorStopped) as error:
            text = "Reading was interrupted; it goes on by itself from where it stopped"
            raise PersonaError(text, cure="`/channels` shows the counts") from error
        finally:
            work.cancel()
        return await self._finished(invocation)

    async def _wanted(self, invocation: Invocation) -> frozenset[ChannelId] | None:
        if "channel" not in invocation.options:
            return await self._all_wanted(invocation)
        channel = invocation.named
        if channel is None or channel.guild_id != invocation.channel.guild_id:
            raise RefusedError("There is no such channel on this server, or the bot cannot see it.")
        if not self._allow_list.allows(channel.id, channel.parent_id):
            raise RefusedError(f"{place(channel.id)} is not on the list: `/channels action:allow` puts it there.")
        return frozenset({channel.id})

    async def _all_wanted(self, invocation: Invocation) -> frozenset[ChannelId] | None:
        if is_keeper(invocation.caller, self._rules):
            return None
        here = invocation.channel.guild_id
        listed = await self._store.channels(allowed_only=True)
        wanted = frozenset(channel.id for channel in listed if channel.guild_id == here)
        # Those that could never be read are not in the store.
        wanted |= frozenset(channel_id for channel_id in invocation.caller.sees if self._allow_list.allows(channel_id))
        if not wanted:
            raise RefusedError("No channel of this server is on the list: `/channels action:allow` puts one there.")
        return wanted

    async def _progress(self, invocation: Invocation) -> str:
        """Return how far it is, "" when that cannot be told at the moment."""
        question = DescribeFetch(guild_id=invocation.channel.guild_id)
        try:
            status = await self._ingest.ask(question, timeout=_ASK_SECONDS)
        except (AskTimeout, ActorCrashed, ActorStopped):
            return ""
        return progress_text(status, invocation)

    async def _finished(self, invocation: Invocation) -> Done:
        question = DescribeFetch(guild_id=invocation.channel.guild_id)
        status = await asked(self._ingest, question, seconds=_ASK_SECONDS, trouble="The history is read")
        return done(finished_text(status, invocation), outcome=f"{status.messages} read, {status.added} new")


def progress_text(status: FetchStatus, asking: Invocation) -> str:
    """Say how far catching up is, to whoever asks."""
    text = f"Reading: {status.channels_done} of {status.channels_total} channels, {status.messages:,} messages"
    text += f" ({status.messages_per_second:,.0f} a second), {status.added:,} of them new"
    if status.seconds_left is not None:
        text += f", about {for_how_long(status.seconds_left)} left"
    return text + "." + _troubles(status, asking)


def finished_text(status: FetchStatus, asking: Invocation) -> str:
    """Say what catching up brought, to whoever asks."""
    read = f"Done: {status.messages:,} messages read in {status.channels_done} channels, {status.added:,} of them new."
    return read + _troubles(status, asking)


def _troubles(status: FetchStatus, asking: Invocation) -> str:
    seen = [trouble for trouble in status.channel_troubles if _may_hear(trouble, asking)]
    lines = [f"\n• {place(trouble.channel.id)}: {trouble.problem}" for trouble in seen[:_TROUBLES_SHOWN]]
    if len(seen) > _TROUBLES_SHOWN:
        lines.append(f"\n• and {len(seen) - _TROUBLES_SHOWN} more; the log names them")
    return "".join(lines)


def _may_hear(trouble: ChannelTrouble, asking: Invocation) -> bool:
    """Say whether the caller can see a channel, or the one that a thread belongs to, and it is on their server."""
    channel, sees = trouble.channel, asking.caller.sees
    return channel.guild_id == asking.channel.guild_id and (channel.id in sees or channel.parent_id in sees)
