"""What was said in each channel, sorted by id, with its JSON at hand: a page of history costs a slice."""

import bisect
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.fakes.discord.things import SaidThing

Shown = Callable[[SaidThing], dict[str, Any]]


class Talk:
    """The messages of one channel; `shown` gives the form in which REST sends them."""

    def __init__(self, shown: Shown) -> None:
        self.said: dict[int, SaidThing] = {}
        self._order: list[int] = []
        self._json: dict[int, bytes] = {}
        self.shown = shown

    def __iter__(self) -> Iterator[SaidThing]:
        """Oldest first."""
        return (self.said[number] for number in self._order)

    @property
    def last_id(self) -> str | None:
        """The newest message that stands."""
        return str(self._order[-1]) if self._order else None

    def add(self, message: SaidThing) -> None:
        """Put a message in its place."""
        number = int(message["id"])
        if self._order and self._order[-1] > number:
            bisect.insort(self._order, number)
        else:
            self._order.append(number)
        self.said[number] = message

    def remove(self, message_id: str) -> SaidThing | None:
        """Take a message out; None when there is no such."""
        number = int(message_id)
        found = self.said.pop(number, None)
        if found is not None:
            del self._order[bisect.bisect_left(self._order, number)]
            self._json.pop(number, None)
        return found

    def changed(self, message_id: str) -> None:
        """Forget the JSON of a message that is not what it was."""
        self._json.pop(int(message_id), None)

    def json(self, message: SaidThing) -> bytes:
        """Return a message as REST sends it."""
        number = int(message["id"])
        found = self._json.get(number)
        if found is None:
            found = self._json[number] = json.dumps(self.shown(message)).encode()
        return found

    def page(
        self, limit: int, *, before: int | None = None, after: int | None = None, around: int | None = None
    ) -> list[SaidThing]:
        """Return at most `limit` messages as Discord does: the newest first, with `after`, too."""
        order = self._order
        if after is not None:
            start = bisect.bisect_right(order, after)
            chosen = order[start : start + limit]
        elif around is not None:
            middle = bisect.bisect_left(order, around)
            chosen = order[max(0, middle - limit // 2) :][:limit]
        else:
            end = len(order) if before is None else bisect.bisect_left(order, before)
            chosen = order[max(0, end - limit) : end]
        return [self.said[number] for number in reversed(chosen)]
