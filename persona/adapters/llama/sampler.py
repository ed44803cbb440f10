"""Draws the next token of one reply, by the settings of its request."""

from collections.abc import Sequence
from typing import Any

from persona.adapters.llama.native import api
from persona.ports import Sampling

_RANDOM_SEED = 0xFFFF_FFFF
"""llama.cpp reads this seed as "draw one yourself": it would not be repeatable."""


class Sampler:
    """A chain of llama.cpp samplers; `close` it when the reply is done."""

    def __init__(self, sampling: Sampling, *, seed: int, vocabulary_size: int) -> None:
        self._chain: Any = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        for part in _parts(sampling, seed, vocabulary_size):
            api.llama_sampler_chain_add(self._chain, part)

    def remember(self, tokens: Sequence[int]) -> None:
        """Take tokens as said before, so that the repetition penalty sees them."""
        for token in tokens:
            api.llama_sampler_accept(self._chain, token)

    def draw(self, context: Any, index: int) -> int:
        """Return the token that follows position `index` of the last batch, and remember it."""
        return int(api.llama_sampler_sample(self._chain, context, index))

    def close(self) -> None:
        """Free the chain; safe to call twice."""
        chain, self._chain = self._chain, None
        if chain is not None:
            api.llama_sampler_free(chain)


def _parts(sampling: Sampling, seed: int, vocabulary_size: int) -> list[Any]:
    """Return the chain's samplers in order: penalty, top-k, top-p, min-p, temperature, draw (llama.cpp's usual order).

    The penalty only ever makes tokens less likely, and at most `penalty_window` of them: the best k after it are among
    the best k + window before it. Cutting down to those first gives the same result for a fraction of the work.
    """
    greedy = sampling.temperature <= 0
    k = 1 if greedy else sampling.top_k
    parts: list[Any] = []
    if sampling.repetition_penalty != 1 and sampling.penalty_window > 0:
        window = sampling.penalty_window
        if k > 0 and sampling.repetition_penalty > 1:
            parts.append(api.llama_sampler_init_top_k(k + window))
        parts.append(api.llama_sampler_init_penalties(vocabulary_size, window, sampling.repetition_penalty, 0.0, 0.0))
    if greedy:
        return [*parts, api.llama_sampler_init_greedy()]
    if k > 0:
        parts.append(api.llama_sampler_init_top_k(k))
    if sampling.top_p < 1:
        parts.append(api.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        parts.append(api.llama_sampler_init_min_p(sampling.min_p, 1))
    parts.append(api.llama_sampler_init_temp(sampling.temperature))
    seed &= 0xFFFF_FFFF
    return [*parts, api.llama_sampler_init_dist(seed if seed != _RANDOM_SEED else 0)]
