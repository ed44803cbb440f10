"""Times `persona import` beside a plain importer that commits row by row, and beside the fastest a bare script can be.

    python benchmarks/import_throughput.py EXPORT.json[.gz] [--messages 10000] [--rounds 3] [--output FILE]

All read the first messages of the same DiscordChatExporter file, each in a process of its own, in turns. Seconds run
from the first byte read to the last commit. Without EXPORT a made-up one is used.

- persona: the real reader and store: streamed, checked, merged, queued for the memory, synchronous=FULL.
- rows: json.load, one INSERT and one commit for each message, SQLite's defaults.
- bare: json.load, one executemany, one commit: no checks, no merging, the whole file in memory.
"""

import argparse
import asyncio
import gzip
import json
import platform
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from persona.adapters.exports import find_exports
from persona.adapters.sqlite import SqliteStore
from persona.domain.chat import snowflake_at
from persona.importing import import_files

CONTENDERS = ("persona", "rows", "bare")
SCHEMA = """CREATE TABLE messages (id INTEGER PRIMARY KEY, channel_id INTEGER, author_id INTEGER, author_name TEXT,
    content TEXT, created_at TEXT, reply_to INTEGER)"""
INSERT = "INSERT OR IGNORE INTO messages VALUES (?,?,?,?,?,?,?)"


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", nargs="?", type=Path, help="a DiscordChatExporter file")
    parser.add_argument("--messages", type=int, default=10_000, help="how many of its messages to import")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/import.json"))
    parser.add_argument("--worker", nargs=3, metavar=("CONTENDER", "FILE", "DATABASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        contender, file, database = arguments.worker
        print(json.dumps(work(contender, Path(file), Path(database))))
        return 0
    with tempfile.TemporaryDirectory(prefix="import-", dir=Path.cwd()) as folder:
        file = cut(arguments.export, arguments.messages, Path(folder) / "export.json.gz")
        results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for round_ in range(arguments.rounds):
            for name in CONTENDERS:
                results[name].append(measure(name, file, Path(folder) / f"{name}-{round_}.db"))
    report = summarise(results)
    show(report)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def cut(export: Path | None, number: int, target: Path) -> Path:
    """Write the first messages of an export (or made-up ones) to a file of their own."""
    if export is None:
        document = made_up(number)
    else:
        data = export.read_bytes()
        document = json.loads(gzip.decompress(data) if export.suffix == ".gz" else data)
        document["messages"] = document["messages"][:number]
    with gzip.open(target, "wt", encoding="utf-8") as stream:
        json.dump(document, stream, ensure_ascii=False, indent=2)
    return target


def made_up(number: int) -> dict[str, object]:
    """Return an export of a busy channel."""
    rng = random.Random(1)
    words = ["so", "the", "build", "is", "red", "again", "who", "did", "that", "lol", "works", "here", "try", "it"]
    people: list[dict[str, object]] = [
        {"id": str(100 + n), "name": f"user{n}", "discriminator": "0000", "nickname": f"User {n}", "color": None,
         "isBot": False, "roles": [], "avatarUrl": "https://example.com/avatar.png"}
        for n in range(300)
    ]  # fmt: skip
    start = datetime(2024, 1, 1, tzinfo=UTC)
    messages: list[dict[str, object]] = []
    for n in range(number):
        at = start + timedelta(seconds=20 * n)
        messages.append(
            {"id": str(snowflake_at(at)), "type": "Default", "timestamp": at.isoformat(), "timestampEdited": None,
             "callEndedTimestamp": None, "isPinned": False, "content": " ".join(rng.choices(words, k=9)),
             "author": rng.choice(people), "attachments": [], "embeds": [], "stickers": [], "reactions": [],
             "mentions": [], "inlineEmojis": []}
        )  # fmt: skip
    channel = {"id": "7", "type": "GuildTextChat", "categoryId": "6", "category": "Text", "name": "busy", "topic": None}
    return {"guild": {"id": "5", "name": "Made up"}, "channel": channel, "messages": messages, "messageCount": number}


def measure(contender: str, file: Path, database: Path) -> dict[str, float]:
    """Run one contender in a process of its own."""
    command = [sys.executable, __file__, "--worker", contender, str(file), str(database)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def work(contender: str, file: Path, database: Path) -> dict[str, float]:
    """Import a file; return what it took."""
    started = time.perf_counter()
    match contender:
        case "persona":
            stored = asyncio.run(with_persona(file, database))
        case "rows":
            stored = with_row_commits(file, database)
        case _:
            stored = with_one_transaction(file, database)
    seconds = time.perf_counter() - started
    return {"messages": stored, "seconds": seconds, "peak_rss_mb": peak_rss_mb()}


def peak_rss_mb() -> float:
    """Return this program's own peak: Linux's getrusage would begin with that of the process it was started from."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


async def with_persona(file: Path, database: Path) -> int:
    """The project's own path, without the progress bar."""
    store = SqliteStore(database)
    await store.open()
    try:
        (report,) = await import_files(store, find_exports([file]).files, allow=True)
    finally:
        await store.close()
    return report.counts.added


def with_row_commits(file: Path, database: Path) -> int:
    """What a first script does."""
    connection = sqlite3.connect(database)
    connection.execute(SCHEMA)
    stored = 0
    for row in plain_rows(file):
        stored += connection.execute(INSERT, row).rowcount
        connection.commit()
    connection.close()
    return stored


def with_one_transaction(file: Path, database: Path) -> int:
    """The least work there can be."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(SCHEMA)
    stored = connection.executemany(INSERT, plain_rows(file)).rowcount
    connection.commit()
    connection.close()
    return stored


def plain_rows(file: Path) -> Iterator[tuple[object, ...]]:
    """Load everything and trust it."""
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        document = json.load(stream)
    channel = int(document["channel"]["id"])
    for message in document["messages"]:
        author, reference = message["author"], message.get("reference") or {}
        answered = reference.get("messageId")
        yield (
            int(message["id"]),
            channel,
            int(author["id"]),
            author["name"],
            message["content"],
            message["timestamp"],
            int(answered) if answered else None,
        )


def summarise(results: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Return medians, and the ratios of each round to the row-by-row importer of the same round."""
    rates = {name: [run["messages"] / run["seconds"] for run in runs] for name, runs in results.items()}
    ratios = {name: [a / b for a, b in zip(rates[name], rates["rows"], strict=True)] for name in rates}
    return {
        "messages": results["persona"][0]["messages"],
        "rounds": len(results["persona"]),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "contenders": {
            name: {
                "messages_per_second": statistics.median(rates[name]),
                "ratio_to_rows": statistics.median(ratios[name]),
                "ratio_lowest": min(ratios[name]),
                "ratio_highest": max(ratios[name]),
                "peak_rss_mb": max(run["peak_rss_mb"] for run in results[name]),
                "runs": results[name],
            }
            for name in results
        },
    }


def show(report: dict[str, object]) -> None:
    """Print the table."""
    table = Table(title=f"Importing {report['messages']:,} messages, {report['rounds']} rounds in turns")
    for name in ("importer", "messages/s", "x rows", "lowest..highest", "peak RSS, MB"):
        table.add_column(name, justify="left" if name == "importer" else "right")
    contenders = report["contenders"]
    assert isinstance(contenders, dict)  # noqa: S101 - tells the type checker
    for name, result in contenders.items():
        table.add_row(
            name,
            f"{result['messages_per_second']:,.0f}",
            f"{result['ratio_to_rows']:.1f}",
            f"{result['ratio_lowest']:.1f}..{result['ratio_highest']:.1f}",
            f"{result['peak_rss_mb']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
