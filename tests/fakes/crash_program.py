"""The whole program with a model thread that dies N times on the word "boom": crash_program.py CONFIG CRASHES."""

import sys
from pathlib import Path

from persona.__main__ import report
from persona.app import run_terminal
from persona.config import load_settings
from persona.options import TerminalOptions
from tests.fakes.crashing_engine import CrashingEngine


def main():
    settings = load_settings(Path(sys.argv[1]))
    budget = [int(sys.argv[2])]

    def wrap(engine):
        return lambda: CrashingEngine(engine(), "boom", budget)

    return run_terminal(settings, TerminalOptions(as_json=True), wrap=wrap)


if __name__ == "__main__":
    sys.exit(report(main, debug=False))
