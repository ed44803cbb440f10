"""Keeps the books of the attention cache: which tokens each sequence holds, what can be reused, who has to make room.

A sequence is not a request: a finished conversation stays in the cache until its room is needed, so that the next
reply in it only reads what is new. All sequences share one pool of cells. Cells that two sequences share are counted
twice: the books are never too optimistic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class CachedSequence:
    """One sequence of the cache. `tokens` is exactly what the cache holds for it, position by position.

    `reserved` is what a running reply may come to need, in cells; 0 when no reply is being written in it.
    """

    index: int
    tokens: list[int] = field(default_factory=list)
    conversation: str = ""
    reserved: int = 0
    used_at: int = 0

    @property
    def idle(self) -> bool:
        """Whether no reply is being written in it."""
        return self.reserved == 0

    @property
    def cells(self) -> int:
        """What it costs, at most."""
        return max(self.reserved, len(self.tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a prompt goes. Do this to the cache, in this order: copy, cut, evict.

    `keep` tokens need not be computed again: they are in `target` already, or are copied from `source`.
    """

    target: CachedSequence
    keep: int
    source: CachedSequence | None
    evicted: tuple[CachedSequence, ...]


class SequenceBook:
    """Decides where prompts go; the caller does to the cache what `place` says and reports tokens as they come."""

    def __init__(self, *, count: int, cells: int, reuse: bool = True) -> None:
        """Start with an empty cache.

        Args:
            count: sequences there are, running and idle ones together.
            cells: room for tokens, shared by all sequences.
            reuse: False for models whose cache cannot be cut back (recurrent ones).
        """
        self._sequences = tuple(CachedSequence(index=index) for index in range(count))
        self._cells = cells
        self._reuse = reuse
        self._ticks = 0

    @property
    def sequences(self) -> tuple[CachedSequence, ...]:
        """All sequences, by index."""
        return self._sequences

    def place(self, prompt: Sequence[int], *, reserve: int, conversation: str = "") -> Placement | None:
        """Find the sequence for a prompt and book it; None when it has to wait for running replies to finish.

        The last token of a prompt is never reused: at least one has to be computed to know what comes next.

        Args:
            prompt: the prompt's tokens, at least one.
            reserve: cells that the prompt and the longest possible reply take.
            conversation: names the conversation; its own sequence is preferred over a copy.
        """
        idle = [sequence for sequence in self._sequences if sequence.idle]
        committed = sum(sequence.cells for sequence in self._sequences if not sequence.idle)
        if not idle or committed + reserve > self._cells:
            return None
        best, keep = self._best_prefix(prompt)
        target = best if best is not None and _take_over(best, keep, conversation) else self._victim(idle, best)
        source = best if best is not target and keep else None
        evicted = self._make_room(target, committed + reserve)
        keep = keep if best is not None else 0
        self._book(target, prompt[:keep], reserve, conversation)
        return Placement(target=target, keep=keep, source=source, evicted=evicted)

    def release(self, sequence: CachedSequence) -> None:
        """End a reply: its sequence stays in the cache, to be reused or evicted."""
        sequence.reserved = 0

    def forget(self, sequence: CachedSequence) -> None:
        """Strike out what a sequence holds (the caller removes it from the cache)."""
        sequence.tokens.clear()
        sequence.conversation = ""
        sequence.reserved = 0

    def _best_prefix(self, prompt: Sequence[int]) -> tuple[CachedSequence | None, int]:
        """Find the sequence that begins most like the prompt; of equals an idle and recent one."""
        if not self._reuse:
            return None, 0
        limit = len(prompt) - 1
        shared = [(common_prefix(s.tokens, prompt, limit), s.idle, s.used_at, s) for s in self._sequences]
        keep, _, _, best = max(shared, key=lambda entry: entry[:3])
        return (best, keep) if keep else (None, 0)

    def _victim(self, idle: Sequence[CachedSequence], best: CachedSequence | None) -> CachedSequence:
        """Choose an idle sequence to overwrite: an empty one, else the one that was not used for longest."""
        return min(idle, key=lambda s: (bool(s.tokens), s is best, s.used_at))

    def _make_room(self, target: CachedSequence, committed: int) -> tuple[CachedSequence, ...]:
        """Strike out idle sequences, the longest unused first, until everything fits."""
        idle = sorted((s for s in self._sequences if s.idle and s is not target and s.tokens), key=lambda s: s.used_at)
        used = committed + sum(s.cells for s in idle)
        evicted: list[CachedSequence] = []
        for sequence in idle:
            if used <= self._cells:
                break
            used -= sequence.cells
            self.forget(sequence)
            evicted.append(sequence)
        return tuple(evicted)

    def _book(self, target: CachedSequence, tokens: Sequence[int], reserve: int, conversation: str) -> None:
        self._ticks += 1
        target.tokens = list(tokens)
        target.conversation = conversation
        target.reserved = reserve
        target.used_at = self._ticks


def common_prefix(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """Return how many tokens, at most `limit`, two sequences begin with in common."""
    length = 0
    for mine, theirs in zip(left[:limit], right[:limit], strict=False):
        if mine != theirs:
            break
        length += 1
    return length


def _take_over(best: CachedSequence, keep: int, conversation: str) -> bool:
    """Whether to cut a sequence back rather than copy its beginning: in its own conversation, or if little is lost."""
    if not best.idle:
        return False
    if conversation or best.conversation:
        return best.conversation == conversation
    return len(best.tokens) - keep <= keep
