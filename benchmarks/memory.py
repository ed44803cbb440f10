"""The memory at four sizes beside its peers: insert, search, recall, memory; a rebuild; live streaming; a small year.

    python benchmarks/memory.py --data ../shared/data --model ./minilm --json memory.json

Every measurement runs in a process of its own, one after the other, on the same messages and questions. Vectors are
real ones of the model (a folder with model.onnx and tokenizer.json, mean pooling); sizes beyond the data are filled
with mixtures of neighbours. Peers that are not installed (faiss) are left out with a line that says so.
`--only` runs some parts: sizes, rebuild, stream, year (of a small server).
"""

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

SIZES = (10_000, 100_000, 365_000, 1_000_000)
PARTS = ("sizes", "rebuild", "stream", "year")
PEERS = ("numpy", "faiss", "plain")
NAMES = {"ours": "Persona", "numpy": "NumPy, exact", "faiss": "faiss HNSW16,SQ8", "plain": "LanceDB, plain calls"}


def run_job(job: str, options: argparse.Namespace) -> Any:
    """Measure one thing in this process."""
    import memory_peers  # noqa: PLC0415 - only a measuring process pays for numpy
    from memory_data import Corpus  # noqa: PLC0415

    corpus, rows, asked = Corpus(options.folder), options.rows, options.questions
    peers = {
        "numpy": memory_peers.numpy_exact,
        "faiss": memory_peers.faiss_hnsw,
        "plain": memory_peers.plain_lancedb,
    }
    if job in peers:
        return peers[job](corpus, rows, asked, options.folder)
    import memory_ours  # noqa: PLC0415
    import memory_rebuild  # noqa: PLC0415

    own = options.folder / (f"rebuild-{rows}" if job == "rebuild" else f"ours-{rows}")
    own.mkdir(exist_ok=True)
    work: Coroutine[Any, Any, Any]
    match job:
        case "fill":
            work = memory_ours.fill(corpus, rows, own)
        case "search":
            work = memory_ours.search(corpus, rows, asked, own)
        case "rebuild":
            work = memory_rebuild.rebuild(corpus, rows, options.rounds, own)
        case "stream":
            work = memory_ours.stream(corpus, rows, options.streamed, asked, own)
        case _:
            work = memory_ours.year(corpus, options.days, options.a_day, options.batch, own)
    return asyncio.run(work)


def in_own_process(job: str, rows: int, options: argparse.Namespace) -> Any:
    """Measure one thing in a process of its own and return its figures."""
    print(f"{job} at {rows:,} rows" if rows else job, file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--job", job, "--folder", str(options.folder), "--rows", str(rows)]
    for name in ("questions", "rounds", "streamed", "days", "a_day", "batch"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    quiet = {"LANCEDB_LOG": "error", **os.environ}  # or a warning for every small index that it makes
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return json.loads(done.stdout.splitlines()[-1])


def measure_sizes(options: argparse.Namespace, keep: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Measure everybody at every size; folders of the sizes in `keep` stay for what comes later."""
    results: dict[str, dict[str, Any]] = {}
    for rows in options.sizes:
        results[str(rows)] = result = {"numpy": in_own_process("numpy", rows, options)}
        result["ours"] = {"fill": in_own_process("fill", rows, options), **in_own_process("search", rows, options)}
        for peer in options.peers:
            if peer == "faiss" and importlib.util.find_spec("faiss") is None:
                print("faiss is not installed: left out (pip install faiss-cpu)", file=sys.stderr)
            elif peer != "numpy":
                result[peer] = in_own_process(peer, rows, options)
        shutil.rmtree(options.folder / f"plain-{rows}", ignore_errors=True)
        if rows not in keep:
            shutil.rmtree(options.folder / f"ours-{rows}")
        if options.json:
            options.json.write_text(json.dumps({"sizes": results}, indent=2), encoding="utf-8")
    return results


def show_sizes(results: dict[str, dict[str, Any]]) -> None:
    """Print one table a size."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    for rows, result in results.items():
        scopes = list(result["numpy"]["search_ms"])
        table = Table(title=f"{int(rows):,} rows: nearest ten, p50 / p95 ms (recall@10)")
        for heading in ("", "rows/s in", "index s", *scopes, "RSS MB (peak)"):
            table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
        for name, figures in _lines(result):
            table.add_row(name, *_figures(figures, scopes, int(rows)))
        Console(width=190).print(table)


def _lines(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    lines = []
    for name, figures in result.items():
        if name == "ours":
            own = {**figures["fill"], **figures}
            lines += [
                ("Persona, vectors alone", own),
                ("Persona, whole retrieve step", {**own, "search_ms": own["retrieve_ms"], "recall": {}}),
                ("Persona, words alone", {**own, "search_ms": own["words_ms"], "recall": {}}),
            ]
        else:
            lines.append((NAMES[name], figures))
        if "rebuilt_ms" in figures:
            rebuilt = {**figures, "search_ms": figures["rebuilt_ms"], "recall": figures["rebuilt_recall"]}
            lines.append((f"{NAMES[name]}, default index", rebuilt))
    return lines


def _figures(figures: dict[str, Any], scopes: Sequence[str], rows: int) -> list[str]:
    cells = [f"{rows / figures['insert_s']:,.0f}", f"{figures['index_s']:.1f}" if "index_s" in figures else ""]
    for scope in scopes:
        took = figures["search_ms"].get(scope)
        recall = figures["recall"].get(scope)
        cell = f"{took['p50']:.1f} / {took['p95']:.1f}" if took else ""
        cells.append(cell + (f" ({recall:.3f})" if took and recall is not None else ""))
    used = figures["memory_mb"]
    return [*cells, f"{used['rss']:.0f} ({used['peak']:.0f})"]


def show_rebuild(rows: int, result: dict[str, Any]) -> None:
    """Print how long a rebuild took, every round."""
    seconds, used = result["seconds"], result["memory_mb"]
    rounds = ", ".join(f"{took:.1f}" for took in seconds)
    print(f"rebuilt {rows:,} messages with known vectors in {statistics.median(seconds):.1f} s ({rounds})", end="; ")
    print(f"RSS {used['rss']:.0f} MB (peak {used['peak']:.0f})")


def show_stream(result: dict[str, Any]) -> None:
    """Print what streaming did to searches."""
    took = result["retrieve_ms"]
    print(f"streamed {result['messages']:,} messages in {result['seconds']:.0f} s")
    for name in ("fresh", "streaming", "compacting", "after"):
        if took[name]:
            times = took[name]["p95"] / took["fresh"]["p95"]
            print(f"  {name:<11} p50 {took[name]['p50']:5.1f}  p95 {took[name]['p95']:5.1f} ms  x{times:.2f} of fresh")
    print(f"  fragments {result['fragments']}, versions {result['versions']}, unindexed {result['unindexed']}")
    print(f"  files {result['disk'][0]}, {result['disk'][1]:.0f} MB, RSS {result['memory_mb']['rss']:.0f} MB")


def show_year(months: Sequence[dict[str, Any]]) -> None:
    """Print a line a month."""
    print("   day  messages  p50 ms  p95 ms  files  disk MB  fragments  versions  unindexed  parts  RSS MB")
    for one in months:
        print(
            f"{one['day']:6d} {one['messages']:9,d} {one['retrieve_ms']['p50']:7.1f} {one['retrieve_ms']['p95']:7.1f}"
            f" {one['files']:6d} {one['disk_mb']:8.0f} {one['fragments']:10d} {one['versions']:9d}"
            f" {one['unindexed']:10d} {one['vector_parts']:6d} {one['memory_mb']['rss']:7.0f}"
        )


def main() -> None:
    """Run what was asked for, print tables and write the figures."""
    options = _options()
    if options.job:
        print(json.dumps(run_job(options.job, options)))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        options.folder = Path(folder)
        from memory_data import prepare  # noqa: PLC0415 - numpy only once the options are right

        prepare(options.data, options.model, options.cache, options.folder, threads=options.threads)
        streaming = options.stream_rows
        if "sizes" in options.only:
            results["sizes"] = measure_sizes(options, keep=(streaming,))
            show_sizes(results["sizes"])
        if "rebuild" in options.only:
            results["rebuild"] = in_own_process("rebuild", streaming, options)
            show_rebuild(streaming, results["rebuild"])
            shutil.rmtree(options.folder / f"rebuild-{streaming}")
        if "stream" in options.only:
            if not (options.folder / f"ours-{streaming}").exists():
                in_own_process("fill", streaming, options)
            results["stream"] = in_own_process("stream", streaming, options)
            show_stream(results["stream"])
        if "year" in options.only:
            results["year"] = in_own_process("year", 0, options)
            show_year(results["year"])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("PERSONA_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--model", type=Path, help="folder with model.onnx and tokenizer.json (mean pooling)")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "persona-vectors")
    parser.add_argument("--work", type=Path, help="where temporary folders go (a few GB at a million rows)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--questions", type=int, default=250, help="at most 300")
    parser.add_argument("--stream-rows", type=int, default=365_000, help="messages to rebuild with, or to stream to")
    parser.add_argument("--rounds", type=int, default=3, help="of rebuilding")
    parser.add_argument("--streamed", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--a-day", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=32, help="messages a commit in the simulated year")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="to embed with")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        return options
    if not list(options.data.glob("jsonl/irc-commons.*.jsonl.gz")):
        parser.error(f"{options.data} has no jsonl/irc-commons.*.jsonl.gz; name the folder with --data")
    if options.model is None or not (options.model / "model.onnx").is_file():
        parser.error("name a folder with model.onnx and tokenizer.json with --model")
    return options


if __name__ == "__main__":
    main()
