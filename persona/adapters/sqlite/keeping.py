"""Who may be kept: consent and forgetting as they stand inside a write transaction, for the people in one batch."""

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from persona.adapters.sqlite.rows import to_micros
from persona.domain.chat import Author, AuthorId, Edit, GuildId, Message, snowflake_time
from persona.domain.consent import Choice, choice_on

_AMONG = "IN (SELECT value FROM json_each(?))"
# In the order in which entries count: the newest choice of a person and server is the last one.
_CHOICES = f"""SELECT author_id, guild_id, choice FROM consent WHERE scope = 'store' AND author_id {_AMONG}
    ORDER BY at, sequence"""  # noqa: S608 - fixed text
_FORGOTTEN = f"SELECT author_id, at FROM forgotten_authors WHERE author_id {_AMONG}"  # noqa: S608
_ANYONE = """SELECT EXISTS (SELECT 1 FROM consent WHERE scope = 'store' AND choice = 'no')
    OR EXISTS (SELECT 1 FROM forgotten_authors)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What may not be kept of some people. `anyone`: there is somebody in the whole store whom this concerns."""

    anyone: bool = False
    choices: Mapping[int, Mapping[GuildId, Choice]] = field(default_factory=dict)
    forgotten: Mapping[int, int] = field(default_factory=dict)
    guilds: Mapping[int, int] = field(default_factory=dict)

    def opted_out(self, author_id: int, channel_id: int) -> bool:
        """Whether a person does not want to be stored on the server of a channel."""
        choices = self.choices.get(author_id)
        return choices is not None and choice_on(choices, GuildId(self.guilds.get(channel_id, 0))) is Choice.NO

    def is_past(self, author_id: int, said_at: int) -> bool:
        """Whether something said at a time (microseconds since 1970) belongs to what was forgotten of a person."""
        return said_at <= self.forgotten.get(author_id, -1)

    def refuses(self, message: Message) -> bool:
        """Whether a message may not be stored."""
        author_id = message.author.id
        return self.anyone and (
            self.opted_out(author_id, message.channel_id) or self.is_past(author_id, to_micros(message.created_at))
        )

    def refuses_name(self, person: Author, channel_id: int, said_at: int) -> bool:
        """Whether a name may not be stored that came with a message, of its writer or of somebody it mentions."""
        return self.anyone and (self.opted_out(person.id, channel_id) or self.is_past(person.id, said_at))

    def refuses_early(self, edit: Edit) -> bool:
        """Whether an edit may not wait for its message. One of an unknown writer waits only where it harms nobody."""
        if not self.anyone:
            return False
        if edit.author_id is None:
            return True
        said_at = to_micros(snowflake_time(edit.message_id))
        return self.opted_out(edit.author_id, edit.channel_id) or self.is_past(edit.author_id, said_at)


def keeping(connection: sqlite3.Connection, people: Collection[int]) -> Keeping:
    """Return what holds for these people now; cheap while nobody has opted out or was forgotten."""
    (anyone,) = connection.execute(_ANYONE).fetchone()
    if not anyone:
        return Keeping()
    asked = (json.dumps(sorted(set(people))),)
    choices: dict[int, dict[GuildId, Choice]] = {}
    for author_id, guild_id, choice in connection.execute(_CHOICES, asked):
        choices.setdefault(author_id, {})[GuildId(guild_id)] = Choice(choice)
    refusing = {key: value for key, value in choices.items() if Choice.NO in value.values()}
    guilds = dict(connection.execute("SELECT id, guild_id FROM channels")) if refusing else {}
    forgotten = dict(connection.execute(_FORGOTTEN, asked))
    return Keeping(anyone=True, choices=refusing, forgotten=forgotten, guilds=guilds)


def people_of(messages: Collection[Message]) -> set[AuthorId]:
    """Return the ids of everyone who wrote or is mentioned in messages."""
    return {person.id for message in messages for person in (message.author, *message.mentions)}
