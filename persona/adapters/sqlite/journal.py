"""`SqliteJournal`: the `ReplyJournal` port, what is to be answered and what is on its way out, in the store's file."""

import json
import sqlite3
from collections.abc import Sequence
from functools import partial

from persona.adapters.sqlite.database import Database
from persona.adapters.sqlite.rows import clean_text, from_micros, to_micros
from persona.domain.chat import ChannelId, MessageId
from persona.domain.speaking import Decision, Reason
from persona.ports import PendingReply

_DEALT_WITH = """EXISTS (SELECT 1 FROM replies WHERE message_id = ?1)
    OR EXISTS (SELECT 1 FROM sent_messages WHERE message_id = ?1)"""
_BEGIN = f"""INSERT INTO pending_replies (message_id, channel_id, decided_at, reason, detail, addressed, texts, sent)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
    WHERE NOT ({_DEALT_WITH} OR EXISTS (SELECT 1 FROM tombstones WHERE message_id = ?1))
    ON CONFLICT (message_id) DO NOTHING"""  # noqa: S608 - fixed text
_SEEN = f"""SELECT EXISTS (SELECT 1 FROM pending_replies WHERE message_id = ?1) OR {_DEALT_WITH}"""  # noqa: S608
# Only rows that are there: a reply that was forgotten meanwhile must not leave its text behind.
_DRAFTED = "UPDATE pending_replies SET texts = ?2 WHERE message_id = ?1"
_PART_OUT = "UPDATE pending_replies SET sent = max(sent, ?2) WHERE message_id = ?1"
_SENT = """INSERT INTO sent_messages (id, message_id, number) VALUES (?,?,?)
    ON CONFLICT (id) DO NOTHING"""
# Killed after the outcome was written down, before it was let go of. A deleted message is not answered any more, but
# somebody has to say so: it stays.
_TIDY = "DELETE FROM pending_replies WHERE message_id IN (SELECT message_id FROM replies)"
_PENDING = """SELECT message_id, channel_id, decided_at, reason, detail, addressed, texts, sent FROM pending_replies
    ORDER BY message_id"""


class SqliteJournal:
    """Replies from the decision to their outcome. Every method may raise `StoreError`.

    A message is dealt with once a row in `replies` says what became of it, or one of its answers is known to be out.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, reply: PendingReply) -> bool:
        """Take on a message; False when it was taken on, dealt with or deleted before."""
        return await self._database.write(partial(_begin, reply))

    async def seen(self, message_id: MessageId) -> bool:
        """Return whether a message was taken on or decided on before."""
        return await self._database.read(lambda db: bool(db.execute(_SEEN, (message_id,)).fetchone()[0]))

    async def drafted(self, message_id: MessageId, texts: Sequence[str]) -> None:
        """Keep what is going to be sent, unless the message was forgotten meanwhile."""
        values = (message_id, json.dumps([clean_text(text) for text in texts], ensure_ascii=False))
        await self._database.write(lambda db: db.execute(_DRAFTED, values).rowcount)

    async def part_sent(self, message_id: MessageId, number: int, sent_id: MessageId) -> None:
        """Note that message `number` (from 0) of the answer is out."""
        await self._database.write(partial(_part_sent, message_id, number, sent_id))

    async def finish(self, message_id: MessageId) -> None:
        """Let go of a reply: it is out, or was given up. Its text is removed."""
        await self._database.write(
            lambda db: db.execute("DELETE FROM pending_replies WHERE message_id = ?", (message_id,)).rowcount
        )

    async def pending(self) -> Sequence[PendingReply]:
        """Return what is unfinished, oldest first; what has its outcome already is let go of."""
        return await self._database.write(_pending)


def _begin(reply: PendingReply, connection: sqlite3.Connection) -> bool:
    texts = json.dumps([clean_text(text) for text in reply.texts], ensure_ascii=False) if reply.texts else ""
    values = (
        reply.message_id,
        reply.channel_id,
        to_micros(reply.decided_at),
        reply.decision.reason.value,
        clean_text(reply.decision.detail),
        int(reply.addressed),
        texts,
        reply.sent,
    )
    return connection.execute(_BEGIN, values).rowcount > 0


def _part_sent(message_id: MessageId, number: int, sent_id: MessageId, connection: sqlite3.Connection) -> None:
    connection.execute(_PART_OUT, (message_id, number + 1))
    connection.execute(_SENT, (sent_id, message_id, number))


def _pending(connection: sqlite3.Connection) -> Sequence[PendingReply]:
    connection.execute(_TIDY)
    return [
        PendingReply(
            message_id=MessageId(message_id),
            channel_id=ChannelId(channel_id),
            decided_at=from_micros(decided_at),
            decision=Decision(speak=True, reason=Reason(reason), detail=detail),
            addressed=bool(addressed),
            texts=tuple(json.loads(texts)) if texts else (),
            sent=sent,
        )
        for message_id, channel_id, decided_at, reason, detail, addressed, texts, sent in connection.execute(_PENDING)
    ]
