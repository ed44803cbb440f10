"""Who may be stored, trained on and forgotten: the rules of consent."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from persona.domain.chat import AuthorId, GuildId


class Scope(StrEnum):
    """What somebody agrees to: being kept (for replies and memory), or training a model on their words."""

    STORE = "store"
    TRAIN = "train"


class Choice(StrEnum):
    """Yes or no; no entry means the default of the scope."""

    YES = "yes"
    NO = "no"


class Source(StrEnum):
    """Where a choice comes from."""

    COMMAND = "command"
    OWNER = "owner"
    EXPORT = "export"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger; `guild_id` 0 means everywhere, `note` says where the agreement can be found."""

    author_id: AuthorId
    scope: Scope
    choice: Choice
    at: datetime
    source: Source
    guild_id: GuildId = GuildId(0)
    recorded_by: AuthorId | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds for one person on one server."""

    store: bool = True
    train: bool = False
