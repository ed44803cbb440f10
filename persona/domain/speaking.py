"""Decides when the persona speaks, and says why."""

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from persona.domain.chat import AuthorId, Channel, ChannelKind, Message, MessageId
from persona.domain.markup import prose
from persona.domain.prompt import clean_name

_REMEMBERED_IDS = 64
_TALK_MOVED_ON = 6
"""After so many messages of others since it last spoke, a talk is no longer the persona's."""


class Reason(StrEnum):
    """Why the persona speaks or keeps quiet, in the order in which the rules are asked."""

    OWN_MESSAGE = "own_message"
    NOT_TALK = "not_talk"
    EMPTY = "empty"
    BOT = "bot"
    NOT_ALLOWED = "not_allowed"
    SWITCHED_OFF = "switched_off"
    MUTED = "muted"
    STALE = "stale"
    REPLIED_TO = "replied_to"
    MENTIONED = "mentioned"
    ADDRESSED = "addressed"
    NAMED = "named"
    CONVERSATION = "conversation"
    MENTIONS_ONLY = "mentions_only"
    UNANSWERED = "unanswered"
    COOLDOWN = "cooldown"
    ACTIVE = "active"
    JOINED_IN = "joined_in"
    CHANCE = "chance"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether to speak, and why; `detail` is a clause that goes after "because"."""

    speak: bool
    reason: Reason
    detail: str

    def explain(self) -> str:
        """Return the decision as one plain sentence."""
        return f"It {'speaks' if self.speak else 'keeps quiet'} because {self.detail}."


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakingRules:
    """When the owner lets the persona speak.

    `rate` (0..1) is the chance to join in on a message that is not meant for it; 0 means never, in an active talk
    too. `active_rate` is the same, where it is higher, in a talk the persona took part in within `active_minutes`.
    For `cooldown_seconds` after it spoke it does not join in unasked. Messages older than `max_age_seconds` are left
    alone. `names` are the words that call it, any case.
    """

    enabled: bool = True
    rate: float = 0.03
    active_rate: float = 0.25
    active_minutes: float = 5.0
    cooldown_seconds: float = 30.0
    max_age_seconds: float = 600.0
    mentions_only: bool = False
    names: tuple[str, ...] = ()
    answer_everything_in_terminal: bool = True

    def __post_init__(self) -> None:
        """Refuse rates that are no probabilities.

        Raises:
            ValueError: `rate` or `active_rate` lies outside 0..1 (or is not a number).
        """
        for name, value in (("rate", self.rate), ("active_rate", self.active_rate)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} = {value} is outside 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What `decide` needs to know of a channel's past; every update returns a new state."""

    last_spoke_at: datetime | None = None
    humans_since_spoke: int = 0
    own_ids: tuple[MessageId, ...] = ()
    seen_ids: tuple[MessageId, ...] = ()
    muted_until: datetime | None = None

    def after(self, message: Message, *, self_id: AuthorId) -> "ChannelState":
        """Return the state once a message was said, by anybody; the same message twice counts once."""
        if message.id in self.seen_ids:
            return self
        seen = replace(self, seen_ids=(*self.seen_ids, message.id)[-_REMEMBERED_IDS:])
        if message.author.id == self_id:
            return seen.after_reply(message.created_at, ids=(message.id,))
        if message.author.is_bot or not message.is_talk:
            return seen
        return replace(seen, humans_since_spoke=self.humans_since_spoke + 1)

    def after_reply(self, at: datetime, *, ids: Sequence[MessageId] = ()) -> "ChannelState":
        """Return the state once the persona spoke at a time (or set out to: then the ids follow with `after`)."""
        return replace(
            self,
            last_spoke_at=at if self.last_spoke_at is None else max(at, self.last_spoke_at),
            humans_since_spoke=0,
            own_ids=(*self.own_ids, *ids)[-_REMEMBERED_IDS:],
        )

    def muted(self, until: datetime | None) -> "ChannelState":
        """Return the state with the persona muted until a time; None lets it speak again."""
        return replace(self, muted_until=until)


def decide(
    message: Message,
    channel: Channel,
    state: ChannelState,
    rules: SpeakingRules,
    *,
    self_id: AuthorId,
    now: datetime,
    chance: float,
    addressed: bool = False,
) -> Decision:
    """Decide whether the persona answers a message.

    Args:
        message: what was said; `state` is the channel's state before it.
        channel: where; terminal and direct channels are flagged allowed by their transport.
        state: the channel's past.
        rules: what the owner allows.
        self_id: the persona's own account.
        now: the time of the decision, aware.
        chance: a random number in 0..1 (1 excluded), drawn by the caller.
        addressed: the transport knows that the message is meant for the persona.
    """
    return (
        _not_for_anybody(message, self_id=self_id)
        or silenced(message, channel, rules, muted_until=state.muted_until, now=now)
        or _spoken_to(message, state, rules, self_id=self_id, addressed=addressed)
        or _in_conversation(message, channel, rules)
        or _not_unasked(message, state, rules, self_id=self_id, now=now)
        or _by_chance(message, state, rules, self_id=self_id, now=now, chance=chance)
    )


def calls_by_name(content: str, names: Collection[str]) -> str | None:
    """Return the name that a message calls the persona by, or None.

    A name counts as a word of its own, in any case; not as part of another word, in code, in a link or an emoji.
    """
    words = _folded(prose(content))
    for name in names:
        wanted = _folded(name).strip()
        pattern = rf"(?<![\w:])(?<!\w[-./]){re.escape(wanted)}(?![-./]?\w)"
        if wanted and re.search(pattern, words):
            return name
    return None


def _not_for_anybody(message: Message, *, self_id: AuthorId) -> Decision | None:
    """Return why a message is nothing that a person could be answered on."""
    if message.author.id == self_id:
        return _quiet(Reason.OWN_MESSAGE, "it said that itself")
    if not message.is_talk:
        return _quiet(Reason.NOT_TALK, "that was a command or a system notice, not talk")
    if not message.content.strip() and not message.attachments:
        return _quiet(Reason.EMPTY, "the message was empty")
    if message.author.is_bot:
        return _quiet(Reason.BOT, "it never answers bots and webhooks")
    return None


def silenced(
    message: Message, channel: Channel, rules: SpeakingRules, *, muted_until: datetime | None, now: datetime
) -> Decision | None:
    """Return why the persona must keep quiet even when it is spoken to; None when it may speak.

    Worth asking again before what took a while is sent.
    """
    if not channel.allowed:
        return _quiet(Reason.NOT_ALLOWED, f"#{clean_name(channel.name)} is not on the list of allowed channels")
    if not rules.enabled:
        return _quiet(Reason.SWITCHED_OFF, "its owner switched it off")
    if muted_until is not None and now < muted_until:
        return _quiet(Reason.MUTED, f"it is muted here until {muted_until:%Y-%m-%d %H:%M:%S %Z}".rstrip())
    age = (now - message.created_at).total_seconds()
    if age > rules.max_age_seconds:
        too_old = f"it answers nothing older than {rules.max_age_seconds:g} s"
        return _quiet(Reason.STALE, f"the message is {age:.0f} s old and {too_old}")
    return None


def _spoken_to(
    message: Message, state: ChannelState, rules: SpeakingRules, *, self_id: AuthorId, addressed: bool
) -> Decision | None:
    """Return how the message shows that it is meant for the persona, if it does."""
    who = _author(message)
    if message.reply_to is not None and message.reply_to in state.own_ids:
        return _speak(Reason.REPLIED_TO, f"{who} replied to it")
    if any(person.id == self_id for person in message.mentions):
        return _speak(Reason.MENTIONED, f"{who} mentioned it")
    if addressed:
        return _speak(Reason.ADDRESSED, f"{who} spoke to it")
    if name := calls_by_name(message.content, rules.names):
        return _speak(Reason.NAMED, f"{who} called it by its name, {name}")
    return None


def _in_conversation(message: Message, channel: Channel, rules: SpeakingRules) -> Decision | None:
    """Speak where everything is meant for the persona: with one person alone, and in the terminal by default."""
    if channel.kind is ChannelKind.DIRECT:
        return _speak(Reason.CONVERSATION, f"{_author(message)} talks with it alone")
    if channel.kind is ChannelKind.TERMINAL and rules.answer_everything_in_terminal:
        return _speak(Reason.CONVERSATION, "everything said in the terminal is meant for it")
    return None


def _not_unasked(
    message: Message, state: ChannelState, rules: SpeakingRules, *, self_id: AuthorId, now: datetime
) -> Decision | None:
    """Return why the persona does not join in on a message that is not meant for it."""
    if rules.mentions_only:
        return _quiet(Reason.MENTIONS_ONLY, "nobody spoke to it and it only answers when spoken to")
    if state.last_spoke_at is None:
        return None
    if not state.humans_since_spoke and not _continues(message, state, rules, self_id=self_id):
        return _quiet(Reason.UNANSWERED, "it spoke last and nobody has answered it")
    since = (now - state.last_spoke_at).total_seconds()
    if since < rules.cooldown_seconds:
        return _quiet(
            Reason.COOLDOWN,
            f"it spoke {max(since, 0):.0f} s ago and waits {rules.cooldown_seconds:g} s before it joins in again",
        )
    return None


def _by_chance(
    message: Message, state: ChannelState, rules: SpeakingRules, *, self_id: AuthorId, now: datetime, chance: float
) -> Decision:
    """Let chance decide whether the persona joins in; more readily in a talk that it is part of."""
    active = _still_active(now, state, rules) and _continues(message, state, rules, self_id=self_id)
    # A rate of 0 is a promise: it then speaks only when spoken to.
    rate = max(rules.rate, rules.active_rate) if active and rules.rate > 0 else rules.rate
    odds = f"{rate * 100:.3g}% of the time"
    if chance < rate:
        if active:
            return _speak(Reason.ACTIVE, f"it is part of this talk, where it joins in {odds}")
        return _speak(Reason.JOINED_IN, f"it felt like joining in, as it does {odds}")
    if rate == 0:
        return _quiet(Reason.CHANCE, "nobody spoke to it and it is set never to join in unasked")
    where = "in a talk it is part of" if active else "unasked"
    return _quiet(Reason.CHANCE, f"nobody spoke to it and it joins in {where} only {odds}")


def _continues(message: Message, state: ChannelState, rules: SpeakingRules, *, self_id: AuthorId) -> bool:
    """Say whether a message plausibly goes on with a talk the persona is part of.

    It does when it came soon after the persona spoke, few others spoke in between, and it is not visibly meant for
    somebody else by a reply or a mention.
    """
    if state.last_spoke_at is None or state.humans_since_spoke >= _TALK_MOVED_ON:
        return False
    if message.created_at < state.last_spoke_at or not _still_active(message.created_at, state, rules):
        return False
    to_another = message.reply_to is not None and message.reply_to not in state.own_ids
    return not to_another and all(person.id == self_id for person in message.mentions)


def _still_active(moment: datetime, state: ChannelState, rules: SpeakingRules) -> bool:
    return state.last_spoke_at is not None and moment - state.last_spoke_at <= timedelta(minutes=rules.active_minutes)


def _author(message: Message) -> str:
    return clean_name(message.author.display_name or message.author.name)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _speak(reason: Reason, detail: str) -> Decision:
    return Decision(speak=True, reason=reason, detail=detail)


def _quiet(reason: Reason, detail: str) -> Decision:
    return Decision(speak=False, reason=reason, detail=detail)
