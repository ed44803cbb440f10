"""Ranks and predictions."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipelines.evaluation.ranking import auc, calibration, calibration_error, mean_reciprocal_rank, rank_of


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=50))
def test_auc_is_the_one_of_scikit_learn(pairs):
    scores, happened = [float(score) for score, _ in pairs], [hit for _, hit in pairs]
    if len(set(happened)) == 1:
        assert math.isnan(auc(scores, happened))
    else:
        assert auc(scores, happened) == pytest.approx(roc_auc_score(happened, scores))


def test_honest_predictions_are_on_the_diagonal_and_boasts_are_not():
    chance = random.Random(0)
    honest = [chance.random() for _ in range(20_000)]
    happened = [chance.random() < p for p in honest]
    curve = calibration(honest, happened)
    assert [one.count for one in curve] == [2_000] * 10
    assert calibration_error(curve) < 0.02
    assert calibration_error(calibration([min(1, p + 0.3) for p in honest], happened)) > 0.15
    assert math.isnan(calibration_error(calibration([], [])))


def test_ranks_count_better_ones_and_half_of_the_equal_ones():
    assert rank_of(3.0, [1.0, 2.0]) == 1
    assert rank_of(1.0, [2.0, 3.0]) == 3
    assert rank_of(0.0, [0.0] * 4) == 3
    assert mean_reciprocal_rank([1, 2, 4]) == pytest.approx(7 / 12)
    assert math.isnan(mean_reciprocal_rank([]))
