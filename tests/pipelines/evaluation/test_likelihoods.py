"""Whether a model sees what belongs together: the rank of a reply's own context, by likelihood."""

import math

import pytest

from persona.adapters.llama.scoring import Likelihood
from persona.errors import InferenceError
from pipelines.evaluation.heldout import read_split
from pipelines.evaluation.likelihoods import CachedScorer, fit_ranks, people_likelihoods
from pipelines.evaluation.prompting import as_trained
from pipelines.evaluation.samples import words
from tests.pipelines.evaluation.run_world import write_split


class Knowing:
    """Finds a reply likely where it shares a long word with what was said; cannot read what is longer than a limit."""

    def __init__(self, sign=1.0, longest=10_000):
        self.asked = 0
        self.sign, self.longest = sign, longest

    def score(self, turns, reply):
        self.asked += 1
        if len(reply) > self.longest:
            raise InferenceError("too long")
        shared = sum(len(word) > 7 for word in set(words(turns[-1].text)) & set(words(reply)))
        return Likelihood(log_probability=self.sign * shared - 20.0, tokens=5, characters=len(reply))


@pytest.fixture
def contexts(tmp_path):
    write_split(tmp_path, "test", conversations=12, replies=3)
    return read_split(tmp_path, "test")


def ranks(contexts, scorer, tmp_path, samples=None):
    with CachedScorer(scorer, tmp_path / "cache.jsonl") as cached:
        return fit_ranks(
            samples or [context.sample() for context in contexts],
            {context.context_id: context for context in contexts},
            cached,
            prompt=as_trained,
            seed=1,
            advanced=lambda: None,
        )


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize(("sign", "low", "high"), [(1.0, 0.9, 1.0), (0.0, 0.33, 0.34), (-1.0, 0.2, 0.3)])
def test_the_rank_is_high_where_the_model_sees_what_belongs_together(contexts, tmp_path, sign, low, high):
    assert low <= mean(ranks(contexts, Knowing(sign), tmp_path)) <= high


def test_a_reply_to_something_else_does_not_fit(contexts, tmp_path):
    replies = [context.reply.split("\n") for context in contexts]
    moved = [context.sample(reply) for context, reply in zip(contexts, replies[7:] + replies[:7], strict=True)]
    assert mean(ranks(contexts, Knowing(), tmp_path)) > 0.9
    assert mean(ranks(contexts, Knowing(), tmp_path, moved)) < 0.6


def test_silence_is_in_the_middle_and_what_is_too_long_is_left_out(contexts, tmp_path):
    silent = [context.sample(("",)) for context in contexts]
    scorer = Knowing()
    assert set(ranks(contexts, scorer, tmp_path, silent)) == {1 / 3}
    assert scorer.asked == 0
    assert all(math.isnan(rank) for rank in ranks(contexts, Knowing(longest=1), tmp_path))


def test_what_was_scored_is_looked_up(contexts, tmp_path):
    first, again = Knowing(), Knowing()
    found = ranks(contexts, first, tmp_path)
    assert ranks(contexts, again, tmp_path) == found
    assert (first.asked > 0, again.asked) == (True, 0)


def test_people_who_cannot_be_scored_are_none(contexts, tmp_path):
    lengths = sorted(len(context.reply) for context in contexts)
    with CachedScorer(Knowing(longest=lengths[5]), tmp_path / "cache.jsonl") as cached:
        found = people_likelihoods(contexts, cached, prompt=as_trained, advanced=lambda: None)
    assert sum(one is None for one in found) == sum(length > lengths[5] for length in lengths) > 0
