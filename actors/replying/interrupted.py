"""The replies that the end of the last process interrupted, until they are taken up again or given up."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from actors.replying.lanes import Job, parts_out
from persona.domain.chat import AuthorId, MessageId
from persona.ports import Arrival, MessageStore, PendingReply

_SEARCHED_FOR_PARTS = 100


class Interrupted:
    """What the journal held at the start.

    A message that was stored is taken up as soon as the persona's own account is known. One that was not comes again
    out of the channel's history, when ingest catches up.
    """

    def __init__(self, store: MessageStore, pending: Iterable[PendingReply]) -> None:
        self._store = store
        self._pending: dict[MessageId, PendingReply] = {reply.message_id: reply for reply in pending}

    def __len__(self) -> int:
        return len(self._pending)

    def drop_all(self) -> None:
        """Let go of everything that was not taken up."""
        self._pending.clear()

    def claim(self, arrival: Arrival) -> Job | None:
        """Return the interrupted reply to a message, if there is one; it is no longer held then."""
        reply = self._pending.pop(arrival.message.id, None)
        return None if reply is None else _job(reply, arrival, reply.sent)

    async def take_up(self, self_id: AuthorId) -> Sequence[Job]:
        """Return the replies to messages that the store has, oldest first; they are no longer held then.

        What of an answer stands in the channel's history counts as sent, though nobody lived to note it.

        Raises:
            StoreError: the database cannot be read; all of them are still held.
        """
        messages = await self._store.messages_by_id(tuple(self._pending))
        channels = {channel.id: channel for channel in await self._store.channels()}
        jobs: list[Job] = []
        for message_id, reply in self._pending.items():
            message, channel = messages.get(message_id), channels.get(reply.channel_id)
            if message is None or channel is None:
                continue
            tail = await self._store.tail(channel.id, _SEARCHED_FOR_PARTS)
            arrival = Arrival(message=message, channel=channel, self_id=self_id, addressed=reply.addressed, live=False)
            jobs.append(_job(reply, arrival, max(reply.sent, parts_out(message_id, self_id, tail))))
        for job in jobs:
            del self._pending[job.arrival.message.id]
        return jobs

    def give_up(self, decided_before: datetime) -> Sequence[PendingReply]:
        """Return the replies that were decided on before a time; they are no longer held then."""
        old = [reply for reply in self._pending.values() if reply.decided_at < decided_before]
        for reply in old:
            del self._pending[reply.message_id]
        return old


def _job(reply: PendingReply, arrival: Arrival, sent: int) -> Job:
    return Job(
        arrival=arrival,
        decision=reply.decision,
        texts=reply.texts,
        sent=sent,
        resumed=True,
        decided_at=reply.decided_at,
    )
