"""The made-up conversations: the same for the same seed, well-formed, and answerable from what they hold."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona.domain.prompt import Role
from pipelines.demo import recalling, topics
from pipelines.demo.conversations import make_conversation
from pipelines.demo.score import judge
from pipelines.demo.talk import Said, Talk
from pipelines.demo.words import loose_phrase, name, noisy

seeds = st.integers(0, 2**32)


@given(seeds)
def test_the_same_seed_makes_the_same_conversation(seed):
    assert make_conversation(Random(seed)) == make_conversation(Random(seed))


@given(seeds, st.sampled_from([0.0, 1.0]))
def test_a_conversation_is_a_prompt_with_an_answer(seed, drill):
    conversation = make_conversation(Random(seed), drill=drill)
    assert conversation.turns[0].role is Role.SYSTEM
    assert conversation.turns[-1].role is Role.USER
    assert conversation.reply in conversation.accepted
    assert "{" not in conversation.reply
    assert judge(conversation, conversation.reply, finished=True).word_for_word


@given(seeds)
def test_memory_stands_only_in_front_of_the_newest_line(seed):
    turns = make_conversation(Random(seed)).turns
    assert all(not turn.notes for turn in turns[:-1])


def test_a_drill_only_exercises_copying_with_and_without_old_messages():
    drills = [make_conversation(Random(seed), drill=1.0) for seed in range(200)]
    free = [make_conversation(Random(seed)) for seed in range(200)]
    assert {c.intent for c in drills} <= {"made me", "asked what", "asked who", "asked about"}
    assert "said hi" in {c.intent for c in free}
    for conversations in (drills, free):
        with_notes = sum(bool(c.turns[-1].notes) for c in conversations)
        assert 80 <= with_notes <= 160


def test_asked_what_they_asked_somebody_hears_of_themselves():
    said = [Said(who="ann", gist="asked what they just said")]
    talks = [Talk(rng=Random(seed), people=("ann",), said=list(said)) for seed in range(30)]
    replies = [recalling.asks_who_said_what(talk, "ann").reply for talk in talks]
    assert all("you just said" in reply for reply in replies)


def test_who_said_what_is_answered_with_the_last_line_of_that_person():
    talk = Talk(rng=Random(1), people=("ann", "ben"), said=[Said(who="ann", gist="asked who i am")])
    answers = {recalling.asks_who_said_what(talk, "ben").reply for _ in range(50)}
    assert any("ann" in answer and "asked who i am" in answer for answer in answers)
    assert all("ann" in answer for answer in answers)


def test_a_fact_is_asked_for_by_owner_and_others():
    talk = Talk(rng=Random(2), people=("ann", "ben"))
    talk.facts["ann", "cat"] = "Biscuit"
    for who, whose in (("ann", "my"), ("ben", "ann's")):
        line = recalling.asks_for_a_fact(talk, who)
        assert whose in line.text
        assert "Biscuit" in line.reply


def test_what_is_quoted_is_typed_without_slips():
    talk = Talk(rng=Random(3), people=("ann",))
    line = topics.says_anything(talk, "ann")
    assert line.typed_as_is
    assert line.gist == f"said: {line.text}"


@given(seeds, st.text(min_size=0, max_size=80))
def test_noise_never_fails_and_keeps_most_of_the_line(seed, text):
    assert abs(len(noisy(Random(seed), text)) - len(text)) <= 8


@given(seeds)
def test_names_and_phrases_fit_on_a_line(seed):
    rng = Random(seed)
    assert 0 < len(name(rng)) <= 32
    assert len(loose_phrase(rng, 4).split()) >= 4


@pytest.mark.training
def test_a_small_model_learns_goes_on_after_a_kill_and_exports_with_parity(tmp_path):
    torch = pytest.importorskip("torch", reason="training needs the extra `demo`")
    pytest.importorskip("tokenizers", reason="training needs the extra `demo`")
    from pipelines.demo.export import write_gguf
    from pipelines.demo.tokenizer import train_tokenizer
    from pipelines.demo.training import Plan, train

    torch.set_num_threads(1)
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json", 1)
    plan = Plan(steps=8, seed=1, save_every=2, limit=96, warm_up=2, first_steps=2, copy_steps=2)
    losses = []
    shape, whole = train(tokenizer, plan, tmp_path / "a.pt", lambda _, loss: losses.append(loss))
    assert losses[-1] < losses[0]

    class Killed(Exception):
        pass

    def kill(step, _):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        train(tokenizer, plan, tmp_path / "b.pt", kill)
    _, resumed = train(tokenizer, plan, tmp_path / "b.pt", lambda *_: None)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    write_gguf(tmp_path / "m.gguf", shape, whole, tokenizer, recipe="test")
    _assert_parity(tmp_path / "m.gguf", shape, whole, tokenizer)


def _assert_parity(path, shape, weights, tokenizer):
    import numpy as np
    import torch
    from llama_cpp import Llama

    from pipelines.demo.model import Qwen2

    text = "<|im_start|>user\nann: hey, who are you?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.encode(text).ids
    ours = Llama(str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    assert ours.tokenize(text.encode(), add_bos=False, special=True) == ids
    ours.eval(ids)
    model = Qwen2(shape)
    model.load_state_dict(weights, strict=False)
    with torch.no_grad():
        expected = (model(torch.tensor([ids])) @ model.token_embd.weight.T)[0].numpy()
    got = np.array(ours.scores[: len(ids)])
    ours.close()
    assert np.abs(got - expected).max() < 0.3  # Q8_0
