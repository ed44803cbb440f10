"""Reading a server's history beside what Discord's limits allow: messages per second, share of the limit, refusals.

    python benchmarks/backfill.py --json backfill.json

`persona ingest` (the real program, with its real store) catches up with a fake Discord that runs in a process of its
own, answers 150 ms late and enforces 5 requests in 5 seconds for each channel and 50 a second over all. The limit is
the shortest time in which these rules let anybody read so many pages, one after the other in each channel. The clock
runs on the server's side, from the first page asked for to the last one answered. Three rounds: median and spread.
"""

import argparse
import asyncio
import heapq
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

PAGE = 100
BUCKET = (5, 5.0)
GLOBAL = 50
LATENCY = 0.15
PAGES = {1: 40, 20: 25, 120: 12}
"""Pages in each channel, by the number of channels: twenty to forty seconds each."""

HISTORY_ROUTE = "GET /channels/{}/messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one run came to."""

    channels: int
    messages: int
    stored: int
    seconds: float
    total_seconds: float
    limit_seconds: float
    requests: int
    refused: int

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.messages / self.seconds

    @property
    def share(self) -> float:
        """Of the rate that the limits allow, 0..1."""
        return self.limit_seconds / self.seconds


def limit_seconds(channels: int, pages: int) -> float:
    """Return the shortest time in seconds in which the limits let anybody read so many pages of each channel.

    Follows a reader that is told everything and needs no time itself: of the channels whose next page may be asked
    for, the one that has waited longest is next. Both kinds of window open with their first request.
    """
    requests, per = BUCKET
    waiting = [(0.0, channel) for channel in range(channels)]
    left = [pages] * channels
    bucket_ends, bucket_used = [0.0] * channels, [0] * channels
    second_ends, second_used, now = 0.0, 0, 0.0
    while waiting:
        ready, channel = heapq.heappop(waiting)
        now = max(now, ready)
        if second_used == GLOBAL:
            now = max(now, second_ends)
        if now >= second_ends:
            second_ends, second_used = now + 1.0, 0
        if now >= bucket_ends[channel]:
            bucket_ends[channel], bucket_used[channel] = now + per, 0
        second_used += 1
        bucket_used[channel] += 1
        left[channel] -= 1
        if left[channel]:
            full = bucket_used[channel] == requests
            heapq.heappush(waiting, (max(now + LATENCY, bucket_ends[channel] if full else 0.0), channel))
    return now + LATENCY


async def serve(channels: int, pages: int) -> None:
    """Be the fake Discord: say where, wait until stdin ends, then say what was asked for."""
    from tests.fakes.discord import FakeDiscord  # noqa: PLC0415 - only the server needs it
    from tests.fakes.discord.limits import Limits  # noqa: PLC0415

    limits = Limits(history=BUCKET, global_per_second=GLOBAL)
    async with FakeDiscord(seed=0, limits=limits) as fake:
        guild = fake.world.add_guild("the night kitchen")
        members = [fake.world.add_member(guild, f"member-{number}") for number in range(20)]
        made = [fake.world.add_channel(guild, f"channel-{number}") for number in range(channels)]
        for channel in made:
            fake.world.history(channel, pages * PAGE - 1, members)
        fake.faults.delay(LATENCY)
        where = {"api": fake.api_url, "gateway": fake.gateway_url, "token": fake.token}
        print(json.dumps({**where, "channels": [int(channel.id) for channel in made]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        asked = [request for request in fake.requests if request.route == HISTORY_ROUTE]
        answered = [request for request in asked if request.status == 200]
        print(
            json.dumps(
                {
                    "seconds": max(request.done for request in answered) - asked[0].at,
                    "requests": len(fake.requests),
                    "refused": sum(request.status == 429 for request in fake.requests),
                }
            ),
            flush=True,
        )


@contextmanager
def fake_discord(channels: int, pages: int) -> Iterator[Any]:
    """Run the fake Discord in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(channels), "--pages", str(pages)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def measure(channels: int, pages: int, folder: Path) -> Round:
    """Catch up once with a fresh server into a fresh store."""
    with fake_discord(channels, pages) as server:
        where = json.loads(server.stdout.readline())
        write_config(folder, where)
        began = time.perf_counter()
        status = ingest(folder, where["token"])
        total = time.perf_counter() - began
        server.stdin.close()
        seen = json.loads(server.stdout.readline())
    return Round(
        channels=channels,
        messages=channels * (pages * PAGE - 1),
        stored=status,
        seconds=seen["seconds"],
        total_seconds=total,
        limit_seconds=limit_seconds(channels, pages),
        requests=seen["requests"],
        refused=seen["refused"],
    )


def write_config(folder: Path, where: dict[str, Any]) -> None:
    """Point the program at the fake."""
    lines = [
        "[discord]",
        f"channels = {where['channels']}",
        f"api_url = {json.dumps(where['api'])}",
        f"gateway_url = {json.dumps(where['gateway'])}",
    ]
    (folder / "config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ingest(folder: Path, token: str) -> int:
    """Run `persona ingest` to its end; return how many messages are stored."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PERSONA_", "DISCORD_"))},
        "DISCORD_TOKEN": token,
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "persona", "ingest", "--json"]
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    with closing(sqlite3.connect(folder / "data" / "persona.db")) as database:
        (stored,) = database.execute("SELECT count(*) FROM messages").fetchone()
    return int(stored)


def show(results: Sequence[Sequence[Round]]) -> None:
    """Print a line for each number of channels."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    requests, per = BUCKET
    title = f"{requests} requests in {per:g} s a channel, {GLOBAL} a second over all, {LATENCY * 1e3:.0f} ms late"
    table = Table(title=title)
    for heading in ("channels", "messages", "limit", "messages/s (spread)", "share of the limit", "429s", "lost"):
        table.add_column(heading, justify="right")
    for rounds in results:
        first = rounds[0]
        rates, shares = sorted(r.rate for r in rounds), sorted(r.share for r in rounds)
        table.add_row(
            f"{first.channels}",
            f"{first.messages:,}",
            f"{first.messages / first.limit_seconds:,.0f} /s",
            f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f})",
            f"{statistics.median(shares):.1%} ({shares[0]:.1%} to {shares[-1]:.1%})",
            f"{max(r.refused for r in rounds)}",
            f"{sum(r.messages - r.stored for r in rounds)}",
        )
    Console().print(table)


def main() -> None:
    """Run every case, or be the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, nargs="+", default=sorted(PAGES), choices=sorted(PAGES))
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pages", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.pages))
        return
    results = []
    for channels in options.channels:
        rounds = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(measure(channels, PAGES[channels], Path(folder)))
        results.append(rounds)
    show(results)
    if options.json:
        figures = [[{**asdict(r), "rate": r.rate, "share": r.share} for r in rounds] for rounds in results]
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
