"""The door to the transport: what is heard goes to ingest and responder, what is said goes out."""

import asyncio
from collections.abc import Callable

import structlog

from actors.kernel import LATER, Actor, ActorRef, Responder
from actors.messages import Handled, MessageArrived, Ping, SendReply
from persona.domain.chat import MessageId
from persona.domain.speaking import Decision, Reason
from persona.ports import Arrival, Outcome, Transport


class GatewayActor(Actor):
    """Listens to a transport; calls `ended` once the transport has nothing more to say."""

    def __init__(
        self, *, transport: Transport, ingest: ActorRef, responder: ActorRef, ended: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._ingest = ingest
        self._responder = responder
        self._ended = ended

    async def started(self) -> None:
        """Listen from now on."""
        self.spawn(self._listen(), name="listen")

    async def stopping(self) -> None:
        """Let the transport finish what it is sending."""
        await self._transport.close()

    async def receive(self, message: object) -> object:
        """Deliver replies without keeping later ones waiting; pass outcomes on."""
        match message:
            case SendReply() as request:
                self.spawn(self._send(request, self.respond_later()), name=f"send to {request.arrival.channel.id}")
                return LATER
            case Handled(outcome=outcome):
                await self._transport.report(outcome)
            case Ping():
                return "listening"
        return None

    async def _listen(self) -> None:
        async for arrival in self._transport.listen():
            with structlog.contextvars.bound_contextvars(message_id=arrival.message.id):
                self._hear(arrival)
        self._ended()
        await asyncio.Event().wait()  # the end of input is not the end of sending

    def _hear(self, arrival: Arrival) -> None:
        arrived = MessageArrived(arrival=arrival)
        self._ingest.tell(arrived)
        if not self._responder.tell(arrived):
            self.spawn(self._transport.report(_dropped(arrival)), name="report a drop")

    async def _send(self, request: SendReply, answer: Responder[tuple[MessageId, ...]]) -> None:
        answer.set_result(await self._transport.send(request.arrival, request.delivery))


def _dropped(arrival: Arrival) -> Outcome:
    decision = Decision(speak=False, reason=Reason.OVERLOADED, detail="too many messages were waiting")
    return Outcome(arrival=arrival, decision=decision, result="dropped: too many messages were waiting")
