"""The terminal as a transport: lines from stdin, `name: text` to speak as several people, replies on stdout."""

import asyncio
import hashlib
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Protocol

from persona.domain.chat import (
    Author,
    AuthorId,
    Channel,
    ChannelId,
    ChannelKind,
    GuildId,
    Message,
    MessageId,
    snowflake_at,
)
from persona.domain.delivery import Delivery
from persona.domain.prompt import shorten
from persona.ports import Arrival, Outcome

SELF_ID = AuthorId(1)
HELP = """\
Type a line to talk. `name: text` speaks as somebody else, so that several people can talk.
/why   why it spoke or kept quiet, what came to its mind, and where the time went
/help  this text
/quit  leave (Ctrl-D and Ctrl-C do, too)"""

_SPEAKER = re.compile(r"(?P<name>[^\s:/][^:]{0,31}):\s+(?P<text>\S.*)", re.DOTALL)
_LINE_LIMIT = 4000
_LONGEST_PAUSE_SECONDS = 1.5


class Face(Protocol):
    """How the conversation looks: for people, or for programs."""

    def prompt(self) -> None:
        """Invite the next line."""
        ...

    def says(self, text: str) -> None:
        """Show one message of the persona as it is sent."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Show what became of a line once it is dealt with."""
        ...

    def why(self, outcome: Outcome | None) -> None:
        """Answer `/why`."""
        ...

    def note(self, text: str) -> None:
        """Show a word from the program itself."""
        ...


class ConsoleTransport:
    """Reads lines one after another: the next line is heard when the last one is dealt with.

    `paced` waits as if typing, at most 1.5 s a message. `patience_seconds` bounds the wait for a line whose answer was
    lost in a crash. The terminal is a channel of its own for each run and is never stored.
    """

    def __init__(
        self,
        *,
        stdin: IO[str],
        face: Face,
        speaker: str,
        patience_seconds: float,
        paced: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stdin = stdin
        self._face = face
        self._speaker = speaker
        self._patience_seconds = patience_seconds
        self._paced = paced
        self._now = now
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reader: threading.Thread | None = None
        self._done = asyncio.Event()
        self._last: Outcome | None = None
        self._sequence = 0
        self._channel = self._new_channel()

    async def listen(self) -> AsyncIterator[Arrival]:
        """Yield what is typed until the input ends or `/quit`."""
        self._start_reading()
        while True:
            self._face.prompt()
            line = await self._lines.get()
            if line is None or line.strip() == "/quit":
                return
            if arrival := self._arrival(line):
                self._done.clear()
                yield arrival
                await self._wait_for_outcome()

    async def send(self, arrival: Arrival, delivery: Delivery) -> tuple[MessageId, ...]:
        """Print the messages of one answer."""
        del arrival  # there is one terminal: whoever was heard also reads the answer
        ids: list[MessageId] = []
        for part in delivery.messages:
            if self._paced:
                await asyncio.sleep(min(part.typing_seconds, _LONGEST_PAUSE_SECONDS))
            self._face.says(part.text)
            ids.append(self._next_id())
        return tuple(ids)

    async def report(self, outcome: Outcome) -> None:
        """Show the outcome and go on with the next line."""
        self._last = outcome
        self._face.outcome(outcome)
        self._done.set()

    async def close(self) -> None:
        """Stop waiting for lines."""
        self._lines.put_nowait(None)

    def _start_reading(self) -> None:
        """Read stdin on its own thread, once: a restarted gateway goes on with the same lines."""
        if self._reader is None:
            arguments = (self._stdin, asyncio.get_running_loop(), self._lines)
            self._reader = threading.Thread(target=_read_lines, args=arguments, daemon=True, name="stdin")
            self._reader.start()

    async def _wait_for_outcome(self) -> None:
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._done.wait()
        except TimeoutError:
            self._face.note("(no answer came; go on)")

    def _arrival(self, line: str) -> Arrival | None:
        """Make a message of a line; commands and blank lines are dealt with here."""
        text = line.strip()
        match text:
            case "":
                return None
            case "/why":
                self._face.why(self._last)
                return None
            case "/help":
                self._face.note(HELP)
                return None
        spoken = _SPEAKER.fullmatch(text)
        name, said = (spoken["name"].strip(), spoken["text"]) if spoken else (self._speaker, text)
        author = Author(id=_author_id(name), name=name, display_name=name)
        message = Message(
            id=self._next_id(),
            channel_id=self._channel.id,
            author=author,
            content=said[:_LINE_LIMIT],
            created_at=self._now(),
        )
        return Arrival(message=message, channel=self._channel, self_id=SELF_ID)

    def _new_channel(self) -> Channel:
        return Channel(
            id=ChannelId(self._next_id()),
            guild_id=GuildId(0),
            name="terminal",
            kind=ChannelKind.TERMINAL,
            allowed=True,
        )

    def _next_id(self) -> MessageId:
        self._sequence += 1
        return MessageId(snowflake_at(self._now(), self._sequence % (1 << 22)))


@dataclass(slots=True, kw_only=True)
class PlainFace:
    """For people: `name: text`, and a short banner's worth of explanations."""

    out: IO[str]
    name: Callable[[], str]
    interactive: bool

    def prompt(self) -> None:
        """Show where to type, on a terminal only."""
        if self.interactive:
            print("> ", end="", file=self.out, flush=True)

    def says(self, text: str) -> None:
        """Print one message; further lines are indented under the first."""
        self._print(f"{self.name()}: " + text.replace("\n", "\n  "))

    def outcome(self, outcome: Outcome) -> None:
        """Say so when a line that should have been answered was not."""
        if outcome.decision.speak and not outcome.texts:
            self._print(f"({self.name()} has no answer: {outcome.result})")

    def why(self, outcome: Outcome | None) -> None:
        """Explain the last decision in a few lines."""
        self._print("\n".join(explain(outcome)) if outcome else "(nothing has been said yet)")

    def note(self, text: str) -> None:
        """Print the program's own words."""
        self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)


@dataclass(slots=True, kw_only=True)
class JsonFace:
    """For programs: one JSON object a reply, on one line."""

    out: IO[str]
    name: Callable[[], str]

    def prompt(self) -> None:
        """Programs need no invitation."""

    def says(self, text: str) -> None:
        """Wait for the outcome: it holds every message."""

    def outcome(self, outcome: Outcome) -> None:
        """Print the reply, or why one that should have come did not."""
        if outcome.texts or outcome.decision.speak:
            self._print(reply_object(outcome, self.name()))

    def why(self, outcome: Outcome | None) -> None:
        """Print the explanation as an object."""
        self._print({"why": explain(outcome) if outcome else []})

    def note(self, text: str) -> None:
        """Print the program's own words as an object."""
        self._print({"note": text})

    def _print(self, value: object) -> None:
        print(json.dumps(value, ensure_ascii=False), file=self.out, flush=True)


def build_console(
    *, stdin: IO[str], stdout: IO[str], as_json: bool, speaker: str, name: Callable[[], str], patience_seconds: float
) -> ConsoleTransport:
    """Return the terminal as a transport: for programs when `as_json`, with pauses only when a person sits there."""
    interactive = stdin.isatty() and stdout.isatty() and not as_json
    face: Face = JsonFace(out=stdout, name=name)
    if not as_json:
        face = PlainFace(out=stdout, name=name, interactive=interactive)
    return ConsoleTransport(
        stdin=stdin, face=face, speaker=speaker, patience_seconds=patience_seconds, paced=interactive
    )


def reply_object(outcome: Outcome, name: str) -> dict[str, object]:
    """Return what `--json` prints for one reply; `error` is null when it was sent."""
    finished = outcome.finished
    return {
        "name": name,
        "text": "\n".join(outcome.texts),
        "messages": list(outcome.texts),
        "answers": outcome.arrival.message.author.display_name,
        "reason": str(outcome.decision.reason),
        "error": None if outcome.texts else outcome.result,
        "remembered": [
            {"author": r.author_name, "at": r.created_at.isoformat(), "text": r.text} for r in outcome.recollections
        ],
        "prompt_tokens": finished.prompt_tokens if finished else 0,
        "completion_tokens": finished.completion_tokens if finished else 0,
        "retries": outcome.retries,
        "stage_ms": dict(outcome.stage_ms),
    }


def explain(outcome: Outcome) -> list[str]:
    """Return the lines of `/why`: the decision, the result, memory, timings."""
    lines = [outcome.decision.explain()]
    if outcome.decision.speak:
        again = f" (after {outcome.retries} more try)" if outcome.retries else ""
        lines.append(f"result: {outcome.result}{again}")
    if outcome.recollections:
        lines.append("what came to mind:")
        lines += [
            f"  {r.created_at:%Y-%m-%d} {r.author_name}: {shorten(r.text, 80)}  (score {r.score:.2f})"
            for r in outcome.recollections
        ]
    elif outcome.decision.speak:
        lines.append("nothing came to mind from history")
    if outcome.stage_ms:
        lines.append("time: " + ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in outcome.stage_ms.items()))
    if finished := outcome.finished:
        lines.append(
            f"tokens: {finished.prompt_tokens} read ({finished.cached_tokens} from cache, "
            f"{finished.dropped_lines} old lines left out), {finished.completion_tokens} written"
        )
    return lines


def _author_id(name: str) -> AuthorId:
    """Give the same name the same id in every run (any case), never the persona's own."""
    digest = hashlib.blake2b(name.casefold().encode(), digest_size=7).digest()
    return AuthorId(int.from_bytes(digest) + SELF_ID + 1)


def _read_lines(stdin: IO[str], loop: asyncio.AbstractEventLoop, lines: "asyncio.Queue[str | None]") -> None:
    """Read stdin on its own thread: a blocked read must not hold up the loop, nor the end of the process."""
    try:
        for line in stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)
    except (RuntimeError, ValueError):
        # The loop or stdin was closed while this thread waited: the process is ending.
        return
    except OSError as error:
        print(f"cannot read the terminal: {error}", file=sys.stderr)  # noqa: T201
        loop.call_soon_threadsafe(lines.put_nowait, None)
