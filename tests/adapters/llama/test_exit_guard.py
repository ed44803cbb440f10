import subprocess
import sys
import threading

from persona.adapters.llama.exit_guard import ExitGuard

COMPUTING_AT_EXIT = """
import os, sys, threading, time
from pathlib import Path
from persona.adapters.llama import LlamaSettings, llama_engine_factory
from persona.adapters.llama.native import api
from persona.domain.prompt import Role, Turn
from persona.ports import ChatRequest

computing = threading.Event()
real = api.llama_decode

def slowly(*arguments):
    computing.set()
    time.sleep(0.3)
    code = real(*arguments)
    os.write(1, b"[a step was finished]")
    return code

def compute():
    engine = llama_engine_factory(LlamaSettings(path=Path(sys.argv[1]), threads=1))()
    api.llama_decode = slowly
    turns = (Turn(role=Role.SYSTEM, lines=("x",)), Turn(role=Role.USER, lines=("hello",)))
    engine.submit(1, ChatRequest(turns=turns))
    while engine.busy:
        engine.step()

threading.Thread(target=compute, daemon=True).start()
assert computing.wait(30)
"""


def test_the_process_ends_after_the_step_that_runs_and_before_the_next(babbling_gguf):
    command = [sys.executable, "-c", COMPUTING_AT_EXIT, str(babbling_gguf)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("[a step was finished]") == 1


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
