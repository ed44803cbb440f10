"""The commands about one's own data: what is kept, consent, forgetting."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from actors.commanding.support import Done, RefusedError, asked, can_press, done
from actors.kernel import ActorRef
from actors.messages import Forget
from persona.domain.chat import AuthorId
from persona.domain.command_rights import AdminRules, is_admin, is_direct
from persona.domain.command_texts import (
    CONSENT_CARD,
    FORGET_FIRST,
    AboutBot,
    botdata_text,
    standing_text,
)
from persona.domain.commands import (
    EVERYTHING,
    STORING,
    TRAINING,
    Answer,
    Button,
    File,
    Invocation,
    Via,
)
from persona.domain.consent import Choice, Entry, Scope, Source
from persona.ports import ConsentLedger, MessageStore

MyData = Callable[[AuthorId], Awaitable[tuple[bytes, ...]]]
"""Gives everything that is kept of a person as JSON files."""

_FORGET_SECONDS = 600.0
_MOST_FILES = 10

_YES_FOR = {EVERYTHING: (Scope.STORE, Scope.TRAIN), STORING: (Scope.STORE,), TRAINING: (Scope.STORE, Scope.TRAIN)}
"""Whoever may be trained on must be stored, so agreeing to training takes back an earlier no to storing."""

_NO_FOR = {EVERYTHING: (Scope.STORE, Scope.TRAIN), STORING: (Scope.STORE, Scope.TRAIN), TRAINING: (Scope.TRAIN,)}

_OPT_OUT = Button(label="Stop keeping mine", command="optout")
_MY_DATA = Button(label="What is kept of me?", command="mydata")
_OPT_IN = Button(label="You may train on mine", command="optin", style="success")
_FORGET = Button(label="Forget me", command="forget", style="danger")
_FORGET_NOW = Button(label="Forget me for good", command="forget", style="danger", options={"confirm": True})


class DataCommands:
    """Carries them out. In a direct message (server 0) a choice holds on every server."""

    def __init__(
        self,
        *,
        ledger: ConsentLedger,
        store: MessageStore,
        ingest: ActorRef,
        mydata: MyData,
        rules: AdminRules,
        about: AboutBot,
        memory: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._ingest = ingest
        self._mydata = mydata
        self._rules = rules
        self._about = about
        self._memory = memory
        self._now = now

    def handlers(self) -> Mapping[str, Callable[[Invocation], Awaitable[Done]]]:
        """Return what carries out which command."""
        return {
            "botdata": self.botdata,
            "mydata": self.mydata,
            "optin": self.opt_in,
            "optout": self.opt_out,
            "forget": self.forget,
            "consentcard": self.consent_card,
        }

    async def botdata(self, invocation: Invocation) -> Done:
        """Say what is kept, from which channels, why, and for how long."""
        here, direct = invocation.channel.guild_id, is_direct(invocation.channel)
        listed = await self._store.channels(allowed_only=True)
        held = await self._ledger.standing(invocation.caller.author.id, here)
        channels = [channel for channel in listed if channel.guild_id == here]
        # The reader's own standing is nobody else's business: a typed command is answered for all to see.
        shown = held if invocation.via is not Via.PREFIX else None
        return done(botdata_text(self._about, channels, held=shown, memory=self._memory, direct=direct))

    async def mydata(self, invocation: Invocation) -> Done:
        """Hand over everything that is kept of the caller, for their eyes only."""
        if invocation.via is Via.PREFIX and not is_direct(invocation.channel):
            raise RefusedError("That is for your eyes only: use the slash command `/mydata`.")
        parts = await self._mydata(invocation.caller.author.id)
        total = len(parts)
        names = (
            ["mydata.json"] if total == 1 else [f"mydata-{number}-of-{total}.json" for number in range(1, total + 1)]
        )
        files = tuple(File(name=name, content=part) for name, part in zip(names, parts, strict=True))[:_MOST_FILES]
        text = "Here is everything that is kept of you."
        if total > _MOST_FILES:
            text = f"Here is the first part of what is kept of you; for all {total} files ask {self._contact()}."
        return Done(answer=Answer(text=text, files=files))

    async def opt_in(self, invocation: Invocation) -> Done:
        """Agree to being kept, to training, or to both."""
        return await self._choose(invocation, Choice.YES, _YES_FOR)

    async def opt_out(self, invocation: Invocation) -> Done:
        """Refuse being kept, training, or both."""
        return await self._choose(invocation, Choice.NO, _NO_FOR)

    async def forget(self, invocation: Invocation) -> Done:
        """Remove everything of the caller once they confirm, or one message from its menu."""
        if invocation.via is Via.MENU:
            return await self._forget_message(invocation)
        if invocation.options.get("confirm") is not True:
            if can_press(invocation):
                return done(FORGET_FIRST, _FORGET_NOW)
            return done(f"{FORGET_FIRST} If that is what you want, write `{self._about.prefix}forget yes`.")
        request = Forget(author_id=invocation.caller.author.id)
        count = await asked(self._ingest, request, seconds=_FORGET_SECONDS, trouble="Not everything is forgotten yet")
        text = f"Done: {_messages(count)} of yours removed, with all that was made of them. "
        buttons = (_OPT_OUT,) if can_press(invocation) else ()
        return done(text + "What you say from now on is kept again, unless you opt out with `/optout`.", *buttons)

    async def consent_card(self, _invocation: Invocation) -> Done:
        """Post the card with the four choices; its buttons work for whoever presses them, also after a restart."""
        text = CONSENT_CARD.format(name=self._about.name)
        return done(text, _OPT_OUT, _MY_DATA, _FORGET, _OPT_IN, private=False)

    async def _choose(self, invocation: Invocation, choice: Choice, scopes: Mapping[str, tuple[Scope, ...]]) -> Done:
        author_id, here = invocation.caller.author.id, invocation.channel.guild_id
        for scope in scopes[str(invocation.options.get("what", EVERYTHING))]:
            await self._ledger.record(
                Entry(
                    author_id=author_id,
                    scope=scope,
                    choice=choice,
                    at=self._now(),
                    source=Source.COMMAND,
                    guild_id=here,
                    recorded_by=author_id,
                    note=f"{invocation.via.value} command {invocation.id} in channel {invocation.channel.id}",
                )
            )
        held = await self._ledger.standing(author_id, here)
        where = "on every server where you chose nothing else" if is_direct(invocation.channel) else "on this server"
        text = f"Noted. From now on, {where}: {standing_text(held)}"
        if choice is Choice.NO and not held.store:
            text += " What was kept before stays until you use `/forget`."
            return done(text, *((_FORGET,) if can_press(invocation) else ()))
        return done(text)

    async def _forget_message(self, invocation: Invocation) -> Done:
        if invocation.target is None:
            raise RefusedError("That message cannot be found.")
        own = invocation.target_author == invocation.caller.author.id
        if not own and not is_admin(invocation.caller, self._rules):
            raise RefusedError("You can have your own messages forgotten, not those of others.")
        request = Forget(message_ids=frozenset({invocation.target}))
        await asked(self._ingest, request, seconds=_FORGET_SECONDS, trouble="The message is not forgotten yet")
        outcome = "own message" if own else f"message {invocation.target} of {invocation.target_author}"
        text = "That message is forgotten and will not come back. On Discord itself it stays until it is deleted there."
        return done(text, outcome=outcome)

    def _contact(self) -> str:
        return self._about.contact or "the people who look after this server"


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
