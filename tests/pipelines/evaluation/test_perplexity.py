"""Perplexity of replies with known probabilities."""

import math

import pytest

from persona.adapters.llama.scoring import Likelihood
from pipelines.evaluation.perplexity import bits_per_character, per_character, per_token


def test_a_model_that_chooses_evenly_among_n_has_perplexity_n():
    replies = [
        Likelihood(log_probability=-tokens * math.log(50), tokens=tokens, characters=2 * tokens) for tokens in (3, 9)
    ]
    assert per_token(replies) == pytest.approx(50)
    assert per_character(replies) == pytest.approx(math.sqrt(50))
    assert bits_per_character(replies) == pytest.approx(math.log2(50) / 2)


def test_long_replies_count_more_and_none_is_not_a_number():
    short, long = (Likelihood(log_probability=-p, tokens=n, characters=n) for p, n in ((10.0, 1), (10.0, 99)))
    assert per_token([short, long]) == pytest.approx(math.exp(0.2))
    assert math.isnan(per_token([]))
    assert math.isnan(per_character([]))
