import subprocess
import sys

import pytest
import structlog

from persona.adapters.llama import LlamaSettings, default_threads
from persona.errors import ModelFileError


def python(code):
    """Run code in an interpreter of its own and return what it printed."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50).stdout


def test_naming_a_model_does_not_load_the_native_library():
    code = "import persona.adapters.llama, sys; print(any(m.startswith('llama_cpp') for m in sys.modules))"
    assert python(code) == "False\n"


def test_the_library_is_loaded_with_waiting_threads_and_without_a_debugger():
    show = "print(os.environ['OMP_WAIT_POLICY'], os.environ['GGML_NO_BACKTRACE'])"
    code = f"import persona.adapters.llama.native, os; {show}"
    assert python(code) == "passive 1\n"


def test_the_log_receiver_outlives_everything_that_knows_it(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    code = f"""
import gc
from persona.adapters.llama import native
native.native_log()
native.native_log.cache_clear()
gc.collect()
params = native.api.llama_model_default_params()
print("alive", bool(native.api.llama_model_load_from_file({str(tmp_path / "bad.gguf")!r}.encode(), params)))
"""
    assert python(code).endswith("alive False\n")


def test_what_llama_cpp_complains_of_reaches_the_log_and_the_error(tmp_path):
    from persona.adapters.llama.native import load_model

    path = tmp_path / "bad.gguf"
    path.write_bytes(b"no model at all")
    with structlog.testing.capture_logs() as entries, pytest.raises(ModelFileError, match="invalid magic") as caught:
        load_model(LlamaSettings(path=path))
    assert str(path) in str(caught.value)
    assert {entry["level_there"] for entry in entries if entry["event"] == "llama_cpp"} == {"error"}


@pytest.mark.parametrize(("build", "used"), [(b"AVX2 = 1 | AMX_INT8 = 1 | ", False), (b"AVX2 = 1 | ", True)])
def test_a_build_with_the_crashing_amx_code_does_not_use_it(tmp_path, monkeypatch, build, used):
    from persona.adapters.llama import native

    given = []
    monkeypatch.setattr(native.api, "llama_print_system_info", lambda: build)
    monkeypatch.setattr(
        native.api, "llama_model_load_from_file", lambda _, params: given.append(params.use_extra_bufts)
    )
    with pytest.raises(ModelFileError):
        native.load_model(LlamaSettings(path=tmp_path / "any.gguf"))
    assert given == [used]


def test_one_core_stays_free_and_small_models_take_fewer(monkeypatch):
    import os

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert default_threads(3_000_000_000) == 3
    assert default_threads(60_000_000) == 2
    assert default_threads(3_000_000) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert default_threads(3_000_000_000) == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads(3_000_000_000) == 1
