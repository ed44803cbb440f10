"""A tokenizer as GGUF has it: byte-level BPE with one of the pre-tokenizers that llama.cpp knows by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType

from persona.errors import ModelFileError

_SPLITS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+": "qwen2",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "llama-bpe",
}
"""How text is cut before BPE, and llama.cpp's name for it."""

_BY_SPACES = "gpt-2"
_CURE = "take a base model with a tokenizer like Qwen's or Llama 3's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Tokens by number with their types, the merges of BPE, and what the model's folder says about special ones."""

    tokens: Sequence[str]
    types: Sequence[TokenType]
    merges: Sequence[str]
    split: str
    special: Mapping[str, int]
    adds_bos: bool
    chat_template: str

    @classmethod
    def read(cls, folder: Path, *, rows: int) -> "Vocabulary":
        """Read a tokenizer; `rows` of word embeddings there are (unused ones get a name of their own).

        Raises:
            ModelFileError: a file is missing or damaged, or the tokenizer is of another kind.
        """
        data = _json(folder / "tokenizer.json")
        config = _json(folder / "tokenizer_config.json")
        model = data.get("model") or {}
        if model.get("type") != "BPE" or model.get("byte_fallback"):
            raise ModelFileError(f"{folder / 'tokenizer.json'} is not byte-level BPE", cure=_CURE)
        added = {int(token["id"]): token for token in data.get("added_tokens") or ()}
        by_number = {int(number): token for token, number in model["vocab"].items()}
        by_number |= {number: str(token["content"]) for number, token in added.items()}
        if by_number and max(by_number) >= rows:
            raise ModelFileError(
                f"{folder} has {max(by_number) + 1} tokens, but word embeddings for {rows}", cure=_CURE
            )
        return cls(
            tokens=[by_number.get(number, f"[PAD{number}]") for number in range(rows)],
            types=[_type(number, by_number, added) for number in range(rows)],
            merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
            split=_split(data.get("pre_tokenizer") or {}, folder),
            special=_special(config, {token: number for number, token in by_number.items()}),
            adds_bos=bool(config.get("add_bos_token", False)),
            chat_template=_template(folder, config),
        )

    def write(self, writer: GGUFWriter) -> None:
        """Write the tokenizer's keys."""
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.split)
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.types))
        writer.add_token_merges(list(self.merges))
        add = {
            "bos": writer.add_bos_token_id,
            "eos": writer.add_eos_token_id,
            "pad": writer.add_pad_token_id,
            "unk": writer.add_unk_token_id,
        }
        for kind, number in self.special.items():
            add[kind](number)
        writer.add_add_bos_token(self.adds_bos)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def _type(number: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> TokenType:
    if number not in tokens:
        return TokenType.UNUSED
    if number not in added:
        return TokenType.NORMAL
    return TokenType.CONTROL if added[number].get("special") else TokenType.USER_DEFINED


def _split(pre_tokenizer: Mapping[str, Any], folder: Path) -> str:
    """Return llama.cpp's name of the way in which text is cut."""
    steps = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    if len(patterns) == 1 and patterns[0] in _SPLITS:
        return _SPLITS[patterns[0]]
    plain = [step for step in steps if step.get("type") == "ByteLevel" and step.get("use_regex", True)]
    if len(steps) == len(plain) == 1 and not plain[0].get("add_prefix_space"):
        return _BY_SPACES
    raise ModelFileError(f"{folder / 'tokenizer.json'} cuts text in a way that is not known here", cure=_CURE)


def _special(config: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for kind in ("bos", "eos", "pad", "unk"):
        token = config.get(f"{kind}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str) and content in numbers:
            found[kind] = numbers[content]
    return found


def _template(folder: Path, config: Mapping[str, Any]) -> str:
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    template = config.get("chat_template") or ""
    return template if isinstance(template, str) else ""


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read: {error.strerror}", cure="the model folder is not whole") from None
    except ValueError:
        raise ModelFileError(f"{file} is damaged", cure="fetch or train the model again") from None
