"""Which ranking brings back what belongs to the talk at hand, measured on annotated reply links.

    python benchmarks/retrieval_quality.py --data ../shared/data --model ./minilm --json retrieval_quality.json

At a message with an annotated thread a way to rank names five older messages, none of the last 20 (30, 100, 300), which
the prompt holds anyway. It hits when one of them is of the same thread. The memory holds the channel's whole past.
Intervals: bootstrap over threads (they say little where there are few). `--tune` runs the grid that the constants come
from, on the other half of the bursts.
Without `--model` (a folder with model.onnx and tokenizer.json, mean pooling) there are no rows of vectors.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from memory_vectors import Vectors, cached, embed  # noqa: E402
from retrieval_data import SETS, Case, Talk, cases, halves, load  # noqa: E402
from retrieval_rankers import Words, interval, ratio_interval, windows  # noqa: E402
from retrieval_ways import Decay, Found, Way, ranked  # noqa: E402

from persona.adapters.lance.ranking import word_count  # noqa: E402
from persona.domain.recall import (  # noqa: E402
    AGE_FLOOR,
    AGE_POWER,
    AGE_SCALE_HOURS,
    RANK_CONSTANT,
    RECENCY_WEIGHT,
    RECENT_MESSAGES,
    VARIETY,
    mixed_query,
    mixed_vector,
)

LIMIT = 5
DISTANCES = (20, 30, 100, 300)
WINDOW = 5
SEED = 20
Hits = dict[str, dict[int, list[bool]]]

OLD = Decay(half_life_days=14.0, floor=0.5)
CHOSEN = Way(
    name="chosen",
    query="3v",
    words=1,
    vectors=1,
    recency=RECENCY_WEIGHT,
    recent=RECENT_MESSAGES,
    constant=RANK_CONSTANT,
    decay=Decay(scale_hours=AGE_SCALE_HOURS, power=AGE_POWER, floor=AGE_FLOOR),
    variety=VARIETY,
)
PLAIN = "vectors"


def compared() -> list[Way]:
    """Return the ways of the table, the baselines first."""
    decay = CHOSEN.decay
    return [
        Way(name="recency"),
        Way(name="BM25", words=1),
        Way(name="BM25, query of 3", words=1, query="3"),
        Way(name="BM25 x decay", words=1, score="words", decay=decay, pool=1000),
        Way(name=PLAIN, vectors=1),
        Way(name="vectors, query of 3 texts", vectors=1, query="3"),
        Way(name="vectors, query of 3 vectors", vectors=1, query="3v"),
        Way(name="vectors x decay, pool 30", vectors=1, score="similarity", decay=decay),
        Way(name="vectors x decay, whole past", vectors=1, score="similarity", decay=decay, pool=10**9),
        Way(name="hybrid (RRF)", words=1, vectors=1),
        Way(name="hybrid, query of 3 texts", words=1, vectors=1, query="3"),
        Way(name="hybrid x 14-day half-life", words=1, vectors=1, decay=OLD),
        Way(name="hybrid x decay", words=1, vectors=1, decay=decay),
        Way(name="hybrid + recency", words=1, vectors=1, recency=1),
        Way(name="hybrid + recency x decay", words=1, vectors=1, recency=1, decay=decay),
        replace(CHOSEN, name="chosen, query of 1", query="1"),
        replace(CHOSEN, name="chosen, words alone", vectors=0),
        replace(CHOSEN, name="chosen, the newest not searched again", recent=0),
        replace(CHOSEN, name="chosen, repeats left in", variety=None),
        CHOSEN,
    ]


def grid() -> list[Way]:
    """Return what `--tune` compares."""
    ways = [way for way in compared() if not way.name.startswith("chosen")]
    for query, recency, recent, decay, constant in product(
        ("1", "3v"),
        (0.0, 1.0),
        (0, 200, 1000),
        (None, Decay(power=0.25), Decay(power=0.5), Decay(power=1.0), Decay(scale_hours=24, power=0.5)),
        (10, 20, 60),
    ):
        named = f"q{query} rec{recency:g} win{recent} k{constant} {_short(decay)}"
        way = Way(name=named, query=query, words=1, vectors=1, recency=recency, recent=recent, decay=decay)
        ways.append(replace(way, constant=constant))
    for recent, decay in product((200, 1000), (Decay(power=0.25), Decay(power=0.5), Decay(scale_hours=24, power=0.5))):
        named = f"similarity q3v win{recent} {_short(decay)}"
        ways.append(Way(name=named, query="3v", vectors=1, score="similarity", recent=recent, decay=decay))
    return ways


def _short(decay: Decay | None) -> str:
    return "-" if decay is None else f"{decay.scale_hours:g}h^{decay.power:g}"


class Questions:
    """Answers every way's question at a message; searches are done once for all ways and distances."""

    def __init__(self, talk: Talk, vectors: Vectors | None) -> None:
        self._talk = talk
        self._vectors = vectors
        self._words = Words(talk.texts)
        self._eligible = np.array([word_count(text) > 1 for text in talk.texts])

    def run(self, at: Mapping[int, Sequence[Case]], ways: Sequence[Way], mixed: Mapping[int, Any]) -> Hits:
        """Return whether each way hit, for the cases of each distance (in their order)."""
        hits: Hits = {way.name: {distance: [] for distance in at} for way in ways}
        by_position: dict[int, list[tuple[int, Case]]] = {}
        for distance, some in at.items():
            for case in some:
                by_position.setdefault(case.position, []).append((distance, case))
        said = time.perf_counter()
        for done, position in enumerate(sorted(by_position)):
            if time.perf_counter() - said > 20:
                said = time.perf_counter()
                print(f"{self._talk.name}: {done:,} of {len(by_position):,} questions", file=sys.stderr)
            found = {query: self._search(position, query, mixed) for query in {way.query for way in ways}}
            for distance, case in by_position[position]:
                for way in ways:
                    top = ranked(way, _until(found[way.query], case.end), LIMIT)
                    hits[way.name][distance].append(not case.relevant.isdisjoint(top))
        return hits

    def _search(self, position: int, query: str, mixed: Mapping[int, Any]) -> Found:
        talk = self._talk
        last = talk.texts[max(0, position - 2) : position + 1]
        text = talk.texts[position] if query == "1" else mixed_query(last)
        similar = None
        if self._vectors is not None:
            if query == "1":
                vector = self._vectors[position]
            elif query == "3":
                vector = mixed[position]
            else:
                vector = mixed_vector(list(self._vectors[position + 1 - len(last) : position + 1]))
            similar = (self._vectors[:position] @ vector).astype(np.float64)
        ages = (talk.created_at_ms[position] - talk.created_at_ms[:position]).astype(np.float64)
        return Found(
            by_words=self._words.scores(text, position),
            by_vectors=similar,
            ages_ms=ages,
            texts=talk.texts,
            eligible=self._eligible[:position],
        )


def _until(found: Found, end: int) -> Found:
    return Found(
        by_words=found.by_words[:end],
        by_vectors=None if found.by_vectors is None else found.by_vectors[:end],
        ages_ms=found.ages_ms[:end],
        texts=found.texts,
        eligible=found.eligible[:end],
    )


def in_windows(talk: Talk, made: Vectors, vectors: Vectors, at: Mapping[int, Sequence[Case]]) -> Hits:
    """Return hits of five-message windows, found by vectors: the best one (as many messages), and the best five."""
    starts = np.array([start for start, _ in windows(talk.texts, WINDOW)])
    one, five = f"windows of {WINDOW}, the best one", f"windows of {WINDOW}, the best {LIMIT}"
    hits: Hits = {one: {distance: [] for distance in at}, five: {distance: [] for distance in at}}
    for distance, some in at.items():
        for case in some:
            count = int(np.searchsorted(starts + WINDOW, case.end, side="right"))
            top = starts[np.argsort(-(made[:count] @ vectors[case.position]))[:LIMIT]]
            held = [not case.relevant.isdisjoint(range(start, start + WINDOW)) for start in top.tolist()]
            hits[one][distance].append(any(held[:1]))
            hits[five][distance].append(any(held))
    return hits


def measure(name: str, options: argparse.Namespace, ways: Sequence[Way]) -> tuple[dict[int, list[Case]], Hits]:
    """Ask every question of one set."""
    talk = load(options.data, name)
    everything = dict.fromkeys(talk.burst, True)
    choosing, reporting = halves(talk, SEED) if name == "ubuntu" else (everything, everything)
    part = choosing if options.tune else reporting
    at = {d: cases(talk, d, limit=options.questions, part=part, seed=SEED + d) for d in DISTANCES}
    vectors = None
    mixed: dict[int, Any] = {}
    if options.model:
        vectors = cached(talk.texts, options.model, options.cache, threads=options.threads, report=_report)
        if any(way.query == "3" for way in ways):
            positions = sorted({case.position for some in at.values() for case in some})
            texts = [mixed_query(talk.texts[max(0, p - 2) : p + 1]) or " " for p in positions]
            embedded = embed(texts, options.model, threads=options.threads, report=_report)
            mixed = dict(zip(positions, embedded, strict=True))
    else:
        ways = [way for way in ways if not way.vectors]
    hits = Questions(talk, vectors).run(at, ways, mixed)
    if vectors is not None and options.windows and not options.tune:
        joined = [text for _, text in windows(talk.texts, WINDOW)]
        made = cached(joined, options.model, options.cache, threads=options.threads, report=_report)
        hits |= in_windows(talk, made, vectors, at)
    return at, hits


def _report(line: str) -> None:
    print(line, file=sys.stderr)


def summary(at: Mapping[int, Sequence[Case]], hits: Hits) -> dict[str, dict[str, Any]]:
    """Return the share of hits of each way by distance, with its interval and its ratio to plain vectors."""
    result: dict[str, dict[str, Any]] = {}
    for name, by_distance in hits.items():
        result[name] = {}
        for distance, mine in by_distance.items():
            if not mine:
                continue
            threads = [case.thread for case in at[distance]]
            figures: dict[str, Any] = {
                "questions": len(mine),
                "threads": len(set(threads)),
                "hit": interval(mine, threads),
            }
            if any(hits.get(PLAIN, {}).get(distance, ())):
                figures["times_vectors"] = ratio_interval(mine, hits[PLAIN][distance], threads)
            result[name][str(distance)] = figures
    return result


def show(name: str, result: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table of one set."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    first = next(iter(result.values()))
    table = Table(title=f"{name}: hit@{LIMIT} [95 %], x times plain vectors; n questions in so many threads")
    table.add_column("older than the last ...", no_wrap=True)
    for distance, figures in first.items():
        table.add_column(
            f"{distance} (n={figures['questions']:,} in {figures['threads']:,})", justify="right", no_wrap=True
        )
    for way, by_distance in result.items():
        table.add_row(way, *(_cell(by_distance[distance]) for distance in first))
    Console(width=160).print(table)


def _cell(figures: Mapping[str, Any]) -> str:
    share, low, high = figures["hit"]
    times = figures.get("times_vectors")
    return f"{share:.2f} [{low:.2f} {high:.2f}]" + (f" x{times[0]:.2f}" if times else "")


def main() -> None:
    """Measure the sets asked for, print tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_data_folder())
    parser.add_argument("--model", type=Path, help="folder with model.onnx and tokenizer.json (mean pooling)")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "persona-vectors")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--questions", type=int, default=1_000, help="at most this many a set and distance")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="to embed with")
    parser.add_argument("--tune", action="store_true", help="compare the grid, on the other half of the bursts")
    parser.add_argument("--no-windows", dest="windows", action="store_false", help="embed no windows")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if not list(options.data.glob("jsonl/*.provenance.tsv.gz")):
        parser.error(f"{options.data} has no jsonl/*.provenance.tsv.gz; name the folder with --data")
    if options.model and not (options.model / "model.onnx").is_file():
        parser.error(f"{options.model} has no model.onnx; name a folder with model.onnx and tokenizer.json")
    results = {}
    for name in options.sets:
        at, hits = measure(name, options, _unique(grid() if options.tune else compared()))
        results[name] = summary(at, hits)
        show(name, results[name])
    if options.json:
        options.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def _data_folder() -> Path:
    return Path(os.environ.get("PERSONA_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")


def _unique(ways: Iterable[Way]) -> list[Way]:
    return list({way.name: way for way in ways}.values())


if __name__ == "__main__":
    main()
