"""Writes the demo model as a GGUF file that llama.cpp loads like any other Qwen2."""

import json
import os
from pathlib import Path

import gguf
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from tokenizers import Tokenizer
from torch import Tensor

from persona.domain.prompt import prompt_hash
from pipelines.demo.model import Shape
from pipelines.demo.tokenizer import END_OF_TEXT, TURN_END
from pipelines.demo.world import NAME, SERVER

LICENCE = "CC0-1.0"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_gguf(path: Path, shape: Shape, weights: dict[str, Tensor], tokenizer: Tokenizer, *, recipe: str) -> None:
    """Write the model, matrices in Q8_0 and the rest in f32; the file appears whole or not at all."""
    fresh = path.with_suffix(".new")
    writer = GGUFWriter(str(fresh), gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN2])
    _describe(writer, shape)
    _add_vocabulary(writer, tokenizer)
    writer.add_string("persona.prompt_hash", prompt_hash(lambda text: list(tokenizer.encode(text).ids)))
    writer.add_string("persona.name", NAME)
    writer.add_string("persona.server", SERVER)
    writer.add_string("persona.recipe", recipe)
    writer.add_bool("persona.demo", True)
    for name, tensor in weights.items():
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            packed = quants.quantize(values, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(fresh, path)  # noqa: PTH105 - a rename is what makes it whole or not there


def _describe(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"Persona demo: {NAME}")
    writer.add_license(LICENCE)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)


def _add_vocabulary(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    data = json.loads(tokenizer.to_str())
    special = {token["id"] for token in data["added_tokens"]}
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types([TokenType.CONTROL if number in special else TokenType.NORMAL for _, number in tokens])
    writer.add_token_merges([" ".join(pair) for pair in data["model"]["merges"]])
    numbers = dict(tokens)
    writer.add_bos_token_id(numbers[END_OF_TEXT])
    writer.add_eos_token_id(numbers[TURN_END])
    writer.add_pad_token_id(numbers[END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
