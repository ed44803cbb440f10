"""What has been said in a made-up conversation, so that questions about it have an answer."""

from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of somebody's, Pip's answer, and the gist of the line in the third person ("asked who i am").

    `typed_as_is`: without slips, for it will be quoted.
    """

    text: str
    reply: str
    gist: str
    typed_as_is: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What somebody said, by its gist."""

    who: str
    gist: str


@dataclass(slots=True, kw_only=True)
class Talk:
    """A conversation in the making: who takes part, what was said, what people told of themselves, the topic."""

    rng: Random
    people: tuple[str, ...]
    said: list[Said] = field(default_factory=list)
    facts: dict[tuple[str, str], str] = field(default_factory=dict)
    topic: str = ""
    accepted: tuple[str, ...] = ()
    """Every answer that would have been right for the newest line."""

    def one_of(self, variants: str, **slots: str) -> str:
        """Choose one of the variants, which are separated by bars, and fill its {slots}."""
        return _filled(self.rng.choice(variants.split("|")), slots)

    def answer(self, variants: str, **slots: str) -> str:
        """Choose Pip's answer like `one_of`, and remember which others would have been as good."""
        self.accepted = tuple(_filled(variant, slots) for variant in variants.split("|"))
        return _filled(self.rng.choice(variants.split("|")), slots)

    def opener(self) -> str:
        """Return how a line may begin: often with nothing, sometimes with Pip's name."""
        return self.rng.choice(("", "", "", "", "pip, ", "hey pip, ", "hey, ", "so ", "ok ", "oh, ", "btw ", "yo pip "))


def _filled(variant: str, slots: dict[str, str]) -> str:
    for slot, value in slots.items():
        variant = variant.replace("{" + slot + "}", value)
    return variant
