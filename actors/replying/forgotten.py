"""What was forgotten a moment ago: words that are still on their way must not be heard any more."""

from collections.abc import Iterable
from datetime import datetime

from actors.replying.lanes import RecentIds
from persona.domain.chat import AuthorId, Message, MessageId


class Forgotten:
    """People, by the time when they asked for it, and single messages; the store refuses the same things."""

    def __init__(self) -> None:
        self._people: dict[AuthorId, datetime] = {}
        self._messages = RecentIds()

    def person(self, author_id: AuthorId, at: datetime) -> None:
        """Forget what a person said until a time."""
        self._people[author_id] = at

    def messages(self, message_ids: Iterable[MessageId]) -> None:
        """Forget single messages."""
        for message_id in message_ids:
            self._messages.add(message_id)

    def covers(self, message: Message) -> bool:
        """Say whether a message is forgotten."""
        at = self._people.get(message.author.id)
        return message.id in self._messages or (at is not None and message.created_at <= at)
