"""The terminal as a transport: lines from stdin, `name: text` to speak as several people, replies on stdout."""

import asyncio
import hashlib
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import IO

from persona.adapters.console.faces import Face, JsonFace, PlainFace
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
from persona.domain.commands import Answer, Invocation
from persona.domain.delivery import Delivery
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

    def fitted(self, arrival: Arrival, delivery: Delivery) -> Delivery:
        """Return the answer as it is: lines of a terminal may be long."""
        del arrival
        return delivery

    async def send(
        self, arrival: Arrival, delivery: Delivery, *, first: int = 0, objection: Callable[[], str] = lambda: ""
    ) -> AsyncIterator[MessageId]:
        """Print the messages of one answer, as long as there is no objection."""
        del arrival  # there is one terminal: whoever was heard also reads the answer
        for part in delivery.messages[first:]:
            if self._paced:
                await asyncio.sleep(min(part.typing_seconds, _LONGEST_PAUSE_SECONDS))
            if objection():
                return
            self._face.says(part.text)
            yield self._next_id()

    async def answer(self, invocation: Invocation, answer: Answer) -> None:
        """Show the answer to a command; the terminal's own commands are dealt with where they are typed."""
        del invocation
        self._face.note(answer.text)

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
