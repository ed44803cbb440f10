"""Fixtures that several test folders share."""

import pytest
import structlog
from hypothesis import settings

# How long an example takes says more about the machine than about the code; a test has its own limit.
settings.register_profile("persona", deadline=None)
settings.load_profile("persona")


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A command that was run within the test process has set up its log, and drops what comes after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def babbling_gguf(tmp_path_factory):
    """A real model of half a megabyte that says random things, depending on everything it has read."""
    from tests.fakes.tiny_gguf import write_tiny_gguf

    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "babbling.gguf")


@pytest.fixture(scope="session")
def scripted_gguf(tmp_path_factory):
    """A real model that always says `hello stop 🌱!` in eight tokens, the plant's bytes in three of them."""
    from tests.fakes.tiny_gguf import TinyModel, write_tiny_gguf

    script = ["hel", "lo ", "st", "op ", b"\xf0\x9f", b"\x8c", b"\xb1", "!"]
    return write_tiny_gguf(tmp_path_factory.mktemp("models") / "scripted.gguf", TinyModel(script=script))
