"""A persona that lives on a fake Discord: the real program as a process of its own, or its tree on the test's loop."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 45.0
REPLY_SECONDS = 30.0

QUICK = {
    "speaking": {"rate": 0, "cooldown_seconds": 0},
    "reply": {"typing_characters_per_second": 1000, "max_burst": 3},
    "sampling": {"temperature": 0},
    "model": {"threads": 1},
    "heartbeat": {"interval_seconds": 1},
    "supervision": {"backoff_seconds": 0.1, "drain_seconds": 5},
    "discord": {"heartbeat_seconds": 2, "session_pause_seconds": 0, "longest_wait_seconds": 0.5},
}
"""Settings that keep a test short: they change how long things take, never what happens."""


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Write tables as TOML; JSON's spelling of plain values is TOML's, too."""
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value, default=str)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def merged(*layers: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Lay tables of settings over each other, the last one on top."""
    result: dict[str, dict[str, object]] = {}
    for layer in layers:
        for name, table in layer.items():
            result.setdefault(name, {}).update(table)
    return result


async def eventually(check: Callable[[], Any], *, seconds: float, what: str, every: float = 0.02) -> Any:
    """Wait until `check()` is truthy and return it; fail with `what` after so many seconds."""
    ends = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < ends, f"after {seconds:g} s still not: {what}"
        await asyncio.sleep(every)
    return result


class LiveFolder:
    """A folder in which a persona lives: its configuration, its database and what it logged."""

    def __init__(
        self,
        folder: Path,
        fake: Any,
        *,
        channels: Sequence[Any] = (),
        settings: Mapping[str, Mapping[str, object]] | None = None,
        api_url: str | None = None,
        gateway_url: str | None = None,
    ) -> None:
        self.folder = folder
        self.fake = fake
        self.discord = {
            "channels": [id_of(channel) for channel in channels],
            "api_url": api_url or fake.api_url,
            "gateway_url": gateway_url or fake.gateway_url,
        }
        self.settings = merged(QUICK, {"discord": self.discord}, settings or {})
        self._log: list[dict[str, Any]] = []
        self._log_read = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.configure()

    @property
    def database(self) -> Path:
        """Where the store is."""
        return self.folder / "data" / "persona.db"

    def configure(self, **tables: Mapping[str, object]) -> None:
        """Write config.toml, with these tables on top of what it said before."""
        self.settings = merged(self.settings, tables)
        (self.folder / "config.toml").write_text(toml(self.settings), encoding="utf-8")

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database something, also while the program runs."""
        if not self.database.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql, parameters).fetchall()

    def stored(self) -> dict[int, str]:
        """Return the text of every stored message by id."""
        return dict(self.rows("SELECT id, content FROM messages"))

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return what was logged, oldest first: everything, or the events of one name."""
        self._read_log()
        return [event for event in self._log if name in {None, event.get("event")}]

    def _read_log(self) -> None:
        """Read on where the last look ended: a line may be half written, or cut off by a kill."""
        file = self.folder / "data" / "logs" / "persona.jsonl"
        if not file.exists():
            return
        with file.open("rb") as stream:
            stream.seek(self._log_read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._log_read += len(line)
                with contextlib.suppress(ValueError):
                    self._log.append(json.loads(line))

    def places_of_token(self, token: str | None = None) -> list[str]:
        """Return every file and request that shows the token, or its last part alone, which is the secret."""
        token = self.fake.token if token is None else token
        secrets = {token.encode(), token.rpartition(".")[2].encode()}
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        found = [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]
        for request in self.fake.requests:
            asked = repr((request.path, request.query, request.json, request.files)).encode()
            found += [f"{request.method} {request.path}" for secret in secrets if secret in asked]
        return found

    async def remembered(self) -> list[tuple[int, str]]:
        """Return id and text of every row of the memory; the program must have ended."""
        import lancedb

        connection = await lancedb.connect_async(self.folder / "data" / "memory.lance")
        table = await connection.open_table("messages")
        found = (await table.query().select(["message_id", "text"]).to_arrow()).to_pylist()
        return [(row["message_id"], row["text"]) for row in found]

    def answers_to(self, message: Any) -> list[Any]:
        """Return the recorded requests that sent an answer to a message, oldest first."""
        return [post for post in self.fake.posts if answered_id(post.json) == id_of(message)]


class LiveProcess(LiveFolder):
    """`python -m persona` in a folder of its own, living on a fake Discord in this process.

    A context: leaving it ends the program and fails if the token was written down anywhere.
    """

    def __init__(
        self, folder: Path, fake: Any, *, token: str | None = None, module: str = "persona", **options: Any
    ) -> None:
        super().__init__(folder, fake, **options)
        self.module = module
        self.token = fake.token if token is None else token
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._connections_before = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it if it still runs; then look whether it wrote its token down anywhere."""
        await self.kill()
        if kind is None:
            places = self.places_of_token()
            assert not places, f"the token can be found in {places}"

    async def start(self, *arguments: str) -> None:
        """Start it and wait until it is connected."""
        self.launch(*arguments)
        await self.connected()

    def launch(self, *arguments: str) -> None:
        """Start it without waiting for anything."""
        self.starts += 1
        self._connections_before = len(self._connections())
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PERSONA_", "DISCORD_", "NOTIFY_"))},
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "DISCORD_TOKEN": self.token,
        }
        with self._output("out").open("wb") as out, self._output("err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def _output(self, stream: str) -> Path:
        return self.folder / f"{stream}.{self.starts}.txt"

    @property
    def output(self) -> str:
        """Everything that all starts together wrote to stdout and stderr."""
        files = sorted(self.folder.glob("out.*.txt")) + sorted(self.folder.glob("err.*.txt"))
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    async def connected(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until this start of it is connected; fail with its output if it ends instead."""
        before = self._connections_before

        def up() -> bool:
            self._fail_if_ended()
            return len(self._connections()) > before

        await eventually(up, seconds=seconds, what="the program is connected", every=0.05)

    async def ended(self, *, seconds: float = 30.0) -> int:
        """Wait until it has ended by itself; return the exit code."""
        process = self._process()
        await eventually(lambda: process.poll() is not None, seconds=seconds, what="the program has ended")
        return process.returncode

    async def stop(self, *, seconds: float = 30.0) -> int:
        """Tell it to stop (SIGTERM); return the exit code."""
        self._process().send_signal(signal.SIGTERM)
        return await self.ended(seconds=seconds)

    async def kill(self) -> None:
        """End it without a word (SIGKILL); does nothing when it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            await self.ended()

    def _process(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None, "it was never started"
        return self.process

    def _fail_if_ended(self) -> None:
        code = self._process().poll()
        assert code is None, f"the program ended with {code}:\n{self.output[-4000:]}"

    def _connections(self) -> list[dict[str, Any]]:
        return [event for event in self.events("link") if event.get("state") == "connected"]


def id_of(thing: Any) -> int:
    """Return the id of something of the fake's, or the id itself."""
    return int(getattr(thing, "id", thing))


def answered_id(body: Any) -> int | None:
    """Return which message the body of a sent message answers; its nonce says so, and the reference of the first."""
    reference = (body or {}).get("message_reference") or {}
    nonce = str((body or {}).get("nonce") or "")
    found = reference.get("message_id") or nonce.partition("-")[0]
    return int(found) if str(found).isdigit() else None
