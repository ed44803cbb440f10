"""Holds every measure of the evaluation against data with a known answer, and prints measure x failure.

    python benchmarks/evaluation.py RUN ELSEWHERE [--contexts 200] [--json FILE]

RUN and ELSEWHERE are run folders of `pipelines prepare` from two different servers. People's own further replies must
pass everything; every other row is a way not to sound like them, and must be noticed by the measures marked so.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich import box
from rich.console import Console
from rich.table import Table

from persona.config import load_settings
from persona.ports import Sampling
from pipelines.evaluation.asking import Request
from pipelines.evaluation.failures import Failure, columns, validate
from pipelines.evaluation.heldout import read_split
from pipelines.evaluation.judging import Judge
from pipelines.evaluation.running import open_vectors


def main() -> int:
    """Measure, print, and return 1 when something was missed or people were found wanting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("elsewhere", type=Path, metavar="ELSEWHERE")
    parser.add_argument("--contexts", type=int, default=200)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--config", type=Path, help="settings, for the embedding model")
    parser.add_argument("--letters", action="store_true", help="vectors of letters")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    request = Request(
        run=arguments.run_folder,
        split="test",
        folder=arguments.run_folder / "evaluation",
        models=(),
        contexts=arguments.contexts,
        rounds=1,
        ranked=0,
        seed=arguments.seed,
        draws=arguments.draws,
        sampling=Sampling(),
        parts=3,
    )
    began = time.monotonic()
    vectors = open_vectors(load_settings(arguments.config), letters=arguments.letters, noted=print)
    judge = Judge(request, vectors)
    found = validate(judge, read_split(arguments.elsewhere, "train", brief=True), seed=arguments.seed)
    vectors.close()
    show(found)
    print(f"{len(judge.human)} contexts, {len(found)} rows, {time.monotonic() - began:.0f} s; vectors: {vectors.name}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
    return int(any(each.missed for each in found) or bool(found[0].worse))


def show(found: list[Failure]) -> None:
    """Print a row for each failure: `worse` in a measure, `(worse)` where nobody asked for it, `MISSED`."""
    table = Table("measure", *(each.name for each in found), box=box.SIMPLE)
    for measure in columns(found):
        table.add_row(measure.name, *(_cell(each, measure.key) for each in found))
    Console(width=max(200, Console().width)).print(table)


def _cell(failure: Failure, key: str) -> str:
    if key in failure.missed:
        return "MISSED"
    if key not in failure.worse:
        return ""
    return "worse" if key in failure.expected else "(worse)"


if __name__ == "__main__":
    sys.exit(main())
