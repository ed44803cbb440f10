"""Full-text memory beside SQLite FTS5 on real chat: time to index, search latency, loop lag, memory and disk.

    python benchmarks/memory_search.py --data ../shared/data --json memory_search.json

Each engine runs in a process of its own, one after the other, on the same messages and the same queries (the words
that a search would look for). `all` searches every channel, `large` and `small` one channel of that kind.
"""

import argparse
import asyncio
import gc
import gzip
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from persona.domain.chat import Author, AuthorId, Channel, ChannelId, GuildId, Message, MessageId  # noqa: E402

ENGINES = ("lance", "fts5")
CANDIDATES = 100
SCOPES = ("all", "large", "small")


def load(data: Path, limit: int) -> list[Message]:
    """Read up to `limit` messages of the JSONL sets, sorted by id."""
    messages = []
    for path in sorted(data.glob("jsonl/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            messages += [_message(json.loads(line)) for line in lines]
    messages.sort(key=lambda m: m.id)
    return messages[:limit]


def _message(record: dict[str, Any]) -> Message:
    name = record["author_name"]
    return Message(
        id=MessageId(int(record["id"])),
        channel_id=ChannelId(int(record["channel_id"])),
        author=Author(id=AuthorId(int(record["author_id"])), name=name, display_name=name, is_bot=record["bot"]),
        content=record["content"],
        created_at=datetime.fromisoformat(record["timestamp"]),
    )


def queries(messages: list[Message], count: int) -> Iterator[tuple[str, dict[str, frozenset[ChannelId]]]]:
    """Yield texts to search for, each with the channels of every scope."""
    by_size = [channel for channel, _ in Counter(m.channel_id for m in messages).most_common()]
    scopes = {
        "all": frozenset(by_size),
        "large": frozenset(by_size[:1]),
        "small": frozenset(by_size[-1:]),
    }
    for message in random.Random(7).sample(messages, count):
        yield message.content, scopes


def memory_mb() -> tuple[float, float]:
    """Return resident and peak resident megabytes of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return tuple(int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def disk_mb(folder: Path) -> float:
    """Return the size of everything in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the maximum in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "p50": cuts[49] * 1e3,
        "p95": cuts[94] * 1e3,
        "p99": cuts[98] * 1e3,
        "max": max(seconds) * 1e3,
    }


async def sample_lag(lags: list[float]) -> None:
    """Write down how late the loop wakes us, every 5 ms, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.005
        await asyncio.sleep(0.005)
        lags.append(max(0.0, loop.time() - due))


async def measure_lance(messages: list[Message], folder: Path, count: int) -> dict[str, Any]:
    """Store the messages, project them into the memory, search it."""
    from persona.adapters.lance import LanceMemory  # noqa: PLC0415 - only this process pays for the import
    from persona.adapters.sqlite import SqliteStore  # noqa: PLC0415
    from persona.ports import MemoryQuery  # noqa: PLC0415
    from persona.projection import open_memory, project  # noqa: PLC0415

    store, memory = SqliteStore(folder / "store.db"), LanceMemory(folder / "memory")
    await store.open()
    channels = sorted({m.channel_id for m in messages})
    await store.put_channels([Channel(id=c, guild_id=GuildId(1), name=str(c), allowed=True) for c in channels])
    for start in range(0, len(messages), 1000):
        await store.put_messages(messages[start : start + 1000])
    await open_memory(store, memory)
    lags: list[float] = []
    sampler = asyncio.create_task(sample_lag(lags))
    began = time.perf_counter()
    await project(store, memory)
    index_seconds = time.perf_counter() - began
    sampler.cancel()
    search: dict[str, list[float]] = {scope: [] for scope in SCOPES}
    for text, scopes in queries(messages, count):
        for scope, visible in scopes.items():
            began = time.perf_counter()
            await memory.search(MemoryQuery(text=text, channel_ids=visible))
            search[scope].append(time.perf_counter() - began)
    resident, peak = memory_mb()
    began = time.perf_counter()
    await memory.open()
    reopen = time.perf_counter() - began
    await memory.close()
    await store.close()
    return {
        "index_seconds": index_seconds,
        "open_seconds": reopen,
        "loop_lag_ms": percentiles(lags),
        "search_ms": {scope: percentiles(took) for scope, took in search.items()},
        "rss_mb": resident,
        "peak_rss_mb": peak,
        "disk_mb": disk_mb(folder / "memory"),
    }


def measure_fts5(messages: list[Message], folder: Path, count: int) -> dict[str, Any]:
    """Index the messages with SQLite FTS5 (porter stemmer) and search that: any of the words, ranked by BM25."""
    from persona.adapters.lance.ranking import query_words  # noqa: PLC0415

    with closing(sqlite3.connect(folder / "fts.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE m (id INTEGER PRIMARY KEY, channel_id INTEGER, author_id INTEGER, text TEXT)")
        db.execute(
            "CREATE VIRTUAL TABLE f USING fts5 (text, content='m', content_rowid='id', "
            "tokenize='porter unicode61 remove_diacritics 2')"
        )
        began = time.perf_counter()
        for start in range(0, len(messages), 1000):
            part = messages[start : start + 1000]
            with db:
                db.executemany(
                    "INSERT INTO m VALUES (?,?,?,?)", [(m.id, m.channel_id, m.author.id, m.content) for m in part]
                )
                db.executemany("INSERT INTO f (rowid, text) VALUES (?,?)", [(m.id, m.content) for m in part])
        with db:
            db.execute("INSERT INTO f (f) VALUES ('optimize')")
        index_seconds = time.perf_counter() - began
        search: dict[str, list[float]] = {scope: [] for scope in SCOPES}
        for text, scopes in queries(messages, count):
            words = " OR ".join(f'"{word}"' for word in query_words(text.replace('"', " ")))
            for scope, visible in scopes.items():
                began = time.perf_counter()
                if words:
                    db.execute(_fts5_search(visible), (words,)).fetchall()
                search[scope].append(time.perf_counter() - began)
        resident, peak = memory_mb()
    return {
        "index_seconds": index_seconds,
        "search_ms": {scope: percentiles(took) for scope, took in search.items()},
        "rss_mb": resident,
        "peak_rss_mb": peak,
        "disk_mb": disk_mb(folder),
    }


def _fts5_search(visible: frozenset[ChannelId]) -> str:
    ids = ", ".join(map(str, sorted(visible)))
    return (
        "SELECT m.id, m.channel_id, m.author_id, m.text, f.rank FROM f JOIN m ON m.id = f.rowid "  # noqa: S608 - ids
        f"WHERE f MATCH ? AND m.channel_id IN ({ids}) ORDER BY f.rank LIMIT {CANDIDATES}"
    )


def run_engine(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one engine in this process."""
    messages = load(options.data, options.messages)
    gc.collect()
    gc.freeze()  # the loaded messages are the benchmark's own; walking them again and again is not the loop's fault
    base, _ = memory_mb()
    with tempfile.TemporaryDirectory() as folder:
        if engine == "lance":
            result = asyncio.run(measure_lance(messages, Path(folder), options.queries))
        else:
            result = measure_fts5(messages, Path(folder), options.queries)
    return {**result, "messages": len(messages), "rss_of_messages_mb": base}


def in_own_process(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one engine in a process of its own."""
    command = [sys.executable, __file__, "--engine", engine, "--data", str(options.data)]
    command += ["--messages", str(options.messages), "--queries", str(options.queries)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the table, and how many times FTS5's figure each of ours is."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    lance, fts5 = results["lance"], results["fts5"]
    table = Table(title=f"{lance['messages']:,} messages")
    for heading in ("", "LanceMemory", "SQLite FTS5", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")

    def line(label: str, read: Callable[[dict[str, Any]], float], unit: str) -> None:
        ours, theirs = read(lance), read(fts5)
        table.add_row(label, f"{ours:.1f} {unit}", f"{theirs:.1f} {unit}", f"{ours / theirs:.2f}")

    line("index all (ours: store, outbox, memory)", lambda r: r["index_seconds"], "s")
    for scope in SCOPES:
        for part in ("p50", "p95"):
            line(f"search {scope}, {part}", lambda r, s=scope, p=part: r["search_ms"][s][p], "ms")
    line("memory, beyond the messages", lambda r: r["rss_mb"] - r["rss_of_messages_mb"], "MB")
    line("peak memory, beyond the messages", lambda r: r["peak_rss_mb"] - r["rss_of_messages_mb"], "MB")
    line("disk", lambda r: r["disk_mb"], "MB")
    lag = lance["loop_lag_ms"]
    table.add_row("loop lag while indexing, p99 / max", f"{lag['p99']:.1f} / {lag['max']:.1f} ms", "(blocks)", "")
    table.add_row("open, with its check", f"{lance['open_seconds'] * 1e3:.0f} ms", "", "")
    Console().print(table)


def main() -> None:
    """Run everything, or the one engine asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--messages", type=int, default=1_000_000, help="use at most this many")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not list(options.data.glob("jsonl/*.jsonl.gz")):
        parser.error(f"{options.data} has no jsonl/*.jsonl.gz; name the folder with --data")
    if options.engine:
        print(json.dumps(run_engine(options.engine, options)))
        return
    results = {engine: in_own_process(engine, options) for engine in ENGINES}
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
