"""Who may use which command.

Everybody may use the public ones. The admin ones are of two kinds. What concerns one server alone (mutes, its
channels, its history) takes one of that server's own admins: its owner, or Discord's Manage Server permission.
What concerns every server that the bot is on (settings, the state of the process, starting anew) takes one of the bot's
keepers: its owner, or an id or a role named in config.toml. Keepers may do the first kind everywhere, too. Where the
bot is on one server only, there is no other server to be concerned, and that server's admins may do everything.

Webhooks and bots may use none, and get no answer: two programs that answer each other do not stop. In a direct message
there is no server whose settings could be meant, and a person's rights are not known there: only the commands about
one's own data work, and choices made there hold on every server.
"""

from dataclasses import dataclass

from persona.domain.chat import Channel, ChannelKind
from persona.domain.commands import COMMANDS, Audience, Caller, CommandSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRules:
    """Who may use the admin commands beside the bot's owner and those who may manage the server."""

    author_ids: frozenset[int] = frozenset()
    role_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether somebody may use a command; `why` is a sentence, "" when they get no answer at all."""

    allowed: bool
    why: str


NO_ADMIN = (
    "Only the people who look after this server may use that command: its owner, whoever may manage it, "
    "and the bot's owner and admins."
)
NO_KEEPER = (
    "The bot is on several servers, and that command concerns them all: only the bot's owner and the admins that its "
    "config.toml names may use it."
)
NOT_HERE = "That command works on a server only; here there are: {names}."


def is_machine(caller: Caller) -> bool:
    """Say whether a command comes from a bot or a webhook: it is neither carried out nor answered."""
    return caller.is_webhook or caller.author.is_bot


def is_admin(caller: Caller, rules: AdminRules) -> bool:
    """Say whether somebody may use the commands that concern the server they are on."""
    return not is_machine(caller) and (caller.may_manage or is_keeper(caller, rules))


def is_keeper(caller: Caller, rules: AdminRules) -> bool:
    """Say whether somebody may use the commands that concern every server the bot is on."""
    if is_machine(caller):
        return False
    named = caller.author.id in rules.author_ids or bool(caller.role_ids & rules.role_ids)
    return caller.is_owner or named or (caller.may_manage and caller.only_server)


def may_use(spec: CommandSpec, caller: Caller, rules: AdminRules, *, direct: bool = False) -> Verdict:
    """Decide whether somebody may use a command; `direct` in a direct message. Why: see the module."""
    if is_machine(caller):
        return Verdict(allowed=False, why="")
    if direct and not spec.direct:
        names = ", ".join(f"/{each.name}" for each in COMMANDS if each.direct)
        return Verdict(allowed=False, why=NOT_HERE.format(names=names))
    if spec.audience is Audience.ADMIN and not is_admin(caller, rules):
        return Verdict(allowed=False, why=NO_ADMIN)
    if spec.everywhere and not is_keeper(caller, rules):
        return Verdict(allowed=False, why=NO_KEEPER)
    return Verdict(allowed=True, why="")


def is_direct(channel: Channel) -> bool:
    """Say whether a channel is a direct message."""
    return channel.kind is ChannelKind.DIRECT
