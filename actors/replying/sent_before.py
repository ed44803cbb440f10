"""Finds out how much of a drafted answer was sent before a restart, so that nothing of it is said twice."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from actors.replying.lanes import Job, parts_out
from actors.replying.settings import ReplyFailedError
from persona.domain.chat import Message
from persona.errors import AccessError, TransportError
from persona.ports import History

_RECOGNISED_FOR = timedelta(minutes=2)
"""Discord shows a message that is sent again with the same nonce only once, "in the past few minutes"."""

_PAGES = 10
_WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)


class SentBefore:
    """Looks into the channel's history, which knows what was sent even when nobody lived to note it.

    Without a `history` what is noted counts. Where it cannot be read, an answer drafted a moment ago is sent with the
    same nonce; an older one is given up: better cut short than said twice.
    """

    def __init__(
        self,
        history: History | None,
        *,
        now: Callable[[], datetime],
        log: structlog.stdlib.BoundLogger,
        waits: Sequence[float] = _WAITS_SECONDS,
    ) -> None:
        self._history = history
        self._now = now
        self._log = log
        self._waits = waits

    async def count(self, job: Job) -> int:
        """Return how many messages of an answer are out.

        Raises:
            ReplyFailedError: nobody can say, and sending it again might show it twice.
        """
        if self._history is None or job.sent >= len(job.texts):
            return job.sent
        for wait in (*self._waits, None):
            try:
                seen = await self._look(self._history, job)
            except AccessError as error:
                return self._unknown(job, error)
            except TransportError as error:
                if wait is None:
                    return self._unknown(job, error)
                await asyncio.sleep(wait)
            else:
                return min(max(job.sent, seen), len(job.texts))
        raise AssertionError("the last try returns or raises")

    async def _look(self, history: History, job: Job) -> int:
        """Read on from the message that is answered.

        Raises:
            AccessError: the history may not be read.
            TransportError: it could not be read to its end.
        """
        answered = job.arrival.message
        after, talk = answered.id, list[Message]()
        for _ in range(_PAGES):
            page = await history.page(answered.channel_id, after=after)
            talk += page.messages
            seen = parts_out(answered.id, job.arrival.self_id, talk)
            if page.last or not page.messages or seen >= len(job.texts):
                return seen
            after = page.messages[-1].id
        raise TransportError(f"more than {len(talk)} messages came after the one that is answered")

    def _unknown(self, job: Job, error: AccessError | TransportError) -> int:
        self._log.warning("sent_before_unknown", message_id=job.arrival.message.id, error=str(error))
        if job.decided_at is None or self._now() - job.decided_at > _RECOGNISED_FOR:
            raise ReplyFailedError("it may have been sent already, and the history cannot be read") from error
        return job.sent
