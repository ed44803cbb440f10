"""The door to the transport: what happens there is told to those concerned, what is said goes out."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from actors.kernel import LATER, Actor, ActorRef, Responder
from actors.messages import FitReply, Handled, MessageArrived, Missed, Ping, Respond, SendReply
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

    What the responder has no room for waits in `late`, in order, up to `late_limit` messages; whoever builds gateways
    keeps that queue, so that it is there for the next one after a crash. What ingest has no room for is never overtaken
    by what comes later: a watermark would move over the gap.

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
        late: deque[object] | None = None,
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
        self._owed: deque[object] = deque()
        self._late: deque[object] = deque() if late is None else late
        self._late_limit = late_limit

    async def started(self) -> None:
        """Listen from now on; tell the responder what an earlier gateway could not."""
        if self._late and self._responder is not None:
            self.spawn(self._tell_late(self._responder), name="tell the responder what is late")
        self.spawn(self._listen(), name="listen")

    async def stopping(self) -> None:
        """Let the transport finish what it is sending."""
        self._stopping = True
        await self._transport.close()

    async def receive(self, message: object) -> object:
        """Deliver replies and answers without keeping later ones waiting; pass outcomes on."""
        match message:
            case FitReply(arrival=arrival, delivery=delivery):
                return self._transport.fitted(arrival, delivery)
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
        if self._in_debt or not self._ingest.tell(message):
            self._owe(None, {channel_id})

    def _make_sure(self, message: object) -> None:
        """Tell ingest what no history would tell it again."""
        if self._in_debt or not self._ingest.tell(message):
            self._owe(message, set())

    @property
    def _in_debt(self) -> bool:
        """Whether ingest is yet to be told something: what comes now has to wait behind it."""
        return bool(self._owed or self._missed)

    def _owe(self, message: object, missed: set[ChannelId]) -> None:
        """Keep it until there is room; of a channel that lost something, everything is lost until ingest knows."""
        if not self._in_debt:
            self.spawn(self._pay(), name="tell ingest what it missed")
        self._missed |= missed
        if message is not None:
            self._owed.append(message)

    async def _pay(self) -> None:
        """Tell ingest of gaps first: what is owed may be a new session, which makes up for some of them."""
        while self._in_debt:
            if self._missed:
                missed = frozenset(self._missed)
                await self._ingest.send(Missed(channel_ids=missed))
                self._missed -= missed
            elif self._owed:
                await self._ingest.send(self._owed[0])
                self._owed.popleft()

    # --- speaking ---

    async def _send(self, request: SendReply, answer: Responder[tuple[MessageId, ...]]) -> None:
        """Step 10: deliver a reply message by message; each is written down as soon as it is out."""
        ids: list[MessageId] = []
        number = request.first
        try:
            sending = self._transport.send(
                request.arrival, request.delivery, first=request.first, objection=request.objection
            )
            async for sent_id in sending:
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
