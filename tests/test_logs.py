"""The log: whole, safe lines whatever is thrown at it, and no secret or message text in any of them."""

import asyncio
import gc
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from persona.log_safety import MAX_LINE_BYTES, REDACTED, Cleaner, Redactor, printable, to_json
from persona.log_writing import LogWriter, Outlet, RotatingFile, StreamSink
from persona.logs import LogOptions, configure, is_journal

# Shaped like the real things, in parts so that no scanner takes this file for a leak.
TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4" + ".Cl2FMQ." + "ZnCjm1XVW7vRze4b7Cq4se7kKWs_canary"
OTHER_TOKEN = "OTk5OTk5OTk5OTk5OTk5OTk5" + ".GabcdE." + "z" * 38
INTERACTION = "aW50ZXJhY3Rpb246MTIzNDU2Nzg5MDEyMzQ1Njc4OTpjYW5hcnk"
HOSTILE = "a\u202eb\u2028c\u2029d\x1b[31me\r\nf\x00g\x85h\u2066i\ud800j\U000e0041k\ufeffl"


@contextmanager
def logging_to(path: Path | None, *, terminal: bool = True, console: str | None = None, **options) -> Iterator:
    """Configure logging for one test and leave no trace of it; yields the handle and what stderr would get."""
    err = options.pop("stderr", io.StringIO())
    chosen = LogOptions(file=path, level=options.pop("level", "info"), content=options.pop("content", False))
    environment = options.pop("environment", {"DISCORD_TOKEN": TOKEN})
    handle = configure(chosen, terminal=terminal, console=console, stderr=err, environment=environment, **options)
    try:
        yield handle, err
    finally:
        handle.close()
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


def lines(path: Path) -> list[dict]:
    """Parse every line of a log; fails on any that is no JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


# --- whole lines ----------------------------------------------------------------------------------------------------


def test_every_line_is_json_from_many_threads_with_hostile_text(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.jsonl"
    with logging_to(path) as (handle, _):
        log = structlog.get_logger("test")

        def work(number: int) -> None:
            structlog.contextvars.bind_contextvars(worker=number)
            for count in range(200):
                log.info(HOSTILE, **{HOSTILE: HOSTILE}, count=count, note=HOSTILE * 3)
                logging.getLogger("lib").info("stdlib %s", HOSTILE)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert handle.flush()
        assert (handle.dropped, handle.failed) == (0, 0)
    raw = path.read_bytes()
    assert raw.count(b"\n") == 8 * 200 * 2
    for bad in ("\u202e", "\u2028", "\u2029", "\x1b", "\r", "\x00", "\x85", "\u2066", "\ufeff", "\U000e0041"):
        assert bad.encode() not in raw, f"{bad!r} went into the file"
    seen = [(entry["worker"], entry["count"]) for entry in lines(path) if "count" in entry]
    assert sorted(seen) == [(n, c) for n in range(8) for c in range(200)]
    entry = next(entry for entry in lines(path) if "count" in entry)
    assert entry["note"] == HOSTILE.replace("\ud800", "\\ud800") * 3, "escapes read back as what was logged"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.frozensets(st.text()),
    max_leaves=30,
)


@given(st.dictionaries(st.text(min_size=1), json_like, max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_event_becomes_one_bounded_line_of_strict_json(fields) -> None:
    line = Cleaner(Redactor([TOKEN])).json_line({"event": "x", **fields})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert isinstance(json.loads(line, parse_constant=refuse), dict)
    assert len(line.encode("utf-8")) <= MAX_LINE_BYTES
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        "\x00" * 100_000,
        "\U000e0041" * 100_000,
        ["y" * 5000] * 500,
        {f"key {n} " + "k" * 500: "v" * 5000 for n in range(500)},
        10**6000,
        float("nan"),
        [[[["deep" * 1000] * 40] * 40] * 40] * 40,
    ],
    ids=["long", "controls", "tags", "list", "mapping", "integer", "nan", "nested"],
)
def test_huge_values_are_cut_below_what_journald_takes(value) -> None:
    line = Cleaner(Redactor()).json_line({"event": "big", "value": value, "other": "kept"})
    assert len(line.encode()) <= MAX_LINE_BYTES
    assert json.loads(line)["event"] == "big"


def test_a_value_that_refers_to_itself_ends() -> None:
    loop: list = []
    loop.append(loop)
    assert "…" in Cleaner(Redactor()).json_line({"event": "loop", "value": loop})


class Spiteful:
    """Raises from wherever it is touched."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__
    __hash__ = object.__hash__


def test_logging_never_raises_and_says_that_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with logging_to(path):
        log = structlog.get_logger()
        log.info("odd", value=Spiteful())
        log.info("odd key", value={Spiteful(): 1})
        log.error("odd error", exc_info=ValueError(Spiteful()))
        logging.getLogger("lib").warning("%d items", "many")
        log.info("after")
    entries = lines(path)
    assert entries[0]["value"] == "<Spiteful>"
    assert entries[1] == {**entries[1], "event": "log_failed", "error": "RuntimeError"}
    assert entries[2]["exception"][0]["exc_type"] == "ValueError"
    assert entries[3]["event"] == "%d items (cannot be formatted: TypeError)"
    assert entries[-1]["event"] == "after"


# --- secrets and content --------------------------------------------------------------------------------------------


def fail(error: BaseException) -> NoReturn:
    raise error


def crash_with(secret: str) -> None:
    try:
        try:
            fail(KeyError(secret))
        except KeyError as missing:
            raise ConnectionError(f"GET https://discord.com/api/webhooks/123456/{secret}: {secret}") from missing
    except ConnectionError as error:
        error.add_note(f"the token was {secret}")
        failures = [error, ValueError({"Authorization": f"Bot {secret}"})]
    raise ExceptionGroup(f"several with {secret}", failures)


def test_no_canary_in_file_stderr_or_tracebacks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with logging_to(path, level="debug", console="debug", content=True) as (_, err):
        log = structlog.get_logger()
        structlog.contextvars.bind_contextvars(session=TOKEN)
        nested = {"k": {TOKEN: TOKEN}}
        for value in (TOKEN, f"x{TOKEN}y", [TOKEN], nested, {TOKEN}, Path("data") / TOKEN, TOKEN.encode()):
            log.info(TOKEN, value=value)
        log.info("cut", value="a" * 1990 + TOKEN)
        log.info("long", value="a" * (2 * 2000 + 500) + TOKEN * 20)
        log.info("object", value=ValueError(TOKEN), Authorization=["x", 1])
        logging.getLogger("discord.http").warning("PATCH /webhooks/1/%s", TOKEN)
        try:
            crash_with(TOKEN)
        except ExceptionGroup:
            log.exception("failed")
            logging.getLogger("lib").exception("failed too")
    written = path.read_text(encoding="utf-8") + err.getvalue()
    assert TOKEN not in written
    for part in TOKEN.split("."):
        assert part[:6] not in written, "a part of the token was written"
    assert written.count(REDACTED) > 30
    traces = [entry["exception"] for entry in lines(path) if "exception" in entry]
    assert len(traces) == 2
    group = traces[0][0]
    assert group["exc_type"] == "ExceptionGroup"
    assert group["frames"][-1]["name"] == "crash_with"
    assert "    ConnectionError: GET https://discord.com/api/webhooks/123456/" in err.getvalue()
    assert [stack["exc_type"] for stack in group["exceptions"][0]] == ["ConnectionError", "KeyError"]


@pytest.mark.parametrize(
    "text",
    [
        OTHER_TOKEN,
        f"https://discord.com/api/v10/webhooks/123456789/{'Canary-' + 'x' * 60}/messages/1",
        f"https://discord.com/api/v10/interactions/99/{INTERACTION}/callback",
        f"webhooks/1/{INTERACTION}",
        f"Authorization: Bot {'Canary' + 'q' * 30}",
        f"{{'token': '{'canary' + 'z' * 30}', 'intents': 3}}",
        "postgres://user:canary-password@host/db",
        "https://host/path?access_token=canary123456&x=1",
        "hf_" + "canary" * 5,
        "mfa." + "canary" * 5,
    ],
)
def test_what_looks_like_a_secret_is_blanked_out_unasked(text: str) -> None:
    clean = Redactor().redact(f"before {text} after")
    assert REDACTED in clean
    assert "canary" not in clean.lower()
    assert "zzzzzz" not in clean
    assert INTERACTION[:20] not in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


@pytest.mark.parametrize(
    "text",
    [
        "12 tokens/s, first token after 0.41 s, prompt_tokens=812",
        "https://discord.com/api/v10/channels/12345678901234567/messages",
        "/home/me/persona/.venv/lib/python3.11/site-packages/discord/http.py:660",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "2026-01-02T03:04:05.678+00:00 bot is ready",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor([TOKEN, "", "short"]).redact(text) == text


def test_cutting_a_text_never_leaves_a_piece_of_a_secret() -> None:
    known, odd = "correct-horse-battery-staple", Redactor([TOKEN, "correct-horse-battery-staple"])
    for limit in (40, 200, 2000):
        for shift in range(0, 80, 3):
            short = odd.shortened("." * shift + (TOKEN + " " + known + " ") * 400, limit)
            assert "MTk4" not in short
            assert "corr" not in short
            assert len(short) < limit + 40


def test_a_secret_is_found_in_other_spellings() -> None:
    odd = 'p@ss/w"ord\\ü-canary'
    redactor = Redactor([odd])
    for text in (odd, "?key=p%40ss%2Fw%22ord%5C%C3%BC-canary", json.dumps(odd)):
        assert "canary" not in redactor.redact(text)


@dataclass(frozen=True)
class Carrier:
    content: str


def test_message_content_is_logged_only_when_allowed(tmp_path: Path) -> None:
    said = "what ann said"
    for allowed in (False, True):
        path = tmp_path / f"{allowed}.jsonl"
        with logging_to(path, content=allowed) as (_, err):
            log = structlog.get_logger()
            log.warning("heard", content=said, Text=said, draft=said, prompt=[said], nested={"a": [{"text": said}]})
            log.warning("object", message=Carrier(said))
        assert (said in path.read_text()) is allowed
        assert (said in err.getvalue()) is allowed
    assert lines(tmp_path / "False.jsonl")[0]["content_length"] == len(said)
    assert lines(tmp_path / "False.jsonl")[1]["message"] == "<Carrier>"


def test_libraries_cannot_log_below_info(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    chatty = logging.getLogger("discord.http")
    chatty.setLevel(logging.DEBUG)
    try:
        with logging_to(path, level="debug"):
            chatty.debug("POST with {'content': 'hello'} has returned 200")
            chatty.info("kept")
            logging.getLogger("aiosqlite").debug("INSERT ('hello',)")
            structlog.get_logger().debug("own debug")
    finally:
        chatty.setLevel(logging.NOTSET)
    assert [entry["event"] for entry in lines(path)] == ["kept", "own debug"]


# --- correlation and routes -----------------------------------------------------------------------------------------


def test_context_follows_tasks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rng = random.Random(7)

    async def handle_message(number: int, pause: float) -> None:
        structlog.contextvars.bind_contextvars(message_id=number)
        log = structlog.get_logger("chat")
        log.info("start", expected=number)
        await asyncio.sleep(pause)
        logging.getLogger("lib").info("%d", number)
        log.info("end", expected=number)

    async def main() -> None:
        await asyncio.gather(*(handle_message(n, rng.random() / 50) for n in range(50)))

    with logging_to(path):
        asyncio.run(main())
    entries = lines(path)
    assert len(entries) == 150
    for entry in entries:
        expected = int(entry["event"]) if entry["logger"] == "lib" else entry["expected"]
        assert entry["message_id"] == expected


def test_people_get_short_lines_from_warning_up(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with logging_to(path) as (_, err):
        log = structlog.get_logger("chat")
        log.info("not shown")
        log.warning("recall_skipped", actor="responder", error="AskTimeout", note="two words", evil="\x1b[2J\u202e\n")
        try:
            fail(ValueError("boom"))
        except ValueError:
            log.exception("failed")
    shown = err.getvalue().splitlines()
    assert len(shown) == 2
    plain = 'warning responder: recall_skipped error=AskTimeout note="two words" '
    assert shown[0].endswith(plain + r'evil="\u001b[2J\u202e\n"')
    assert shown[1].endswith("error chat: failed | ValueError: boom")
    assert [entry["event"] for entry in lines(path)] == ["not shown", "recall_skipped", "failed"]


def test_debug_shows_everything_with_frames() -> None:
    with logging_to(None, level="debug") as (_, err):
        log = structlog.get_logger()
        log.debug("detail")
        try:
            fail(ValueError("boom\nsecond line"))
        except ValueError:
            log.exception("failed")
    shown = err.getvalue().splitlines()
    assert "debug detail" in shown[0]
    assert shown[2].strip() == r"ValueError: boom\nsecond line"
    assert shown[3].endswith(" in fail")
    assert shown[4].endswith(" in test_debug_shows_everything_with_frames")


def test_warnings_and_uncaught_errors_of_threads_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"

    def run() -> None:
        fail(RuntimeError(f"thread with {TOKEN}"))

    class Broken:
        def __del__(self) -> None:
            raise RuntimeError(f"destructor with {TOKEN}")

    with logging_to(path) as (_, err):
        thread = threading.Thread(target=run, name="worker-7")
        thread.start()
        thread.join()
        broken = Broken()
        del broken
        gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    entries = {entry["event"].split(":")[0]: entry for entry in lines(path)}
    assert entries["thread_failed"]["thread"] == "worker-7"
    assert entries["unraisable_error"]["where"].endswith("Broken.__del__")
    assert any("DeprecationWarning: old thing" in entry["event"] for entry in lines(path))
    assert TOKEN not in path.read_text() + err.getvalue()


def test_closing_puts_everything_back(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    with logging_to(tmp_path / "a.jsonl") as (handle, _):
        assert sys.excepthook is not before[2]
        assert handle.close()
        structlog.get_logger().warning("too late")
        assert handle.dropped == 2, "one for the file, one for stderr"
    assert (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_only_the_journals_own_socket_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        status = os.fstat(stream.fileno())
        right = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}", "DISCORD_TOKEN": TOKEN}
        assert is_journal(stream, right)
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": "nonsense"})
        assert not is_journal(io.StringIO(), right)
        log_file = tmp_path / "a.jsonl"
        with logging_to(log_file, terminal=False, stdout=stream, environment=right) as (_, err):
            structlog.get_logger().warning("under systemd")
    assert lines(tmp_path / "out")[0]["event"] == "under systemd"
    assert err.getvalue() == ""
    assert not log_file.exists()


# --- the writer and its files ---------------------------------------------------------------------------------------


class Gate:
    """A sink that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        assert self.open.wait(10)
        self.lines.append(line)

    def close(self) -> None:
        self.lines.append("closed")


def test_a_full_queue_drops_counts_and_says_so() -> None:
    gate = Gate()
    outlet = Outlet(gate, lambda count: f"missed {count}")
    writer = LogWriter(capacity=10)
    writer.start()
    writer.put(outlet, "first")
    deadline = time.monotonic() + 5
    while writer._queue.qsize() and time.monotonic() < deadline:
        time.sleep(0.001)
    began = time.perf_counter()
    for number in range(100):
        writer.put(outlet, f"line {number}")
    assert time.perf_counter() - began < 1, "putting never waits"
    assert writer.dropped == 90
    assert not writer.flush(0.01)
    gate.open.set()
    assert writer.close(5)
    assert gate.lines == ["first", "missed 90", *(f"line {n}" for n in range(10)), "closed"]


def test_logging_from_inside_a_log_call_does_not_deadlock(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with logging_to(path) as (handle, _):
        log = structlog.get_logger()
        previous = signal.signal(signal.SIGALRM, lambda *_: log.info("from a signal handler"))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            for number in range(2000):
                log.info("busy", number=number)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert handle.flush(20)
    events = [entry["event"] for entry in lines(path)]
    assert events.count("busy") == 2000
    assert "from a signal handler" in events


def test_files_rotate_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    sink = RotatingFile(path, max_bytes=1000, files=3)
    for number in range(100):
        sink.write(json.dumps({"n": number, "pad": "x" * 80}))
    sink.close()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["a.jsonl", "a.jsonl.1", "a.jsonl.2"]
    numbers = [entry["n"] for name in reversed(names) for entry in lines(tmp_path / name)]
    assert numbers == list(range(numbers[0], 100)), "the newest lines, in order, none lost in between"
    assert all(p.stat().st_size <= 1000 for p in tmp_path.iterdir())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_started_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    sink = RotatingFile(path)
    sink.write("one")
    path.rename(tmp_path / "kept")
    sink.write("two")
    path.unlink()
    sink.write("three")
    sink.close()
    assert path.read_text() == "three\n"


def test_half_a_line_of_a_killed_process_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"event": "whole"}\n{"event": "torn')
    sink = RotatingFile(path)
    sink.write('{"event": "new"}')
    sink.close()
    assert path.read_text().splitlines()[1:] == ['{"event": "torn', '{"event": "new"}']


def test_rotation_that_is_not_allowed_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "replace", refuse)
    path = tmp_path / "a.jsonl"
    sink = RotatingFile(path, max_bytes=100, files=3)
    for number in range(50):
        sink.write(f"line {number}")
    sink.close()
    assert path.read_text().splitlines() == [f"line {n}" for n in range(50)]


FULL_DISK = """
import json, os, resource, signal, sys
from pathlib import Path
from persona.logs import LogOptions, configure
import structlog
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))  # writes beyond it are short, then fail
with configure(LogOptions(file=path), terminal=True) as handle:
    log = structlog.get_logger()
    for number in range(200):
        log.info("filling", number=number, pad="x" * 50)
    assert handle.flush()
    failed = handle.failed
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.info("recovered")
    assert handle.flush()
print(json.dumps({"failed": failed, "dropped": handle.dropped}))
"""


def test_a_disk_that_fills_up_costs_lines_but_never_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    failed = json.loads(done.stdout)["failed"]
    entries = lines(path)
    written = sum(entry["event"] == "filling" for entry in entries)
    assert failed > 0
    assert written + failed == 200
    assert [entry["event"] for entry in entries[-2:]] == ["log_lines_lost", "recovered"]
    assert sum(entry["count"] for entry in entries if entry["event"] == "log_lines_lost") == failed


def test_a_full_filesystem_is_survived(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not Path("/bin/mount").exists():
        pytest.skip("mounting a small filesystem needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 40_000)
        with logging_to(disk / "a.jsonl") as (handle, err):
            log = structlog.get_logger()
            for number in range(500):
                log.info("filling", number=number, pad="x" * 100)
            assert handle.flush()
            assert handle.failed > 0
            ballast.unlink()
            log.warning("recovered")
            assert handle.flush()
        entries = lines(disk / "a.jsonl")
        assert [entry["event"] for entry in entries[-2:]] == ["log_lines_lost", "recovered"]
        assert sum(entry["count"] for entry in entries if entry["event"] == "log_lines_lost") == handle.failed
        assert "recovered" in err.getvalue()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_closed_stream_is_a_failed_line_not_an_error() -> None:
    stream = io.StringIO()
    with logging_to(None, stderr=stream) as (handle, _):
        stream.close()
        structlog.get_logger().warning("nobody reads this")
        assert handle.flush()
        assert handle.failed == 1


def test_uncaught_error_of_the_main_thread_leaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom persona.logs import LogOptions, configure\n"
        "configure(LogOptions(file=Path(sys.argv[1])), terminal=True)\n"
        "raise RuntimeError('token ' + os.environ['DISCORD_TOKEN'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "DISCORD_TOKEN": TOKEN},
    )
    assert done.returncode == 1
    assert TOKEN not in done.stdout + done.stderr + path.read_text()
    assert f"uncaught_error | RuntimeError: token {REDACTED}" in done.stderr
    assert lines(path)[-1]["exception"][0]["exc_type"] == "RuntimeError"


def test_printable_leaves_people_their_letters() -> None:
    family = "Grüße 👩‍👩‍👧 日本"
    assert printable(family) == family
    assert json.loads(to_json({"a": family})) == {"a": family}
    assert family in to_json({"a": family})


def test_a_stream_of_few_letters_still_gets_whole_lines() -> None:
    raw = io.BytesIO()
    sink = StreamSink(io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    sink.write(to_json({"who": "Jürgen 👋"}))
    sink.write(to_json({"who": "ann"}))
    assert [json.loads(line)["who"] for line in raw.getvalue().splitlines()] == ["Jürgen 👋", "ann"]


def test_stream_sink_leaves_the_stream_open() -> None:
    stream = io.StringIO()
    sink = StreamSink(stream)
    sink.write("x")
    sink.close()
    assert not stream.closed
