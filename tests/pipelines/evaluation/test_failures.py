"""Every measure is held against data with a known answer: people pass, each way to fail is noticed where it must be."""

import pytest

pytest.importorskip("sklearn", reason="needs the extra `evaluate`: scikit-learn")
pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")
pytest.importorskip("phonenumbers", reason="needs the extra `prepare`: phonenumbers")

from persona.ports import Sampling
from pipelines.evaluation.asking import Request
from pipelines.evaluation.failures import columns, validate
from pipelines.evaluation.heldout import read_split
from pipelines.evaluation.judging import Judge
from pipelines.evaluation.vectors import LetterVectors
from tests.pipelines.evaluation.run_world import OFFICE, write_run, write_split


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("validation")
    run = write_run(folder / "run", conversations=45)
    write_split(folder / "other", "train", conversations=30, seed=9, phrases=OFFICE)
    request = Request(
        run=run,
        split="test",
        folder=folder,
        models=(),
        contexts=120,
        rounds=1,
        ranked=0,
        seed=7,
        draws=300,
        sampling=Sampling(),
        parts=3,
    )
    judge = Judge(request, LetterVectors())
    return {failure.name: failure for failure in validate(judge, read_split(folder / "other", "train"))}


def test_people_beside_people_are_near_the_ceiling(table):
    assert table["people again"].worse == ()


@pytest.mark.parametrize(
    "failure",
    [
        "any other reply",
        "copy machine",
        "shuffled words",
        "another server",
        "always the same",
        "too long",
        "word by word",
        "another language",
        "shouting",
        "gossip",
    ],
)
def test_a_failure_is_noticed_by_the_measures_that_are_there_for_it(table, failure):
    assert table[failure].expected
    assert table[failure].missed == ()


def test_no_failure_is_forgotten_and_every_measure_has_one_that_it_notices(table):
    noticed = {key for failure in table.values() for key in failure.worse}
    measured = {measure.key for measure in columns(list(table.values()))}
    assert measured == noticed


def test_a_copy_is_no_worse_than_people_where_it_is_people(table):
    assert "language" not in table["copy machine"].worse
    assert "personal" not in table["copy machine"].worse
