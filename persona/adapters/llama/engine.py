"""Writes several replies at once with llama.cpp: continuous batching, as a step machine that one thread drives.

Every step computes one batch: the next token of every reply that is being written, and a piece of the prompts that
are still being read. What a conversation leaves in the attention cache serves its next reply.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from persona.adapters.llama.context import Context, Piece
from persona.adapters.llama.job import Job
from persona.adapters.llama.loading import LoadedModel
from persona.adapters.llama.prompting import PromptWriter
from persona.adapters.llama.sampler import Sampler
from persona.adapters.llama.sequences import CachedSequence, Placement, SequenceBook
from persona.adapters.llama.text import TextAssembler
from persona.errors import InferenceError
from persona.ports import ChatEvent, ChatRequest, FinishReason, ModelInfo, TextDelta

log = structlog.get_logger(__name__)

_FAILURES_IN_A_ROW = 3
"""So many failed computations one after the other mean that the context is broken, not the requests."""

Event = tuple[int, ChatEvent | Exception]


class LlamaEngine:
    """The `ChatEngine` for one loaded model; everything but the constructor's arguments belongs to one thread."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw_seed: Callable[[], int] = lambda: secrets.randbits(32),
    ) -> None:
        """Take over a loaded model (`close` frees it)."""
        settings = model.settings
        self._model = model
        self._clock = clock
        self._draw_seed = draw_seed
        self._slots = settings.slots
        self._chunk = settings.batch_tokens
        self._shared_chunk = min(settings.shared_batch_tokens, settings.batch_tokens)
        self._context: Context = model.context
        self._writer = PromptWriter(model.vocabulary, model.template, context_tokens=model.info.context_tokens)
        self._book = SequenceBook(count=model.sequences, reuse=model.can_reuse)
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._events: list[Event] = []
        self._failures = 0

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._model.info

    @property
    def busy(self) -> bool:
        """Whether `step` has work to do."""
        return bool(self._events or self._running or self._waiting)

    def submit(self, job: int, request: ChatRequest) -> None:
        """Take on a request under an id of the caller's.

        Raises:
            InferenceError: it can never be served (`PromptTooLongError` when it does not fit the context window).
        """
        now = self._clock()
        prompt = self._writer.write(request)
        sampling = request.sampling
        seed = self._draw_seed() if sampling.seed is None else sampling.seed
        sampler = Sampler(sampling, seed=seed, vocabulary_size=self._model.vocabulary.size)
        sampler.remember(self._penalised(prompt.tokens, sampling.penalty_window))
        self._waiting.append(
            Job(
                id=job,
                request=request,
                prompt=prompt,
                sampler=sampler,
                text=TextAssembler((*request.stop, *self._model.template.stop)),
                submitted_at=now,
            )
        )

    def cancel(self, job: int) -> None:
        """Drop a job between two tokens; unknown ids are ignored, a `Finished` with CANCELLED follows for known."""
        for known in (*self._waiting, *self._running):
            if known.id == job:
                self._finish(known, FinishReason.CANCELLED)

    def step(self) -> Sequence[Event]:
        """Do one bounded piece of work (a prefill chunk or one token for every running job), return what came of it.

        Raises:
            InferenceError: llama.cpp fails again and again; the engine is of no use any more.
        """
        now = self._clock()
        for job in (*self._waiting, *self._running):
            if job.expired(now):
                self._finish(job, FinishReason.DEADLINE)
        self._admit()
        batch = self._compose()
        if batch:
            self._compute(batch)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Free the model; never while a step runs. Safe to call twice."""
        for job in (*self._waiting, *self._running):
            job.sampler.close()
        self._waiting.clear()
        self._running.clear()
        self._model.close()

    def _penalised(self, tokens: Sequence[int], window: int) -> list[int]:
        """Return what the repetition penalty should see of the prompt: words, not the commands between the turns.

        Were the end of a turn penalised for having ended the turns before, replies would ramble on.
        """
        tail = tokens[-window:] if window else ()
        return [token for token in tail if not self._model.vocabulary.is_control(token)]

    def _admit(self) -> None:
        """Give waiting jobs a place in the cache, first come first served."""
        while self._waiting and len(self._running) < self._slots:
            job = self._waiting[0]
            placement = self._book.place(job.prompt.tokens, conversation=job.request.conversation)
            if placement is None:
                return
            self._waiting.popleft()
            job.start(placement.target, self._arrange(placement))
            self._running.append(job)

    def _arrange(self, placement: Placement) -> int:
        """Do to the cache what the books say; return how many tokens of the prompt are in it now."""
        target, keep = placement.target, placement.keep
        if placement.source is not None:
            self._context.copy(placement.source.index, target.index)
        if not keep or not self._context.cut(target.index, keep):
            self._context.clear(target.index)
            target.tokens.clear()
            keep = 0
        return keep

    def _compose(self) -> list[tuple[Job, Piece]]:
        """Choose what to compute now: a token for every reply, then prompts, oldest first, as far as they fit."""
        batch = [(job, _piece(job, 1)) for job in self._running if not job.reading]
        room = min(self._shared_chunk if batch else self._chunk, self._context.batch_capacity - len(batch))
        for job in self._running:
            if job.reading and room > 0:
                batch.append((job, _piece(job, room)))
                room -= len(batch[-1][1].tokens)
        return batch

    def _compute(self, batch: Sequence[tuple[Job, Piece]]) -> None:
        """Compute a batch and draw the tokens it asks for; when that fails, so do its jobs, and only they."""
        try:
            outputs = self._context.decode([piece for _, piece in batch])
        except InferenceError as error:
            self._failures += 1
            for job, _ in batch:
                self._fail(job, error)
            if self._failures >= _FAILURES_IN_A_ROW:
                raise
            log.warning("computation_failed", error=str(error), jobs=len(batch))
            return
        self._failures = 0
        for (job, piece), output in zip(batch, outputs, strict=True):
            job.computed(piece.tokens)
            if output is not None:
                self._draw_for(job, output)

    def _draw_for(self, job: Job, output: int) -> None:
        """Draw a job's next token; what goes wrong with one job is that job's failure."""
        try:
            self._continue(job, job.sampler.draw(self._context.handle, output))
        except Exception as error:  # noqa: BLE001 - reported to the one who asked, the other replies go on
            failure = InferenceError(f"the reply could not be continued: {error}")
            failure.__cause__ = error
            self._fail(job, failure)

    def _continue(self, job: Job, token: int) -> None:
        """Take a drawn token into the reply, or end it."""
        if job.first_token_at is None:
            job.first_token_at = self._clock()
        if self._model.vocabulary.is_control(token):
            self._finish(job, FinishReason.END)
            return
        job.completion_tokens += 1
        self._say(job, job.text.feed(self._model.vocabulary.piece(token)))
        if job.text.stopped:
            self._finish(job, FinishReason.STOP)
        elif job.completion_tokens >= job.prompt.max_tokens:
            self._finish(job, FinishReason.LENGTH)
        else:
            job.pending = [token]

    def _say(self, job: Job, text: str) -> None:
        if text:
            self._events.append((job.id, TextDelta(text=text)))

    def _finish(self, job: Job, reason: FinishReason) -> None:
        """End a reply; what it computed stays in the cache."""
        if reason is not FinishReason.CANCELLED:
            self._say(job, job.text.finish())
        self._events.append((job.id, job.finished(reason, self._clock())))
        self._leave(job)
        if job.sequence is not None:
            self._book.release(job.sequence)

    def _fail(self, job: Job, error: InferenceError) -> None:
        """End a reply with an error; its part of the cache cannot be trusted."""
        self._events.append((job.id, error))
        self._leave(job)
        if job.sequence is not None:
            self._drop(job.sequence)

    def _leave(self, job: Job) -> None:
        job.sampler.close()
        if job.sequence is None:
            self._waiting.remove(job)
        else:
            self._running.remove(job)

    def _drop(self, sequence: CachedSequence) -> None:
        self._context.clear(sequence.index)
        self._book.forget(sequence)


def _piece(job: Job, room: int) -> Piece:
    """Return the next piece of a job, at most `room` tokens; the last one of a prompt asks for the reply's first."""
    tokens = tuple(job.pending[:room])
    return Piece(
        sequence=job.place.index,
        position=len(job.place.tokens),
        tokens=tokens,
        wants_next=len(tokens) == len(job.pending),
    )
