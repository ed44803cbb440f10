"""The built-in demo: a toy persona and its made-up past, so that everything runs without a download."""

from pathlib import Path

PERSONA_NAME = "Pip"
SERVER_NAME = "the night kitchen"


def demo_model_path() -> Path:
    """Return the toy language model (GGUF, a few megabytes)."""
    return Path(__file__).with_name("demo.gguf")


def demo_history_path() -> Path:
    """Return the made-up history of its server (JSONL)."""
    return Path(__file__).with_name("history.jsonl")
