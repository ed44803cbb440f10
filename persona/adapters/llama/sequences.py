"""Keeps the books of the attention cache: which tokens each sequence holds, and which prompt goes where.

A sequence is not a request: a finished conversation stays in the cache until its sequence is needed, so that the next
reply in it only reads what is new. Every sequence has room for a whole context window of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

_WORTH_COPYING = 32
"""A shorter common beginning is computed faster than a whole sequence is copied."""


@dataclass(slots=True, kw_only=True)
class CachedSequence:
    """One sequence of the cache. `tokens` is exactly what the cache holds for it, position by position.

    `running` while a reply is being written in it; `used_at` counts placements, a higher one is more recent.
    """

    index: int
    tokens: list[int] = field(default_factory=list)
    conversation: str = ""
    running: bool = False
    used_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a prompt goes: copy `source` to `target` if there is one, then cut `target` back to `keep` tokens."""

    target: CachedSequence
    keep: int
    source: CachedSequence | None


class SequenceBook:
    """Decides where prompts go; the caller does to the cache what `place` says and reports tokens as they come."""

    def __init__(self, *, count: int, reuse: bool = True) -> None:
        """Start with an empty cache.

        Args:
            count: sequences there are, running and idle ones together.
            reuse: False for models whose cache cannot be cut back (recurrent ones).
        """
        self._sequences = tuple(CachedSequence(index=index) for index in range(count))
        self._reuse = reuse
        self._placements = 0

    @property
    def sequences(self) -> tuple[CachedSequence, ...]:
        """All sequences, by index."""
        return self._sequences

    def place(self, prompt: Sequence[int], *, conversation: str = "") -> Placement | None:
        """Find the sequence for a prompt and book it; None when a reply is being written in every one.

        The last token of a prompt is never reused: at least one has to be computed to know what comes next.

        Args:
            prompt: the prompt's tokens, at least one.
            conversation: names the conversation; its own sequence is continued, others are at most copied.
        """
        idle = [sequence for sequence in self._sequences if not sequence.running]
        if not idle:
            return None
        best, keep = self._longest_prefix(prompt)
        if best is None or not _may_continue(best, keep, conversation):
            # Overwrite an empty sequence, else the one that was not used for longest.
            target = min(idle, key=lambda s: (bool(s.tokens), s is best, s.used_at))
        else:
            target = best
        source = best if best is not target else None
        if source is not None and keep < _WORTH_COPYING:
            source, keep = None, common_prefix(target.tokens, prompt, len(prompt) - 1) if self._reuse else 0
        self._book(target, prompt[:keep], conversation)
        return Placement(target=target, keep=keep, source=source)

    def release(self, sequence: CachedSequence) -> None:
        """End a reply: its sequence stays in the cache, to be continued or overwritten."""
        sequence.running = False

    def forget(self, sequence: CachedSequence) -> None:
        """Strike out what a sequence holds (the caller removes it from the cache)."""
        sequence.tokens.clear()
        sequence.conversation = ""
        sequence.running = False

    def _longest_prefix(self, prompt: Sequence[int]) -> tuple[CachedSequence | None, int]:
        """Find the sequence that begins most like the prompt; of equals an idle and recent one."""
        if not self._reuse:
            return None, 0
        limit = len(prompt) - 1
        shared = [(common_prefix(s.tokens, prompt, limit), not s.running, s.used_at, s) for s in self._sequences]
        keep, _, _, best = max(shared, key=lambda entry: entry[:3])
        return (best, keep) if keep else (None, 0)

    def _book(self, target: CachedSequence, tokens: Sequence[int], conversation: str) -> None:
        self._placements += 1
        target.tokens = list(tokens)
        target.conversation = conversation
        target.running = True
        target.used_at = self._placements


def common_prefix(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """Return how many tokens, at most `limit`, two sequences begin with in common."""
    length = 0
    for mine, theirs in zip(left[:limit], right[:limit], strict=False):
        if mine != theirs:
            break
        length += 1
    return length


def _may_continue(best: CachedSequence, keep: int, conversation: str) -> bool:
    """Whether to cut a sequence back and go on in it: in its own conversation, or a nameless one if little is lost."""
    if best.running:
        return False
    if conversation or best.conversation:
        return best.conversation == conversation
    return len(best.tokens) - keep <= keep
