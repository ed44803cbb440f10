"""The language model: requests, events, the batching engine and the asynchronous model around it."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from persona.domain.prompt import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn.

    `temperature` 0 is greedy; `top_p`, `min_p` in 0..1; `top_k` 0 means all; `repetition_penalty` 1 is none and looks
    back `penalty_window` tokens; `seed` None draws one. `max_tokens` bounds the reply.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repetition_penalty: float = 1.1
    penalty_window: int = 64
    max_tokens: int = 160
    seed: int | None = None


class FinishReason(StrEnum):
    """Why a generation ended."""

    END = "end"
    STOP = "stop"
    LENGTH = "length"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One reply to write. `deadline` is on the monotonic clock; `conversation` lets the engine reuse its cache."""

    turns: tuple[Turn, ...]
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    conversation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """More text of a reply, always whole characters and never part of a stop string."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of a reply with its cost; seconds are measured from the submission. `model` is who wrote it, if known."""

    reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dropped_lines: int
    first_token_seconds: float
    total_seconds: float
    model: str = ""


ChatEvent = TextDelta | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is loaded. `prompt_hash` is set on models that were trained with this project's prompt renderer."""

    name: str
    path: str
    sha256: str
    context_tokens: int
    parameters: int
    template: str
    prompt_hash: str | None = None
    persona_name: str | None = None
    server_name: str | None = None


class ChatEngine(Protocol):
    """A batching engine as a step machine: one thread owns it and calls `step` while `busy`.

    Every method is called from that one thread. A request that cannot be served fails alone (`failures`); an
    exception out of `step` means the engine itself is unusable.
    """

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        ...

    @property
    def busy(self) -> bool:
        """Whether `step` has work to do."""
        ...

    def submit(self, job: int, request: ChatRequest) -> None:
        """Take on a request under an id of the caller's.

        Raises:
            InferenceError: it can never be served (`PromptTooLongError` when it does not fit the context window).
        """
        ...

    def cancel(self, job: int) -> None:
        """Drop a job between two tokens; unknown ids are ignored, a `Finished` with CANCELLED follows for known."""
        ...

    def step(self) -> Sequence[tuple[int, ChatEvent | Exception]]:
        """Do one bounded piece of work (a prefill chunk or one token for every running job), return what came of it."""
        ...

    def close(self) -> None:
        """Free the model; never while a step runs."""
        ...


class ChatModel(Protocol):
    """A language model for several conversations at once, as the actors see it."""

    @property
    def info(self) -> ModelInfo:
        """What is loaded; only after `open`."""
        ...

    async def open(self) -> None:
        """Load the model once.

        Raises:
            ModelFileError: the file is missing, damaged or not a model.
        """
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Write a reply: text as it comes, then one `Finished`. Closing the iterator cancels between two tokens."""
        ...

    def stalled_seconds(self) -> float:
        """Return for how long there has been work without progress (0 when idle or progressing)."""
        ...

    async def closed(self) -> None:
        """Wait until the model dies on its own and raise why; never returns while it lives."""
        ...

    async def close(self) -> None:
        """Stop and free it."""
        ...


class ModelCandidate(Protocol):
    """Another model that is wanted in place of the one that runs."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    async def check(self) -> None:
        """Check the file, off the loop.

        Raises:
            ModelFileError: it is missing, damaged, or was trained on other prompts than this program writes.
        """
        ...

    def fits_beside(self) -> bool:
        """Whether the machine has memory for it beside the one that runs."""
        ...

    def make(self) -> ChatModel:
        """Return it, not opened yet."""
        ...


C = TypeVar("C", bound=ModelCandidate)


class ModelSwitch(Protocol[C]):
    """Knows which model is to run, also when that changes while it runs."""

    def make(self) -> ChatModel:
        """Return the model that was accepted last, not opened yet."""
        ...

    def opened(self, info: ModelInfo) -> None:
        """Learn that a model was opened by `make` and answers from now on."""
        ...

    async def wanted(self, running: ModelInfo) -> C | None:
        """Return another model that is wanted; None when the running one is, or when that one was refused already."""
        ...

    def accepted(self, candidate: C, info: ModelInfo) -> None:
        """Learn that a candidate answers from now on."""
        ...

    def refused(self, candidate: C, error: Exception) -> None:
        """Learn that a candidate cannot be used and the old model goes on."""
        ...
