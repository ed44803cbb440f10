"""How long the program takes to show its help, and from its start to the first reply; beside a bare interpreter."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable

BARE_MODEL = """
from llama_cpp import Llama
from persona.demo import demo_model_path
model = Llama(str(demo_model_path()), n_ctx=1024, n_threads=1, verbose=False)
turns = [{"role": "user", "content": "you: hi"}]
print(model.create_chat_completion(turns, max_tokens=40)["choices"][0]["message"]["content"])
"""

COMMANDS = {
    "bare interpreter": ([PYTHON, "-c", "pass"], ""),
    "persona --help": ([PYTHON, "-m", "persona", "--help"], ""),
    "first reply": ([PYTHON, "-m", "persona", "--json"], "hi\n"),
    "first reply, no memory": ([PYTHON, "-m", "persona", "--json"], "hi\n"),
    "bare llama_cpp reply": ([PYTHON, "-c", BARE_MODEL], ""),
}
BASES = {"persona --help": "bare interpreter"}


def first_line_seconds(name: str, folder: Path) -> float:
    """Return the seconds from the start of a command to its first line of output (to its end if it prints none)."""
    command, typed = COMMANDS[name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    if name.endswith("no memory"):
        environment["PERSONA_MEMORY_ENABLED"] = "false"
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(typed.encode())
        process.stdin.close()
        process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{name} failed with exit code {process.returncode}")
    return seconds


def measure(rounds: int) -> dict[str, list[float]]:
    """Run every command once a round, in turn; the first round only warms the caches up."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name in COMMANDS:
                seconds = first_line_seconds(name, Path(folder))
                if number:
                    times[name].append(seconds)
    return times


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/startup.json"))
    arguments = parser.parse_args()
    times = measure(arguments.rounds)
    table = Table("command", "median s", "min..max s", "x of")
    rows = []
    for name, values in times.items():
        base = BASES.get(name, "bare llama_cpp reply" if "first reply" in name else name)
        ratios = sorted(value / other for value, other in zip(values, times[base], strict=True))
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f}) {base}"
        table.add_row(name, f"{statistics.median(values):.3f}", f"{min(values):.3f}..{max(values):.3f}", ratio)
        rows.append({"command": name, "seconds": values, "base": base, "ratios": ratios})
    Console().print(table)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
