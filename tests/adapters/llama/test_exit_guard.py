import subprocess
import sys
import threading

from persona.adapters.llama.exit_guard import ExitGuard

COMPUTING_AT_EXIT = """
import sys, threading
from pathlib import Path
from persona.adapters.llama import LlamaSettings, llama_engine_factory
from persona.domain.prompt import Role, Turn
from persona.ports import ChatRequest, Sampling

computing = threading.Event()

def compute():
    engine = llama_engine_factory(LlamaSettings(path=Path(sys.argv[1]), threads=2))()
    turns = (Turn(role=Role.SYSTEM, lines=("x",)), Turn(role=Role.USER, lines=("hello you " * 90,)))
    while True:
        engine.submit(1, ChatRequest(turns=turns, sampling=Sampling(max_tokens=50)))
        while engine.busy:
            computing.set()
            engine.step()

threading.Thread(target=compute, daemon=True).start()
assert computing.wait(30)
"""


def test_the_process_can_end_while_a_model_computes(babbling_gguf):
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", COMPUTING_AT_EXIT, str(babbling_gguf)], capture_output=True, text=True, timeout=50,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_closing_waits_for_what_runs_and_lets_nothing_new_begin():
    guard = ExitGuard(wait_seconds=10)
    inside, leave, began = threading.Event(), threading.Event(), threading.Event()

    def running():
        with guard:
            inside.set()
            leave.wait(10)

    def late():
        with guard:
            began.set()

    threading.Thread(target=running, daemon=True).start()
    assert inside.wait(10)
    closing = threading.Thread(target=guard.close, daemon=True)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    leave.set()
    closing.join(10)
    assert not closing.is_alive()
    threading.Thread(target=late, daemon=True).start()
    assert not began.wait(0.05)


def test_closing_gives_up_on_what_hangs():
    guard = ExitGuard(wait_seconds=0.05)
    inside, leave = threading.Event(), threading.Event()

    def hanging():
        with guard:
            inside.set()
            leave.wait(10)

    threading.Thread(target=hanging, daemon=True).start()
    assert inside.wait(10)
    assert guard.close() is False
    leave.set()
