"""Perplexity: how many words, so to speak, a model hesitates between where people wrote theirs."""

import math
from collections.abc import Iterable

from persona.adapters.llama.scoring import Likelihood


def per_token(likelihoods: Iterable[Likelihood]) -> float:
    """Return the perplexity per token, 1 (knew it) upwards; nan without any.

    Models with different vocabularies cannot be compared by it: longer tokens are harder to guess.
    """
    known = list(likelihoods)
    return _perplexity(known, sum(one.tokens for one in known))


def per_character(likelihoods: Iterable[Likelihood]) -> float:
    """Return the perplexity per character of the replies, which compares any two models; nan without any."""
    known = list(likelihoods)
    return _perplexity(known, sum(one.characters for one in known))


def bits_per_character(likelihoods: Iterable[Likelihood]) -> float:
    """Return how many bits a character costs: the logarithm of the perplexity per character."""
    return math.log2(per_character(likelihoods))


def _perplexity(known: Iterable[Likelihood], units: int) -> float:
    if not units:
        return math.nan
    return math.exp(-sum(one.log_probability for one in known) / units)
