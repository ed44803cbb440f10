"""Makes a request's turns into the tokens a model reads, within its context window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from persona.adapters.llama.template import ChatTemplate
from persona.adapters.llama.vocabulary import Vocabulary
from persona.domain.prompt import Turn, fit
from persona.errors import InferenceError, PromptTooLongError
from persona.ports import ChatRequest, Sampling

_FIT_ATTEMPTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model reads, and how long its reply can be; `dropped_lines` old lines of talk had no room."""

    tokens: tuple[int, ...]
    max_tokens: int
    dropped_lines: int


class PromptWriter:
    """Writes prompts for one model."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, *, context_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._context = context_tokens

    def write(self, request: ChatRequest) -> Prompt:
        """Return the prompt for a request: the oldest lines go first, the system turn and the newest line stay.

        Room is kept for a whole reply, up to half of the window.

        Raises:
            PromptTooLongError: the system turn and the newest line alone do not fit.
            InferenceError: the request makes no sense, or the template cannot render it.
        """
        check_sampling(request.sampling)
        if not request.turns:
            raise InferenceError("the request has no turns")
        turns = tuple(self._harmless(turn) for turn in request.turns)
        budget = self._context - min(request.sampling.max_tokens, self._context // 2)
        room = budget
        for attempt in range(_FIT_ATTEMPTS):
            kept = fit(turns, room, self._vocabulary.count)
            if kept is None:
                break
            tokens = self._vocabulary.prompt_tokens(self._template.render(kept))
            if len(tokens) <= budget:
                return Prompt(
                    tokens=tuple(tokens),
                    max_tokens=min(request.sampling.max_tokens, self._context - len(tokens)),
                    dropped_lines=_lines(turns) - _lines(kept),
                )
            # `fit` estimates: a template with larger frames than it assumes gets less room, more so with every attempt,
            # because giving up a few tokens may not yet drop a line.
            room -= (len(tokens) - budget) << attempt
        raise PromptTooLongError(
            f"the system prompt and the newest message do not fit into {budget} tokens",
            cure="set [model] context_tokens higher, or the style card and [reply] examples lower",
        )

    def _harmless(self, turn: Turn) -> Turn:
        clean = self._vocabulary.harmless
        return replace(turn, lines=tuple(map(clean, turn.lines)), notes=tuple(map(clean, turn.notes)))


def check_sampling(sampling: Sampling) -> None:
    """Refuse settings that llama.cpp would take and misunderstand.

    Raises:
        InferenceError: names the setting and its range.
    """
    ranges = (
        ("temperature", sampling.temperature, 0.0, 100.0),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("top_k", sampling.top_k, 0, 1_000_000),
        ("repetition_penalty", sampling.repetition_penalty, 0.01, 100.0),
        ("penalty_window", sampling.penalty_window, 0, 1_000_000),
        ("max_tokens", sampling.max_tokens, 1, 1_000_000),
    )
    for name, value, low, high in ranges:
        if not math.isfinite(value) or not low <= value <= high:
            raise InferenceError(f"sampling {name} is {value}", cure=f"allowed: {low:g} to {high:g}")


def _lines(turns: Sequence[Turn]) -> int:
    return sum(len(turn.lines) for turn in turns)
