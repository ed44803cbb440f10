"""The whole program with a model that hangs for good on the word "boom": hanging_program.py CONFIG."""

import sys
import time
from pathlib import Path

from persona.__main__ import report
from persona.app import run_terminal
from persona.config import load_settings
from persona.options import TerminalOptions
from tests.fakes.crashing_engine import CrashingEngine


class HangingEngine(CrashingEngine):
    def step(self):
        if self.doomed:
            time.sleep(3600)
        return self.inner.step()


def main():
    settings = load_settings(Path(sys.argv[1]))
    return run_terminal(
        settings,
        TerminalOptions(as_json=True),
        wrap=lambda engine: lambda: HangingEngine(engine(), "boom", [0]),
    )


if __name__ == "__main__":
    sys.exit(report(main, debug=False))
