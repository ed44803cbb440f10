"""The built-in demo: a toy persona and its made-up past, so that everything runs without a download."""

from pathlib import Path

PERSONA_NAME = "Pip"
SERVER_NAME = "the night kitchen"
CONTEXT_TOKENS = 512
"""The longest conversations it was trained on: beyond them it rambles."""

MODEL_SHA256 = "7dff93ac0c970e2b9e5a6f18e43da28f46d3a9ed101cdbe6b3420146a7d103b8"
"""Of the model file that is shipped: it changes only together with the scores in README.md."""


def demo_model_path() -> Path:
    """Return the toy language model (GGUF, a few megabytes)."""
    return Path(__file__).with_name("demo.gguf")


def demo_history_path() -> Path:
    """Return the made-up history of its server (JSONL)."""
    return Path(__file__).with_name("history.jsonl")
