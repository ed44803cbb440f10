"""What a GGUF file says of a model's shape, and how its tensors are called and laid out there."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGUFWriter
from gguf.tensor_mapping import TensorNameMap
from numpy.typing import NDArray

from persona.errors import ModelFileError

_ARCHITECTURES = {
    "Qwen2ForCausalLM": gguf.MODEL_ARCH.QWEN2,
    "Qwen3ForCausalLM": gguf.MODEL_ARCH.QWEN3,
    "LlamaForCausalLM": gguf.MODEL_ARCH.LLAMA,
}
_DEFAULT_ROPE_THETA = 10_000.0
_SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One model's configuration, as `config.json` has it, read for GGUF."""

    kind: gguf.MODEL_ARCH
    config: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any], *, place: str) -> "Architecture":
        """Recognise a configuration; `place` is named in errors.

        Raises:
            ModelFileError: its architecture, or something special in it, is not known here.
        """
        named = (config.get("architectures") or ["nothing"])[0]
        kind = _ARCHITECTURES.get(named)
        if kind is None:
            known = ", ".join(name.removesuffix("ForCausalLM") for name in _ARCHITECTURES)
            raise ModelFileError(f"{place} is a {named}", cure=f"take a base model of one of these kinds: {known}")
        if config.get("use_sliding_window"):
            raise ModelFileError(f"{place} uses a sliding window", cure="take a base model without one")
        found = cls(kind=kind, config=config)
        if found._rope_type not in {"default", "linear", "yarn", "llama3"}:
            raise ModelFileError(
                f"{place} stretches its positions by {found._rope_type!r}", cure="take a base model that does not"
            )
        return found

    @property
    def name(self) -> str:
        """The architecture's name in GGUF."""
        return gguf.MODEL_ARCH_NAMES[self.kind]

    @property
    def layers(self) -> int:
        """How many blocks there are."""
        return int(self.config["num_hidden_layers"])

    @property
    def vocabulary(self) -> int:
        """How many rows the word embeddings have."""
        return int(self.config["vocab_size"])

    @property
    def tied(self) -> bool:
        """Whether the output layer is the word embeddings once more."""
        return bool(self.config.get("tie_word_embeddings", False))

    @property
    def _heads(self) -> int:
        return int(self.config["num_attention_heads"])

    @property
    def _kv_heads(self) -> int:
        return int(self.config.get("num_key_value_heads") or self._heads)

    @property
    def _head_size(self) -> int:
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self._heads)

    @property
    def _rope(self) -> Mapping[str, Any]:
        """Rotary embedding's numbers: of today's `rope_parameters` or of the older two keys."""
        older = {"rope_theta": self.config.get("rope_theta"), **(self.config.get("rope_scaling") or {})}
        return self.config.get("rope_parameters") or older

    @property
    def _rope_type(self) -> str:
        return str(self._rope.get("rope_type") or self._rope.get("type") or "default")

    def describe(self, writer: GGUFWriter) -> None:
        """Write the shape's keys."""
        config = self.config
        writer.add_context_length(int(config["max_position_embeddings"]))
        writer.add_embedding_length(int(config["hidden_size"]))
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(int(config["intermediate_size"]))
        writer.add_head_count(self._heads)
        writer.add_head_count_kv(self._kv_heads)
        writer.add_key_length(self._head_size)
        writer.add_value_length(self._head_size)
        writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
        writer.add_rope_freq_base(float(self._rope.get("rope_theta") or _DEFAULT_ROPE_THETA))
        writer.add_vocab_size(self.vocabulary)
        if self.kind is gguf.MODEL_ARCH.LLAMA:
            writer.add_rope_dimension_count(self._head_size)
        if self._rope_type == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(self._rope["factor"]))
        elif self._rope_type == "yarn":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(float(self._rope["factor"]))
            writer.add_rope_scaling_orig_ctx_len(int(self._rope["original_max_position_embeddings"]))

    def tensor_name(self, name: str) -> str | None:
        """Return what a tensor is called in GGUF; None for one that GGUF does without.

        Raises:
            ModelFileError: there is no such tensor in this architecture.
        """
        if name.endswith(("rotary_emb.inv_freq", "attention.bias", "attention.masked_bias")):
            return None
        if self.tied and name == "lm_head.weight":
            return None
        found = TensorNameMap(self.kind, self.layers).get_name(name, try_suffixes=_SUFFIXES)
        if found is None:
            raise ModelFileError(f"a {self.name} has no tensor {name!r}", cure="take a plain model of that kind")
        return found

    def laid_out(self, name: str, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return a tensor as llama.cpp wants it.

        Hugging Face keeps the two halves of each rotated pair half a head apart; llama.cpp's Llama keeps them side by
        side, so queries and keys change places there (Qwen is read as it is).
        """
        heads = self._heads if ".q_proj." in name else self._kv_heads if ".k_proj." in name else 0
        if self.kind is not gguf.MODEL_ARCH.LLAMA or not heads:
            return tensor
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))

    def rope_factors(self) -> NDArray[np.float32] | None:
        """Return by how much each frequency is divided ("llama3" scaling, Llama 3.1's long context), if at all."""
        if self._rope_type != "llama3":
            return None
        rope, size = self._rope, self._head_size
        theta = float(rope.get("rope_theta") or _DEFAULT_ROPE_THETA)
        factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
        context = float(rope["original_max_position_embeddings"])
        factors = []
        for place in range(0, size, 2):
            length = 2 * math.pi * theta ** (place / size)
            if length < context / high:
                factors.append(1.0)
            elif length > context / low:
                factors.append(factor)
            else:
                smooth = (context / length - low) / (high - low)
                factors.append(1 / ((1 - smooth) / factor + smooth))
        return np.array(factors, dtype=np.float32)
