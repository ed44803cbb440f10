"""Times `python -m pipelines prepare` beside a straightforward recipe, on a real history and on made-up ones.

    python benchmarks/prepare.py [--import FILE_OR_FOLDER ...] [--made-up 100000,1000000] [--output FILE]

Each run is a process of its own: seconds from opening the database to the last file, and the peak of its memory.
What is imported counts as own exports: give only what people exported themselves or what is free to use.

- persona: consent, conversations, cleaning, secrets, balance, the live bot's renderer, lineage, report.
- plain: everything in memory, one message after the other (see prepare_plain.py for its faults). Its pairs are
  quadratic; a few are made, and the time for all of them is worked out from those.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from import_throughput import peak_rss_mb
from prepare_data import write_server
from rich.console import Console
from rich.table import Table

CONTENDERS = ("persona", "plain")


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import", nargs="+", type=Path, default=[], dest="exports", metavar="PATH")
    parser.add_argument("--made-up", default="100000,1000000", help="sizes of made-up servers, with commas")
    parser.add_argument("--tokenizer", type=Path, default=Path("persona/demo/demo.gguf"))
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/prepare.json"))
    parser.add_argument("--worker", nargs=3, metavar=("CONTENDER", "DATABASE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        contender, database, folder = arguments.worker
        print(json.dumps(work(contender, Path(database), Path(folder), arguments.tokenizer)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=Path.cwd()) as name:
        for title, database in databases(arguments, Path(name)):
            for contender in CONTENDERS:
                result = measure(contender, database, Path(name) / f"{contender}-{title}", arguments.tokenizer)
                rows.append({"history": title, "contender": contender, **result})
                print(json.dumps(rows[-1]), file=sys.stderr)
            database.unlink()
    report = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_at_the_end": os.getloadavg(),
        "rows": rows,
    }
    show(rows)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def databases(arguments: argparse.Namespace, folder: Path) -> Any:
    """Yield each history's name and database, made when it is needed."""
    if arguments.exports:
        import_history(arguments.exports, folder)
        yield "imported", folder / "data" / "persona.db"
    for size in [int(text) for text in arguments.made_up.split(",") if text]:
        database = folder / f"{size}.db"
        write_server(database, size)
        yield f"made up, {size:,}", database


def import_history(exports: Sequence[Path], folder: Path) -> None:
    """Import with the real command, into a database in the folder."""
    command = [sys.executable, "-m", "persona", "import", *(str(path.absolute()) for path in exports)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).absolute().parents[1])}
    options = ["--own", "given to the benchmark", "--json"]
    subprocess.run([*command, *options], cwd=folder, env=environment, check=True, stdout=sys.stderr)


def measure(contender: str, database: Path, folder: Path, tokenizer: Path) -> dict[str, Any]:
    """Run one contender in a process of its own."""
    command = [sys.executable, __file__, "--tokenizer", str(tokenizer), "--worker", contender]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).absolute().parents[1])}
    done = subprocess.run(
        [*command, str(database), str(folder)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def work(contender: str, database: Path, folder: Path, tokenizer: Path) -> dict[str, Any]:
    """Make the data set; return what it took."""
    result = with_persona(database, folder, tokenizer) if contender == "persona" else with_plain(database, folder)
    return {**result, "peak_rss_mb": peak_rss_mb()}


def with_persona(database: Path, folder: Path, tokenizer: Path) -> dict[str, Any]:
    """The project's own way, to the report and the manifest."""
    import time  # noqa: PLC0415 - each contender loads only its own

    from pipelines.dataset.plan import PreparePlan  # noqa: PLC0415
    from pipelines.dataset.preparing import Preparer  # noqa: PLC0415
    from pipelines.dataset.tokens import open_tokens  # noqa: PLC0415

    began = time.perf_counter()
    preparer = Preparer(database=database, folder=folder, plan=PreparePlan(), tokens=open_tokens(tokenizer))
    prepared = preparer.prepare()
    counts = prepared.manifest["counts"]
    return {
        "messages": counts["read"]["read"],
        "examples": sum(counts["splits"].values()),
        "liked": counts["preferences"].get("liked", 0),
        "seconds": time.perf_counter() - began,
        "steps": json.loads((folder / "timings.json").read_text()),
    }


def with_plain(database: Path, folder: Path) -> dict[str, Any]:
    """The straightforward way."""
    from prepare_plain import prepare  # noqa: PLC0415 - each contender loads only its own

    return prepare(database, folder)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="From a history to a data set, each run in a process of its own")
    for name in ("history", "recipe", "messages", "examples", "s", "messages/s", "peak MB", "pairs, s"):
        table.add_column(name, justify="left" if name in {"history", "recipe"} else "right")
    for row in rows:
        pairs = f"about {row['pair_seconds_for_all']:,.0f}" if "pair_seconds_for_all" in row else "included"
        table.add_row(
            row["history"],
            row["contender"],
            f"{row['messages']:,}",
            f"{row['examples']:,}",
            f"{row['seconds']:.1f}",
            f"{row['messages'] / row['seconds']:,.0f}",
            f"{row['peak_rss_mb']:.0f}",
            pairs,
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
