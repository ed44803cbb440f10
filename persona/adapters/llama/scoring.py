"""How likely a model finds a reply: the sum over its tokens, read as the live engine would have written them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np

from persona.adapters.llama.context import Piece
from persona.adapters.llama.loading import LoadedModel, load
from persona.adapters.llama.model_file import ModelFile
from persona.adapters.llama.prompting import PromptWriter
from persona.adapters.llama.settings import LlamaSettings
from persona.domain.prompt import Turn
from persona.errors import InferenceError
from persona.ports import ChatRequest, Sampling

_SCORED_AT_ONCE = 32
"""Tokens of a reply that are scored in one batch: each takes a row of the whole vocabulary."""

_END_OF_TURN = "<|im_end|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """How likely a reply is: the natural logarithm of its probability, over so many tokens and characters.

    The end of the turn is one of the tokens: knowing when to stop is part of writing.
    """

    log_probability: float
    tokens: int
    characters: int


class ReplyScorer:
    """Scores replies with one model; a context manager, as the model takes much memory."""

    def __init__(self, settings: LlamaSettings, file: ModelFile) -> None:
        """Load the model.

        Raises:
            ModelFileError: it cannot be loaded or used.
        """
        self._model: LoadedModel = load(replace(settings, slots=1, resident=0), file, outputs=_SCORED_AT_ONCE)
        self._writer = PromptWriter(
            self._model.vocabulary, self._model.template, context_tokens=self._model.info.context_tokens
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; safe to call twice."""
        self._model.close()

    def score(self, turns: Sequence[Turn], reply: str) -> Likelihood:
        """Return how likely a reply is after a conversation; of a long one the oldest lines go, as in the live bot.

        Raises:
            InferenceError: the reply is longer than half of the context window, or the computation failed.
            PromptTooLongError: the system turn and the newest line alone do not fit.
        """
        completion = self._completion(reply)
        request = ChatRequest(turns=tuple(turns), sampling=Sampling(max_tokens=len(completion)))
        prompt = self._writer.write(request)
        if len(completion) > prompt.max_tokens:
            raise InferenceError(
                f"a reply of {len(completion)} tokens cannot be scored: there is room for {prompt.max_tokens}"
            )
        return Likelihood(
            log_probability=self._log_probability(prompt.tokens, completion),
            tokens=len(completion),
            characters=len(reply),
        )

    def _completion(self, reply: str) -> tuple[int, ...]:
        """Return the tokens of a reply with its end: what training has taught to write there."""
        vocabulary = self._model.vocabulary
        end = vocabulary.tokenize(_END_OF_TURN)
        if len(end) != 1 or not vocabulary.is_control(end[0]):
            end = vocabulary.tokenize(vocabulary.end())
        return (*vocabulary.tokenize(vocabulary.harmless(reply), commands=False), *end[:1])

    def _log_probability(self, prompt: Sequence[int], completion: Sequence[int]) -> float:
        """Read the prompt, then the reply; the scores behind each token say how likely the next one was."""
        context = self._model.context
        context.clear(0)
        read = 0
        while len(prompt) - read > 1:
            # The last token of the prompt comes with the reply: its scores are those of the reply's first token.
            tokens = prompt[read : min(read + context.batch_capacity, len(prompt) - 1)]
            context.decode([Piece(sequence=0, position=read, tokens=tokens, wants_next=False)])
            read += len(tokens)
        given = iter((prompt[-1], *completion[:-1]))
        wanted = iter(completion)
        total = 0.0
        while tokens := tuple(islice(given, min(_SCORED_AT_ONCE, context.batch_capacity))):
            places = context.decode(
                [
                    Piece(sequence=0, position=read + number, tokens=(token,), wants_next=True)
                    for number, token in enumerate(tokens)
                ]
            )
            read += len(tokens)
            total += sum(self._log_share(place, next(wanted)) for place in places)
        return total

    def _log_share(self, place: int | None, token: int) -> float:
        """Return the logarithm of a token's softmax share at a place of the last batch."""
        if place is None:
            raise InferenceError("no scores were computed")
        scores = self._model.context.logits(place, self._model.vocabulary.size).astype(np.float64)
        highest = scores.max()
        return float(scores[token] - highest - np.log(np.exp(scores - highest).sum()))
