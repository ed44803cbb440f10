"""Carries out the commands that people give on the server, and answers each with one clear sentence or more."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from actors.commanding.admin import AdminCommands
from actors.commanding.data import DataCommands, MyData
from actors.commanding.fetch import FetchCommand
from actors.commanding.quiz import QuizCommands
from actors.commanding.status import StatusCommand, StatusReport
from actors.commanding.support import ChannelSwitch, Done, RefusedError, RuntimeSettings, done
from actors.kernel import Actor, ActorCrashed, ActorRef, ActorStopped, AskTimeout
from actors.messages import Ping, Respond
from persona.domain.command_rights import AdminRules, is_direct, is_machine, may_use
from persona.domain.command_texts import AboutBot, help_text
from persona.domain.commands import COMMANDS, Answer, Audience, CommandSpec, Invocation, Via, find_command
from persona.errors import PersonaError, StoreError, UsageError
from persona.ports import AuditEntry, CommandInvoked, ConsentLedger, Desk, IngestProgress, MessageStore

__all__ = ["CommandsActor", "StatusReport"]

_RESPOND_SECONDS = 90.0
_MOST_AT_ONCE = 64
_MOST_REPEATED = 4
_DETAIL_CHARACTERS = 200
_FAILED = "That failed; the log says why."
_BUSY = "Too many commands at once: try again in a moment."
_STILL_AT_IT = "That is still being done."

Handler = Callable[[Invocation], Awaitable[Done]]


class CommandsActor(Actor):
    """Executes invocations, each in a task of its own: a long one keeps nobody waiting.

    A command that fails unexpectedly is answered and logged with its traceback, and the actor lives on: everything
    that lasts is in the store, so a restart would mend nothing, but would break off what others are waiting for.
    Refusals and changes by admins go to the audit trail; bots and webhooks get no answer and leave no trace but a log
    line, so that no machine can fill the trail or talk with the persona in circles.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        ledger: ConsentLedger,
        store: MessageStore,
        progress: IngestProgress,
        live: RuntimeSettings,
        allow_list: ChannelSwitch,
        gateway: ActorRef,
        ingest: ActorRef,
        responder: ActorRef,
        mydata: MyData,
        quiz: QuizCommands,
        status: Callable[[], StatusReport],
        restart: Callable[[], None],
        rules: AdminRules,
        about: AboutBot,
        memory: bool = True,
        progress_seconds: float = 2.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._desk = desk
        self._gateway = gateway
        self._rules = rules
        self._about = about
        self._now = now
        self._running: set[tuple[int, str, int]] = set()
        admin = AdminCommands(
            desk=desk,
            store=store,
            progress=progress,
            live=live,
            allow_list=allow_list,
            ingest=ingest,
            responder=responder,
            restart=restart,
            now=now,
        )
        data = DataCommands(
            ledger=ledger,
            store=store,
            ingest=ingest,
            mydata=mydata,
            rules=rules,
            about=about,
            memory=memory,
            now=now,
        )
        self._fetch = FetchCommand(
            ingest=ingest, store=store, allow_list=allow_list, rules=rules, every=progress_seconds
        )
        report = StatusCommand(
            desk=desk, store=store, progress=progress, gateway=gateway, ingest=ingest, report=status, now=now
        )
        self._handlers: Mapping[str, Handler] = {
            **admin.handlers(),
            **data.handlers(),
            **quiz.handlers(),
            "fetch": self._run_fetch,
            "status": report.run,
            "help": self._help,
        }

    async def receive(self, message: object) -> object:
        """Take an invocation; answer pings."""
        match message:
            case CommandInvoked(invocation=invocation):
                self._take(invocation)
            case Ping():
                return self.describe()
        return None

    def describe(self) -> str:
        """Say how many commands are being carried out."""
        return f"{len(self._running)} commands running" if self._running else "idle"

    def _take(self, invocation: Invocation) -> None:
        """Begin with a command, unless its caller waits for the same one already, or several of a quick one."""
        if is_machine(invocation.caller):
            self.context.log.info("command_of_a_bot_ignored", command=invocation.command)
            return
        spec = find_command(invocation.command)
        only = invocation.id if spec is not None and spec.repeatable else 0
        key = (invocation.caller.author.id, invocation.command, only)
        name = f"{invocation.command} {invocation.id}"
        same = sum(one[:2] == key[:2] for one in self._running)
        waits = key in self._running or same >= _MOST_REPEATED
        if waits or len(self._running) >= _MOST_AT_ONCE:
            text = _STILL_AT_IT if waits else _BUSY
            self.spawn(self._show(invocation, Answer(text=text)), name=f"turn away {name}")
            return
        self._running.add(key)
        self.spawn(self._work(invocation, key), name=name)

    async def _work(self, invocation: Invocation, key: tuple[int, str, int]) -> None:
        try:
            await self._execute(invocation)
        finally:
            self._running.discard(key)

    async def _execute(self, invocation: Invocation) -> None:
        """Check, carry out, write down, answer."""
        spec = find_command(invocation.command)
        if spec is None:
            await self._show(invocation, Answer(text="That command is gone; `/help` lists what there is."))
            return
        verdict = may_use(spec, invocation.caller, self._rules, direct=is_direct(invocation.channel))
        if not verdict.allowed:
            if spec.audience is Audience.ADMIN:
                await self._audit(spec, invocation, "refused: not permitted")
            await self._show(invocation, Answer(text=verdict.why))
            return
        result = await self._result(spec, invocation)
        if _is_audited(spec, invocation, result):
            await self._audit(spec, invocation, result.outcome)
        await self._show(invocation, result.answer)
        if result.then is not None:
            result.then()

    async def _result(self, spec: CommandSpec, invocation: Invocation) -> Done:
        """Carry out a permitted command; whatever goes wrong is an answer."""
        if invocation.problem:
            return done(invocation.problem, outcome="refused: wrongly written")
        meant = replace(invocation, command=spec.meaning, options={**spec.adding, **invocation.options})
        try:
            return await self._handlers[spec.meaning](meant)
        except PersonaError as error:
            return self._not_done(spec, error)
        except Exception as error:  # answered and logged: see the class
            self.context.log.exception("command_crashed", command=spec.name)
            return done(_FAILED, outcome=f"failed: {type(error).__name__}")

    def _not_done(self, spec: CommandSpec, error: PersonaError) -> Done:
        """Return the answer to a command that came to nothing for a reason that is known."""
        match error:
            case RefusedError():
                return done(str(error), outcome=f"refused: {error}")
            case UsageError():  # its words repeat the value: for the answer alone
                return done(_sentence(str(error)), outcome="refused: not a value it can have")
            case StoreError():
                self.context.log.error("command_failed", command=spec.name, reason=str(error))
                return done(_FAILED, outcome=f"failed: {error}")
        self.context.log.warning("command_not_done", command=spec.name, reason=str(error))
        return done(_sentence(str(error)), outcome=f"failed: {error}")

    async def _run_fetch(self, invocation: Invocation) -> Done:
        async def show(answer: Answer) -> bool:
            return await self._show(invocation, answer)

        return await self._fetch.run(invocation, show)

    async def _help(self, invocation: Invocation) -> Done:
        usable = [spec for spec in COMMANDS if may_use(spec, invocation.caller, self._rules).allowed]
        if invocation.via is Via.PREFIX:  # everybody reads it: what everybody may use
            usable = [spec for spec in usable if spec.audience is Audience.PUBLIC]
        return done(help_text(usable, self._about))

    async def _show(self, invocation: Invocation, answer: Answer) -> bool:
        """Show an answer; that it cannot be shown is logged and changes nothing."""
        try:
            await self._gateway.ask(Respond(invocation=invocation, answer=answer), timeout=_RESPOND_SECONDS)
        except (AskTimeout, ActorCrashed, ActorStopped, PersonaError) as error:
            self.context.log.warning("answer_not_shown", command=invocation.command, reason=str(error))
            return False
        return True

    async def _audit(self, spec: CommandSpec, invocation: Invocation, outcome: str) -> None:
        """Write down who did what; what cannot be written is logged at least.

        Of what was refused or failed, only that: its values can be anything that somebody typed.
        """
        carried_out = not outcome.startswith(("refused", "failed"))
        values = invocation.options if carried_out else {}
        given = " ".join(f"{name}={value}" for name, value in values.items())
        entry = AuditEntry(
            at=self._now(),
            author_id=invocation.caller.author.id,
            command=spec.name,
            detail=f"{given} in {invocation.channel.id}".strip()[:_DETAIL_CHARACTERS],
            outcome=outcome[:_DETAIL_CHARACTERS],
        )
        self.context.log.info(
            "command", command=entry.command, by=entry.author_id, detail=entry.detail, outcome=entry.outcome
        )
        try:
            await self._desk.audit(entry)
        except StoreError as error:
            self.context.log.warning("audit_not_written", command=spec.name, reason=str(error))


def _is_audited(spec: CommandSpec, invocation: Invocation, result: Done) -> bool:
    """Changes are written down, and what was refused; looking at a table is not; nor what people do with their own."""
    if result.outcome == "shown":
        return False
    if invocation.via is Via.MENU:
        return invocation.target_author != invocation.caller.author.id
    return spec.changes


def _sentence(text: str) -> str:
    """Return an error's text as a sentence."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "!", "?", "`")) else whole + "."
