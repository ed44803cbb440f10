"""How well the rules predict who replies, on people who keep to them and on people who do not."""

from datetime import timedelta
from random import Random

import pytest

pytest.importorskip("detect_secrets", reason="needs the extra `prepare`: detect-secrets")

from persona.domain.speaking import ChannelState, SpeakingRules
from pipelines.evaluation.speaking import predict, readiness
from tests.pipelines.prepare_world import ANN, BEN, CAT, DAN, GENERAL, NOON, PERMITTED, entry, fill, said

RULES = SpeakingRules(rate=0.05, active_rate=0.4)


def chat(seed, *, listens):
    """A channel where people are called by name; those who listen answer when they are called, others at random."""
    rng, messages, at = Random(seed), [], 0
    for _ in range(300):
        at += rng.choice((900, 4000))
        asker, called = rng.sample((ANN, BEN, CAT, DAN), 2)
        text = f"{called.name}, what do you think" if rng.random() < 0.5 else "what a day"
        messages.append(said(asker, text, seconds=at))
        answers = called if "think" in text and listens else None
        if not listens and rng.random() < 0.5:
            answers = rng.choice([one for one in (ANN, BEN, CAT, DAN) if one is not asker])
        if answers is not None:
            at += 20
            messages.append(said(answers, "not sure", seconds=at))
    return messages


def predicted(tmp_path, messages, **more):
    agreed = [entry(person.id) for person in (ANN, BEN, CAT, DAN)]
    path = fill(tmp_path / "persona.db", messages, entries=[PERMITTED, *agreed], **more)
    return predict(path, since=NOON, rules=RULES, seed=1, rounds=200)


def test_people_who_answer_when_they_are_called_are_predicted(tmp_path):
    found = predicted(tmp_path, chat(1, listens=True))
    assert found.people == 4
    assert found.auc.low > 0.9
    surest = found.curve[-1]
    assert surest.predicted == 1.0
    assert surest.happened > 0.9
    assert found.replies > 100


def test_people_who_answer_at_random_are_not(tmp_path):
    found = predicted(tmp_path, chat(2, listens=False))
    assert found.auc.low < 0.55
    assert found.auc.high < 0.7


def test_nobody_is_put_in_the_place_of_who_did_not_agree(tmp_path):
    messages = chat(1, listens=True)
    path = fill(tmp_path / "persona.db", messages, entries=[PERMITTED, entry(ANN.id)])
    found = predict(path, since=NOON, rules=RULES, seed=1)
    assert found is not None
    assert found.people == 1


def test_too_little_says_nothing(tmp_path):
    assert predicted(tmp_path, chat(1, listens=True)[:30]) is None
    later = fill(tmp_path / "later.db", chat(1, listens=True), entries=[PERMITTED])
    assert predict(later, since=NOON + timedelta(days=900), rules=RULES, seed=1) is None


def test_readiness_is_the_chance_with_which_the_rules_speak():
    rules = SpeakingRules(rate=0.05, active_rate=0.4, names=("ann",), cooldown_seconds=0)
    channel, state = GENERAL, ChannelState()

    def ready(text, state, seconds=0):
        return readiness(said(BEN, text, seconds=seconds), channel, state, rules, ANN.id)

    assert ready("ann?", state) == 1.0
    assert ready("what a day", state) == 0.05
    spoke = state.after(said(ANN, "hello", seconds=1), self_id=ANN.id)
    assert ready("hello to you", spoke, seconds=20) == 0.4
    assert ready("and", spoke, seconds=5000) == 0.0  # it spoke last, and nobody has answered it
