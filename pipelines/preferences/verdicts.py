"""Which replies were liked, which were not, and which nobody can tell about."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipelines.preferences.usual import COUNTED_REACTIONS, Judged, Usual

_SKINS_AND_SELECTORS = dict.fromkeys((*range(0x1F3FB, 0x1F400), 0xFE0F))
_UP = frozenset({"\U0001f44d", ":thumbsup:", ":+1:", "thumbsup", "+1"})
_DOWN = frozenset({"\U0001f44e", ":thumbsdown:", ":-1:", "thumbsdown", "-1"})


class Verdict(StrEnum):
    """What a message is good for, or why it is not."""

    LIKED = "liked"
    DISLIKED = "disliked"
    IGNORED = "ignored where reactions are usual"
    UNCLEAR = "no clear difference from the usual"
    NOT_ALLOWED = "channel not on the allow-list"
    TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What counts as liked.

    Attributes:
        margin: how many reactions above what is usual make a message liked. Reactions say little about quality one by
            one (they agree with people's rankings in about six of ten pairs), so a small difference says nothing.
        thumbs_margin: how many more thumbs one way than the other judge a reply of the persona.
        least_tokens: shorter messages are not judged: "lol" is liked for what it answers.
        ignored_below: how many reactions below the usual make a message without any a weak negative.
    """

    margin: float = 2.0
    thumbs_margin: int = 2
    least_tokens: int = 4
    ignored_below: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbs:
    """Thumbs on one message; of each kind, at most five count."""

    up: int = 0
    down: int = 0


def thumbs(reactions: Mapping[str, int]) -> Thumbs:
    """Count the thumbs among a message's reactions (emoji to count), whatever their skin tone."""
    up = down = 0
    for emoji, count in reactions.items():
        bare = emoji.translate(_SKINS_AND_SELECTORS)
        up += count if bare in _UP else 0
        down += count if bare in _DOWN else 0
    return Thumbs(up=min(up, COUNTED_REACTIONS), down=min(down, COUNTED_REACTIONS))


def judge_message(message: Judged, usual: Usual, rules: Rules) -> Verdict:
    """Judge what a person wrote by its reactions, against what is usual for author, channel and age."""
    if (refused := _refused(message, rules)) is not None:
        return refused
    surplus = usual.surplus(message)
    if surplus >= rules.margin:
        return Verdict.LIKED
    if not message.reactions and surplus <= -rules.ignored_below:
        return Verdict.IGNORED
    return Verdict.UNCLEAR


def judge_thumbs(message: Judged, votes: Thumbs, rules: Rules) -> Verdict:
    """Judge a reply of the persona by the thumbs it got."""
    if (refused := _refused(message, rules)) is not None:
        return refused
    if votes.up - votes.down >= rules.thumbs_margin:
        return Verdict.LIKED
    if votes.down - votes.up >= rules.thumbs_margin:
        return Verdict.DISLIKED
    return Verdict.UNCLEAR


def _refused(message: Judged, rules: Rules) -> Verdict | None:
    if not message.allowed:
        return Verdict.NOT_ALLOWED
    return Verdict.TOO_SHORT if message.tokens < rules.least_tokens else None
