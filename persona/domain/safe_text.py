"""Makes other people's text safe to stand in a prompt: nothing in it can act as a name, a line or a control token."""

import re
import unicodedata

NAME_LIMIT = 32

_CONTROL_TOKEN = re.compile(
    r"<(?=[|\uff5c]|/?(?:s|bos|eos|unk|pad|mask|think|tool_call|tool_response|start_of_turn|end_of_turn|sep|cls)>)"
    r"|<(?=<\s*/?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
"""How control tokens begin in the vocabularies of Qwen, Llama, Mistral, Gemma, Phi, DeepSeek and their kin."""

_BROKEN = {"<": "\u2039", "[": "\u27e6"}
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, overrides of the writing direction, and halves of characters that cannot be encoded."""

_NOT_IN_NAMES = frozenset(':[]()"\u115f\u1160\u2800\u3164\uffa0')
"""What frames a name in a prompt, and characters that look like nothing."""


def clean_name(name: str) -> str:
    """Return a name that fits on one line in front of a colon: NFC, nothing invisible, at most 32 long, never empty."""
    if name.isascii() and name.isalnum() and len(name) <= NAME_LIMIT:  # most names, and quick to see
        return name
    visible = "".join(c for c in name if _keeps_line(c) and c not in _NOT_IN_NAMES)
    return neutral(" ".join(unicodedata.normalize("NFC", visible).split()))[:NAME_LIMIT].strip() or "someone"


def one_line(text: str) -> str:
    """Return text as one line of NFC without control characters and control tokens."""
    return neutral(" ".join(_NO_TEXT.sub(" ", unicodedata.normalize("NFC", text)).split()))


def safe_lines(text: str) -> list[str]:
    """Return the lines of a text that hold something, in NFC, without control characters and control tokens."""
    lines = (unicodedata.normalize("NFC", _NO_TEXT.sub("", line)).rstrip() for line in text.splitlines())
    return [neutral(line) for line in lines if line.strip()]


def shorten(text: str, limit: int) -> str:
    """Cut one line of text to at most `limit` (2 or more) characters, at a word where possible, with an ellipsis."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    cut = flat[: limit - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[limit // 2 :] else cut) + "…"


def neutral(text: str) -> str:
    """Break up text that a tokenizer would read as a control token, such as `<|im_end|>`, `</s>` or `[INST]`."""
    if "<" not in text and "[" not in text:
        return text
    return _CONTROL_TOKEN.sub(lambda found: _BROKEN[found[0]], text)


def _keeps_line(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co"} or character.isspace()
