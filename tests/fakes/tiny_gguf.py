"""Writes small Qwen2 models with random weights: real GGUF files that llama.cpp loads in milliseconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WORDS = " the and you that it is of to in what who are hello hey user assistant system my name like pizza said"


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """What the model is like.

    Attributes:
        script: token texts that the model says one after the other whenever a turn of its own begins (greedily); then
            it ends the turn. Each one at most once. Empty: it babbles, depending on all it has read.
        endless: it starts the script over instead of ending the turn.
        extra_control: further command tokens.
        vocabulary: pad the vocabulary to this size with unused tokens.
        metadata: further text keys, such as `persona.prompt_hash`.
        template: the Jinja chat template; None leaves it out.
    """

    seed: int = 7
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 128
    context: int = 1024
    vocabulary: int = 0
    script: Sequence[str | bytes] = ()
    endless: bool = False
    extra_control: Sequence[str] = ()
    template: str | None = QWEN_TEMPLATE
    metadata: Mapping[str, str] = field(default_factory=dict)


def write_tiny_gguf(path: Path, model: TinyModel | None = None) -> Path:
    """Write the model; the same description always gives the same bytes. Returns the path."""
    model = model or TinyModel()
    writer = gguf.GGUFWriter(path, "qwen2")
    tokens, merges = _vocabulary(model)
    _write_metadata(writer, model, tokens, merges)
    for name, weights in _weights(model, tokens).items():
        writer.add_tensor(name, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_alphabet() -> dict[int, str]:
    """Return GPT-2's printable stand-in for every byte, as byte-level BPE vocabularies write them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def _encode(text: str | bytes) -> str:
    alphabet = byte_alphabet()
    return "".join(alphabet[b] for b in (text.encode() if isinstance(text, str) else text))


def _vocabulary(model: TinyModel) -> tuple[list[str], list[str]]:
    """Return the tokens (bytes, a few merged words, the script's pieces, commands last) and the merges."""
    alphabet = byte_alphabet()
    tokens = [alphabet[b] for b in range(256)]
    merges: list[str] = []
    for word in _WORDS.split(" ")[1:]:
        left = _encode(" ")
        for letter in word:
            if left + letter not in tokens:
                tokens.append(left + letter)
                merges.append(f"{left} {letter}")
            left += letter
    commands = [*CHATML, *model.extra_control]
    tokens += [piece for piece in map(_encode, model.script) if piece not in {*tokens, *commands}]
    tokens += commands
    tokens += [f"[unused{i}]" for i in range(model.vocabulary - len(tokens))]
    return tokens, merges


def _write_metadata(writer: gguf.GGUFWriter, model: TinyModel, tokens: list[str], merges: list[str]) -> None:
    commands = {*CHATML, *model.extra_control}
    kinds = [gguf.TokenType.CONTROL if t in commands else gguf.TokenType.NORMAL for t in tokens]
    writer.add_name("tiny")
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    if model.template is not None:
        writer.add_chat_template(model.template)
    for key, value in model.metadata.items():
        writer.add_string(key, value)


def _weights(model: TinyModel, tokens: list[str]) -> dict[str, np.ndarray]:
    """Return random weights; with a script they are small, and the output maps every token to its successor."""
    rng = np.random.default_rng(model.seed)
    scale = 0.001 if model.script else 0.3
    width = model.hidden // model.heads * model.kv_heads

    def noise(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns)) * scale / np.sqrt(columns / 16)

    embedding = rng.standard_normal((len(tokens), model.hidden))
    weights = {"token_embd.weight": embedding, "output_norm.weight": np.ones(model.hidden)}
    weights["output.weight"] = _successors(model, tokens, embedding) if model.script else _babble(rng, embedding)
    for layer in range(model.layers):
        block = f"blk.{layer}."
        weights |= {
            block + "attn_norm.weight": np.ones(model.hidden),
            block + "ffn_norm.weight": np.ones(model.hidden),
            block + "attn_q.weight": noise(model.hidden, model.hidden),
            block + "attn_k.weight": noise(width, model.hidden),
            block + "attn_v.weight": noise(width, model.hidden),
            block + "attn_q.bias": np.zeros(model.hidden),
            block + "attn_k.bias": np.zeros(width),
            block + "attn_v.bias": np.zeros(width),
            block + "attn_output.weight": noise(model.hidden, model.hidden),
            block + "ffn_gate.weight": noise(model.feed_forward, model.hidden),
            block + "ffn_up.weight": noise(model.feed_forward, model.hidden),
            block + "ffn_down.weight": noise(model.hidden, model.feed_forward),
        }
    return weights


def _babble(rng: np.random.Generator, embedding: np.ndarray) -> np.ndarray:
    return rng.standard_normal(embedding.shape) * 0.5


def _successors(model: TinyModel, tokens: list[str], embedding: np.ndarray) -> np.ndarray:
    """Return output weights by which the token that follows another in the script is by far the likeliest."""
    script = [_encode(piece) for piece in model.script]
    chain = [_encode("\n"), *script, script[0] if model.endless else "<|im_end|>"]
    output = np.zeros_like(embedding)
    for before, after in pairwise(chain):
        output[tokens.index(after)] += embedding[tokens.index(before)] / 4
    return output
