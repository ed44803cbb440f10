"""The words in which commands are answered: plain sentences, no jargon, times as Discord shows them to each reader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from persona.domain.chat import Channel, ChannelId
from persona.domain.command_line import usage
from persona.domain.commands import CommandSpec
from persona.domain.consent import Standing
from persona.domain.speaking import Reason

_SHOWN_CHANNELS = 40
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

WHY: Mapping[str, str] = {
    Reason.OWN_MESSAGE: "it was its own message",
    Reason.NOT_TALK: "it was a command or a notice, not talk",
    Reason.EMPTY: "there was no text in it",
    Reason.BOT: "a bot or webhook said it",
    Reason.NOT_ALLOWED: "the channel is not on the list",
    Reason.SWITCHED_OFF: "it is switched off in config.toml",
    Reason.MUTED: "it was muted here",
    Reason.STALE: "the message was too old",
    Reason.REPLIED_TO: "somebody replied to it",
    Reason.MENTIONED: "somebody mentioned it",
    Reason.ADDRESSED: "it was spoken to",
    Reason.NAMED: "somebody said its name",
    Reason.CONVERSATION: "the talk went on with it",
    Reason.MENTIONS_ONLY: "nobody mentioned it, and it speaks only when mentioned",
    Reason.UNANSWERED: "nobody answered what it said last",
    Reason.COOLDOWN: "it had spoken a moment before",
    Reason.ACTIVE: "it was part of the talk",
    Reason.JOINED_IN: "it joined in by chance",
    Reason.CHANCE: "it was not spoken to, and chance said no",
    Reason.OVERLOADED: "too many messages were waiting",
}
"""Each reason as a clause that goes after "because"."""

CONSENT_CARD = (
    "**{name} is a bot that talks like the people here.** For that it keeps what is said in the channels that the "
    "people who look after this server chose, on one machine, and nowhere else.\n"
    "• **Stop keeping mine**: nothing you say is kept from now on.\n"
    "• **What is kept of me?** shows you everything as a file, nobody else.\n"
    "• **Forget me** removes all of it for good.\n"
    "• **You may train on mine**: only with that is a language model ever trained on what you wrote.\n"
    "You can change your mind at any time. `/botdata` says the rest."
)

FORGET_FIRST = (
    "This removes everything that is kept of you: your messages, your names, what it learned from them. It cannot be "
    "undone. Your messages stay on Discord itself."
)


_WHAT = (
    "messages with their edits and reactions, who wrote them, and names of attachments; not the files. What is deleted "
    "on Discord is deleted here, too. Of whoever takes part in a quiz, which answers were right."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutBot:
    """What members may know of the bot; `contact` is whom to ask about data, "" when the owner names nobody."""

    name: str
    contact: str = ""
    prefix: str = "!"


def when(moment: datetime) -> str:
    """Return a moment as Discord shows it in the reader's own time, such as "5 minutes ago"."""
    return f"<t:{int(moment.timestamp())}:R>"


def place(channel_id: ChannelId) -> str:
    """Return a channel as Discord shows it: by name to those who may see it, without one to others."""
    return f"<#{channel_id}>"


def for_how_long(seconds: float) -> str:
    """Return a stretch of time in the two largest units that matter: "3 d 4 h", "12 min"."""
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def shown_value(value: object) -> str:
    """Return a setting's value as people write it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
    return str(value)


def help_text(specs: Sequence[CommandSpec], about: AboutBot) -> str:
    """Return what can be asked, one line for each command."""
    lines = [f"**What you can ask of {about.name}**"]
    lines += [f"`{usage(spec, '/')}` {spec.summary}" for spec in specs if not spec.stands_for]
    old = [f"`{usage(spec, '/')}`" for spec in specs if spec.stands_for]
    if old:
        lines.append(f"Short for settings: {', '.join(old)}")
    lines.append(f'As messages they begin with `{about.prefix}` instead. To forget one message: its menu, "Apps".')
    return "\n".join(lines)


def botdata_text(
    about: AboutBot, channels: Sequence[Channel], *, held: Standing | None, memory: bool, direct: bool
) -> str:
    """Say what is kept, from where, why, for how long, whom to ask and what one can do.

    `channels` are those on the allow-list; `held` is what holds for the reader; `memory` whether old talk is searched.
    """
    names = {channel.id for channel in channels}
    places = [place(channel.id) for channel in channels if channel.parent_id not in names]
    where = "No channel at the moment."
    if direct:  # which servers the reader is on is not known here
        where = "The channels on each server's list, which `/botdata` names there; nothing else, no direct messages."
    elif places:
        more = f" and {len(places) - _SHOWN_CHANNELS} more" if len(places) > _SHOWN_CHANNELS else ""
        where = f"{', '.join(places[:_SHOWN_CHANNELS])}{more}, with their threads; nothing else, no direct messages."
    use = "It reads the talk at hand" + (", and older talk that fits" if memory else "") + ", to answer like a regular."
    lines = [
        f"**What {about.name} keeps**",
        f"**What:** {_WHAT}",
        f"**From where:** {where}",
        f"**Why:** {use} It is a bot, and says so when asked.",
        "**Training:** a language model is trained on your words only if you agreed to that with `/optin`.",
        "**Where and for how long:** on the owner's machine, nowhere else, until you or the owner remove it.",
        f"**Whom to ask:** {about.contact or 'the people who look after this server'}.",
        "**You can:** see it (`/mydata`), stop it (`/optout`), have it removed (`/forget`, or a message's menu).",
    ]
    if held is not None:
        lines.append(f"**You{' (on any server)' if direct else ''}:** {standing_text(held)}")
    return "\n".join(lines)


def standing_text(held: Standing) -> str:
    """Say what holds for the reader."""
    if not held.store:
        return "nothing you say is kept, and nothing is trained on it."
    training = "may" if held.train else "may not"
    return f"what you say in those channels is kept; a model {training} be trained on it."
