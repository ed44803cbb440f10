"""The door to the transport: what happens there is told to those concerned, what is said goes out."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from actors.kernel import LATER, Actor, ActorRef, Responder
from actors.messages import Handled, MessageArrived, Missed, Ping, Respond, SendReply
from persona.domain.chat import ChannelId, MessageId
from persona.domain.speaking import Decision, Reason
from persona.errors import DeliveryError, StoreError
from persona.ports import (
    Arrival,
    ChannelGone,
    ChannelSeen,
    CommandInvoked,
    Edited,
    LinkDown,
    LinkUp,
    Outcome,
    Reacted,
    ReactionsCleared,
    Removed,
    ReplyJournal,
    Transport,
    TransportEvent,
)

_LATE_LIMIT = 10_000


class GatewayActor(Actor):
    """Listens to a transport; calls `ended` once the transport has nothing more to say.

    What the responder has no room for waits here, in order, up to `late_limit` messages.

    Without `responder` it only listens; without `journal` (the terminal) nobody needs to know after a crash what was
    out already; without `commands` there are none. That the connection is lost is something to tell, not a failure:
    the transport connects again by itself.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        ingest: ActorRef,
        responder: ActorRef | None,
        ended: Callable[[], None],
        commands: ActorRef | None = None,
        journal: ReplyJournal | None = None,
        late_limit: int = _LATE_LIMIT,
    ) -> None:
        self._transport = transport
        self._ingest = ingest
        self._responder = responder
        self._ended = ended
        self._commands = commands
        self._journal = journal
        self._link = "listening"
        self._stopping = False
        self._missed: set[ChannelId] = set()
        self._late: deque[object] = deque()
        self._late_limit = late_limit

    async def started(self) -> None:
        """Listen from now on."""
        self.spawn(self._listen(), name="listen")

    async def stopping(self) -> None:
        """Let the transport finish what it is sending."""
        self._stopping = True
        await self._transport.close()

    async def receive(self, message: object) -> object:
        """Deliver replies and answers without keeping later ones waiting; pass outcomes on."""
        match message:
            case SendReply() as request:
                self.spawn(self._send(request, self.respond_later()), name=f"send to {request.arrival.channel.id}")
                return LATER
            case Respond() as request:
                self.spawn(self._respond(request, self.respond_later()), name=f"answer {request.invocation.command}")
                return LATER
            case Handled(outcome=outcome):
                await self._transport.report(outcome)
            case Ping():
                return self._link
        return None

    # --- hearing ---

    async def _listen(self) -> None:
        async for event in self._transport.listen():
            self._pass_on(event)
        if not self._stopping:
            self._ended()
        await asyncio.Event().wait()  # the end of input is not the end of sending

    def _pass_on(self, event: TransportEvent) -> None:
        """Tell an event to those whom it concerns; this never waits."""
        match event:
            case Arrival() as arrival:
                with structlog.contextvars.bound_contextvars(message_id=arrival.message.id):
                    self._hear(arrival)
            case Edited(edit=edit):
                self._tell_ingest(event, edit.channel_id)
                self._tell_responder(event)
            case Removed(channel_id=channel_id):
                self._tell_ingest(event, channel_id)
                self._tell_responder(event)
            case Reacted(channel_id=channel_id) | ReactionsCleared(channel_id=channel_id):
                self._tell_ingest(event, channel_id)
            case ChannelSeen() | ChannelGone():
                self._make_sure(event)
            case LinkUp() | LinkDown():
                self._link = "connected" if isinstance(event, LinkUp) else f"not connected: {event.reason}"
                self.context.log.info("link", state=self._link, resumed=isinstance(event, LinkUp) and event.resumed)
                self._make_sure(event)
                if isinstance(event, LinkUp):
                    self._tell_responder(event)
            case CommandInvoked(invocation=invocation):
                if self._commands is not None and not self._commands.tell(event):
                    self.context.log.warning("command_dropped", command=invocation.command)

    def _hear(self, arrival: Arrival) -> None:
        arrived = MessageArrived(arrival=arrival)
        self._tell_ingest(arrived, arrival.channel.id)
        if not self._tell_responder(arrived):
            self.spawn(self._transport.report(_dropped(arrival)), name="report a drop")

    def _tell_responder(self, message: object) -> bool:
        """Tell the responder, or keep the message until there is room; False when too many are kept already."""
        if self._responder is None or (not self._late and self._responder.tell(message)):
            return True
        if len(self._late) >= self._late_limit:
            return False
        self._late.append(message)
        if len(self._late) == 1:
            self.spawn(self._tell_late(self._responder), name="tell the responder what is late")
        return True

    async def _tell_late(self, responder: ActorRef) -> None:
        while self._late:
            await responder.send(self._late[0])
            self._late.popleft()

    def _tell_ingest(self, message: object, channel_id: ChannelId) -> None:
        """Tell ingest; what finds no room is made up for by reading the channel's history again."""
        if self._ingest.tell(message):
            return
        if not self._missed:
            self.spawn(self._tell_of_gaps(), name="tell of gaps")
        self._missed.add(channel_id)

    async def _tell_of_gaps(self) -> None:
        while self._missed:
            missed, self._missed = frozenset(self._missed), set()
            await self._ingest.send(Missed(channel_ids=missed))

    def _make_sure(self, message: object) -> None:
        """Tell ingest what no history would tell it again."""
        if not self._ingest.tell(message):
            self.spawn(self._insist(message), name="insist")

    async def _insist(self, message: object) -> None:
        await self._ingest.send(message)

    # --- speaking ---

    async def _send(self, request: SendReply, answer: Responder[tuple[MessageId, ...]]) -> None:
        """Step 10: deliver a reply message by message; each is written down as soon as it is out."""
        ids: list[MessageId] = []
        number = request.first
        try:
            async for sent_id in self._transport.send(request.arrival, request.delivery, first=request.first):
                await self._note_sent(request.arrival.message.id, number, sent_id)
                ids.append(sent_id)
                number += 1
        except DeliveryError as error:
            answer.set_error(error)
        else:
            answer.set_result(tuple(ids))

    async def _note_sent(self, message_id: MessageId, number: int, sent_id: MessageId) -> None:
        if self._journal is None:
            return
        try:
            await self._journal.part_sent(message_id, number, sent_id)
        except StoreError as error:  # sending it again after a crash would show it once all the same
            self.context.log.warning("sent_not_noted", error=str(error))

    async def _respond(self, request: Respond, answer: Responder[None]) -> None:
        try:
            await self._transport.answer(request.invocation, request.answer)
        except DeliveryError as error:
            answer.set_error(error)
        else:
            answer.set_result(None)


def _dropped(arrival: Arrival) -> Outcome:
    decision = Decision(speak=False, reason=Reason.OVERLOADED, detail="too many messages were waiting")
    return Outcome(arrival=arrival, decision=decision, result="dropped: too many messages were waiting")
