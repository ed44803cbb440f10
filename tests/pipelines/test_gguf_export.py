# ruff: noqa: E402 - what these modules need may be missing
"""Model folders become GGUF files that llama.cpp reads as the same model."""

from itertools import islice

import pytest

for library in ("torch", "transformers", "gguf", "safetensors"):
    pytest.importorskip(library, reason=f"{library} is of the extra `train`, which is not installed")

import llama_cpp
import numpy as np
from gguf import GGUFReader

from persona.errors import ModelFileError, PersonaError
from pipelines.gguf.architecture import Architecture
from pipelines.gguf.parity import check_parity, compare, reference_logits
from pipelines.gguf.quantizing import quantize
from pipelines.gguf.writing import write_gguf
from tests.pipelines.gguf_world import LLAMA3_ROPE, edit_json, write_model

pytestmark = [pytest.mark.training, pytest.mark.timeout(170)]

MODELS = {
    "qwen2, tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "llama": ("llama", {"split": "llama-bpe", "tie_word_embeddings": False}),
    "llama, long context": ("llama", {"split": "llama-bpe", "rope_parameters": LLAMA3_ROPE}),
    "more rows than tokens": ("qwen2", {"rows": 640}),
    "several files": ("qwen2", {"shard": "60KB"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_says_what_the_model_says(tmp_path, name):
    kind, options = MODELS[name]
    folder = write_model(tmp_path / "model", kind, **options)
    seen = []
    write_gguf(folder, tmp_path / "m.gguf", {"persona.x": "y"}, on_bytes=lambda done, total: seen.append((done, total)))
    parity = check_parity(folder, tmp_path / "m.gguf", "F32")
    assert parity.error < 1e-4
    assert parity.agreement == 1
    assert seen[-1][0] == seen[-1][1] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "model"]
    reader = GGUFReader(str(tmp_path / "m.gguf"))
    assert reader.get_field("persona.x").contents() == "y"


@pytest.mark.parametrize(("dtype", "kind"), [("bfloat16", "BF16"), ("float16", "F16")])
def test_sixteen_bits_are_kept_as_they_are(tmp_path, dtype, kind):
    folder = write_model(tmp_path / "model", dtype=dtype)
    write_gguf(folder, tmp_path / "m.gguf", {})
    assert check_parity(folder, tmp_path / "m.gguf", kind).error < 0.06
    reader = GGUFReader(str(tmp_path / "m.gguf"))
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == kind
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    import torch
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        expected = weights.get_tensor("model.layers.1.mlp.up_proj.weight").view(torch.uint8).numpy().tobytes()
    found = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight")
    assert np.asarray(found.data).tobytes() == expected


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K_M"])
def test_a_quantised_file_is_close_and_smaller(tmp_path, kind):
    folder = write_model(tmp_path / "model", hidden_size=256, intermediate_size=512)
    write_gguf(folder, tmp_path / "whole.gguf", {"persona.prompt_hash": "abc"})
    quantize(tmp_path / "whole.gguf", tmp_path / "small.gguf", kind, threads=1)
    assert check_parity(folder, tmp_path / "small.gguf", kind).error > 1e-4
    model = llama_cpp.Llama(str(tmp_path / "small.gguf"), n_ctx=64, verbose=False)
    answer = list(islice(model.generate(model.tokenize(b"what about the roses"), temp=0), 5))
    model.close()
    assert len(answer) == 5
    assert len(set(answer)) > 1
    assert (tmp_path / "small.gguf").stat().st_size < 0.4 * (tmp_path / "whole.gguf").stat().st_size
    assert GGUFReader(str(tmp_path / "small.gguf")).get_field("persona.prompt_hash").contents() == "abc"


def test_a_wrong_layout_of_one_matrix_is_no_parity(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model", "llama", split="llama-bpe")
    monkeypatch.setattr(Architecture, "laid_out", lambda _self, _name, tensor: tensor)
    write_gguf(folder, tmp_path / "m.gguf", {})
    for kind in ("F32", "Q8_0", "Q4_K_M"):
        with pytest.raises(PersonaError, match="does not say what"):
            check_parity(folder, tmp_path / "m.gguf", kind)


def test_one_norm_left_out_is_no_parity(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "model", dtype="bfloat16", hidden_size=256, intermediate_size=512)
    monkeypatch.setattr(
        Architecture, "laid_out", lambda _self, name, tensor: tensor * 0 + 1 if "1.input_layernorm" in name else tensor
    )
    write_gguf(folder, tmp_path / "m.gguf", {})
    with pytest.raises(PersonaError, match="does not say what"):
        check_parity(folder, tmp_path / "m.gguf", "BF16")


def test_another_tokenizer_is_no_parity(tmp_path):
    folder = write_model(tmp_path / "model")
    write_gguf(folder, tmp_path / "m.gguf", {})
    other = write_model(tmp_path / "other", split="llama-bpe")
    with pytest.raises(PersonaError, match="into other tokens"):
        check_parity(other, tmp_path / "m.gguf", "F32")


def test_figures_of_parity_have_known_values():
    logits = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], dtype=np.float32)
    same = compare(logits, logits + 5, "F32")
    assert (same.error, same.agreement) == (pytest.approx(0, abs=1e-6), 1)
    assert same.divergence == pytest.approx(0, abs=1e-9)
    turned = compare(logits, -logits, "F32")
    assert turned.error == pytest.approx(2)
    assert turned.agreement == 0
    assert turned.divergence > 1
    broken = compare(logits, np.full_like(logits, np.nan), "F32")
    assert np.isnan(broken.error)


def test_numbers_that_are_none_are_no_parity(tmp_path):
    folder = write_model(tmp_path / "model")
    write_gguf(folder, tmp_path / "m.gguf", {})
    with pytest.raises(PersonaError, match="does not say what"):
        check_parity(folder, tmp_path / "m.gguf", "F32", expected=np.full_like(reference_logits(folder), np.nan))


DAMAGES = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "damaged config": lambda folder: (folder / "config.json").write_text("{"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut off": lambda folder: cut_off(folder / "model.safetensors"),
    "web page": lambda folder: (folder / "model.safetensors").write_bytes(b"<html>" * 1000),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "other architecture": lambda folder: edit_json(folder / "config.json", architectures=["GPT2LMHeadModel"]),
    "sliding window": lambda folder: edit_json(folder / "config.json", use_sliding_window=True),
    "unknown rope": lambda folder: edit_json(folder / "config.json", rope_parameters={"rope_type": "dynamic"}),
    "fewer layers": lambda folder: edit_json(folder / "config.json", num_hidden_layers=4),
    "unknown split": lambda folder: edit_json(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"}),
    "other tokenizer": lambda folder: edit_json(folder / "tokenizer.json", model={"type": "Unigram", "vocab": []}),
    "too few rows": lambda folder: edit_json(folder / "config.json", vocab_size=100),
}


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no config", r"there is no .*config\.json"),
        ("damaged config", r"config\.json is damaged"),
        ("no weights", r"there is no .*model\.safetensors"),
        ("cut off", r"model\.safetensors is damaged"),
        ("web page", r"model\.safetensors is damaged"),
        ("no tokenizer", r"tokenizer\.json cannot be read"),
        ("other architecture", "is a GPT2LMHeadModel .*Qwen2, Qwen3, Llama"),
        ("sliding window", "sliding window"),
        ("unknown rope", "'dynamic'"),
        ("fewer layers", r"lacks 9 tensors, blk\.3\."),
        ("unknown split", "cuts text in a way"),
        ("other tokenizer", "not byte-level BPE"),
        ("too few rows", "word embeddings for 100"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line_and_leaves_nothing(tmp_path, how, words):
    folder = write_model(tmp_path / "model")
    DAMAGES[how](folder)
    with pytest.raises(ModelFileError, match=words) as caught:
        write_gguf(folder, tmp_path / "m.gguf", {})
    assert "\n" not in str(caught.value)
    assert caught.value.cure
    assert not (tmp_path / "m.gguf").exists()


def test_a_quantisation_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "junk.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(PersonaError, match="could not quantise"):
        quantize(tmp_path / "junk.gguf", tmp_path / "small.gguf", "Q8_0", threads=1)
    with pytest.raises(ValueError, match="none of"):
        quantize(tmp_path / "junk.gguf", tmp_path / "small.gguf", "Q9", threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["junk.gguf"]
