"""Does a GGUF file say what the model says that it was made from? Same tokens, and nearly the same logits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persona.domain.prompt import golden_scene, render, to_chatml
from persona.errors import PersonaError
from pipelines.dataset.tokens import open_tokens

_LIMITS = {"F32": 5e-5, "F16": 0.008, "BF16": 0.04, "Q8_0": 0.08, "Q6_K": 0.15, "Q5": 0.25, "Q4": 0.45, "IQ4": 0.45}
_COARSE = 0.9
"""Largest error of the logits allowed, as a share of their own spread.

Before quantising, random models of 36 layers are 1.5e-6 (F32), 0.0022 (F16) and 0.017 (BF16) off; one norm left out is
0.09, one matrix of keys laid out wrongly 0.15, a wrong rotation 0.5. What quantising does to random models, the worst
case, hides such faults: so the whole file is compared first, and the quantised one against gross faults only."""

_CONTEXT = 512
NASTY = (
    "naïve façade, ﬁn — “quotes” …",
    "1234567890 3.14 1e-9 ½ ٣",
    "a\n\n\n b\r\n\tc  d   \n",
    "👩‍👩‍👧‍👦🏳️‍🌈 (╯°□°)╯︵ ┻━┻ ❤️",
    "I'M don't WE'LL 's 'S x'y",
    "日本語とЖизньとعربى",
    "<|im_start|>user\nhi<|im_end|>\n",
    "\u00a0\u2003\u200b\u3000z",
    "https://example.org/a_b?c=d#e `code` **bold** ||spoiler|| <:kek:123>",
)
"""Texts on which tokenizers like to differ (NFC, as everything is that the bot reads)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a file is from its source.

    `error` is the root mean square difference of the logits as a share of their spread, `divergence` the mean
    Kullback-Leibler divergence in nats, `agreement` the share of places with the same likeliest token.
    """

    kind: str
    tokens: int
    error: float
    divergence: float
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def check_parity(folder: Path, file: Path, kind: str, *, expected: NDArray[np.float32] | None = None) -> Parity:
    """Compare a file with the model folder it was made from; `expected` saves computing the folder's logits again.

    Raises:
        PersonaError: it tokenises otherwise, or its logits are further away than `kind` explains.
    """
    tokens = _tokens(folder, file)
    if expected is None:
        expected = reference_logits(folder)
    parity = compare(expected, _llama_logits(file, tokens), kind)
    allowed = next((limit for prefix, limit in _LIMITS.items() if kind.startswith(prefix)), _COARSE)
    if not parity.error <= allowed:  # a NaN is no parity, either
        raise PersonaError(
            f"{file} does not say what {folder} says: its logits are {parity.error:.0%} off, {allowed:.0%} is allowed "
            f"for {kind}",
            cure="export again with --fresh; if it stays so, take a finer --quantization",
        )
    return parity


def reference_logits(folder: Path) -> NDArray[np.float32]:
    """Return the model's own logits (tokens x vocabulary) for the golden conversation."""
    import torch  # noqa: PLC0415 - an extra, and seconds to load
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - as above

    ids = _encode(folder, _golden())
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="auto").eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    found: NDArray[np.float32] = logits.to(torch.float32).numpy()
    return found


def compare(expected: NDArray[np.float32], found: NDArray[np.float32], kind: str) -> Parity:
    """Compare two sets of logits (tokens x vocabulary); a constant added to all of a token's makes no difference."""
    if expected.shape != found.shape:
        raise PersonaError(f"the file has logits of shape {found.shape}, the model of {expected.shape}")
    one = expected.astype(np.float64) - expected.mean(axis=1, keepdims=True)
    other = found.astype(np.float64) - found.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.square(one).mean()))
    error = float(np.sqrt(np.square(one - other).mean())) / max(spread, 1e-9)
    log_p, log_q = _log_softmax(one), _log_softmax(other)
    return Parity(
        kind=kind,
        tokens=len(expected),
        error=error,
        divergence=float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()),
        agreement=float((one.argmax(axis=1) == other.argmax(axis=1)).mean()),
    )


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _golden() -> str:
    return to_chatml(render(golden_scene()))


def _encode(folder: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

    return list(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids)[
        :_CONTEXT
    ]


def _tokens(folder: Path, file: Path) -> Sequence[int]:
    """Return the golden conversation's tokens, after making sure that both sides cut every text alike."""
    words = open_tokens(file)
    for text in (_golden(), *NASTY):
        if list(words.tokenize(text))[:_CONTEXT] != _encode(folder, text):
            raise PersonaError(
                f"{file} cuts {text[:40]!r} into other tokens than {folder}",
                cure="take a base model with a tokenizer like Qwen's or Llama 3's",
            )
    return _encode(folder, _golden())


def _llama_logits(file: Path, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Return llama.cpp's logits, with everything in 32 bits that is not in the file."""
    import llama_cpp  # noqa: PLC0415 - half a second to load

    model = llama_cpp.Llama(
        str(file),
        n_ctx=_CONTEXT,
        n_batch=_CONTEXT,
        logits_all=True,
        type_k=0,
        type_v=0,
        flash_attn=False,
        verbose=False,
    )
    try:
        model.eval(tokens)
        return np.array(model.scores[: len(tokens)], dtype=np.float32)
    finally:
        model.close()
