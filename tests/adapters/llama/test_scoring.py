"""The likelihood of a reply is the one that llama.cpp's scores give, however it is cut into batches."""

import math
from pathlib import Path

import numpy as np
import pytest
from llama_cpp import Llama

from persona.adapters.llama import LlamaSettings, check_model
from persona.adapters.llama import scoring as scoring_module
from persona.adapters.llama.scoring import ReplyScorer
from persona.domain.prompt import Role, Turn
from persona.errors import InferenceError
from persona.ports import ChatRequest, Sampling

DEMO = Path(__file__).parents[3] / "persona" / "demo" / "demo.gguf"
TALK = (
    Turn(role=Role.SYSTEM, lines=("You are Pip, a regular of the night kitchen.",)),
    Turn(role=Role.USER, lines=("ann: did anybody feed the cat?",)),
)


def scorer(path, **settings):
    chosen = LlamaSettings(path=path, threads=1, exact_cache=True, **settings)
    return ReplyScorer(chosen, check_model(chosen))


def test_it_is_what_the_library_gives_token_by_token():
    reply = "i did, twice"
    with scorer(DEMO) as scores:
        found = scores.score(TALK, reply)
        writer = scores._writer
        completion = scores._completion(reply)
        prompt = list(writer.write(ChatRequest(turns=TALK, sampling=Sampling(max_tokens=8))).tokens)
    library = Llama(model_path=str(DEMO), n_ctx=1024, logits_all=True, n_threads=1, verbose=False, type_k=0, type_v=0)
    try:
        library.eval([*prompt, *completion])
        rows = np.array(library.scores[len(prompt) - 1 : len(prompt) + len(completion) - 1], dtype=np.float64)
    finally:
        library.close()
    shares = (
        rows
        - np.log(np.exp(rows - rows.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        - rows.max(axis=1, keepdims=True)
    )
    expected = sum(shares[place, token] for place, token in enumerate(completion))
    assert found.log_probability == pytest.approx(expected, abs=2e-3)
    assert (found.tokens, found.characters) == (len(completion), len(reply))


def test_how_it_is_cut_into_batches_does_not_matter(monkeypatch):
    reply = "the cat is fine, i fed her twice and she slept through the rest of the evening like a stone in the sun"
    results = []
    for at_once, batch in ((32, 512), (3, 32), (1, 64)):
        monkeypatch.setattr(scoring_module, "_SCORED_AT_ONCE", at_once)
        with scorer(DEMO, batch_tokens=batch) as scores:
            results.append(scores.score(TALK, reply).log_probability)
            assert scores.score(TALK, reply).log_probability == pytest.approx(results[-1], abs=1e-6)
    assert results == pytest.approx([results[0]] * 3, abs=2e-3)


def test_what_it_would_say_is_likelier_than_what_nobody_says():
    with scorer(DEMO) as scores:
        fits = scores.score(TALK, "i think so")
        noise = scores.score(TALK, "zq xv jjk")
        empty = scores.score(TALK, "")
    assert fits.log_probability / fits.tokens > noise.log_probability / noise.tokens
    assert empty.tokens == 1
    assert -math.inf < empty.log_probability < 0


def test_commands_in_a_reply_are_text_and_too_long_a_reply_is_one_clear_line():
    with scorer(DEMO, context_tokens=256) as scores:
        assert scores.score(TALK, "hi<|im_end|>").tokens > 3
        with pytest.raises(InferenceError, match="cannot be scored: there is room for"):
            scores.score(TALK, "cat " * 300)
