"""One reply in the making: what is still to be computed, what was said, and what it cost so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from persona.adapters.llama.prompting import Prompt
from persona.adapters.llama.sampler import Sampler
from persona.adapters.llama.sequences import CachedSequence
from persona.adapters.llama.text import TextAssembler
from persona.ports import ChatRequest, Finished, FinishReason


@dataclass(slots=True, kw_only=True)
class Job:
    """A reply; `pending` are the tokens that are to be computed next, `sequence` is None while it waits its turn."""

    id: int
    request: ChatRequest
    prompt: Prompt
    sampler: Sampler
    text: TextAssembler
    submitted_at: float
    sequence: CachedSequence | None = None
    pending: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token_at: float | None = None

    @property
    def reading(self) -> bool:
        """Whether the prompt is not wholly computed yet."""
        return self.first_token_at is None

    @property
    def place(self) -> CachedSequence:
        """Its sequence, once it has one.

        Raises:
            RuntimeError: it still waits for one.
        """
        if self.sequence is None:
            raise RuntimeError(f"job {self.id} has no place in the cache yet")
        return self.sequence

    def expired(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.request.deadline is not None and now >= self.request.deadline

    def start(self, sequence: CachedSequence, keep: int) -> None:
        """Take a place in the cache, where the first `keep` tokens of the prompt are computed already."""
        self.sequence = sequence
        self.cached_tokens = keep
        self.pending = list(self.prompt.tokens[keep:])

    def computed(self, tokens: Sequence[int]) -> None:
        """Note that the first of the pending tokens are in the cache now."""
        self.place.tokens.extend(tokens)
        del self.pending[: len(tokens)]

    def finished(self, reason: FinishReason, now: float) -> Finished:
        """Return the bill."""
        first = now if self.first_token_at is None else self.first_token_at
        return Finished(
            reason=reason,
            prompt_tokens=len(self.prompt.tokens),
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            dropped_lines=self.prompt.dropped_lines,
            first_token_seconds=first - self.submitted_at,
            total_seconds=now - self.submitted_at,
        )
