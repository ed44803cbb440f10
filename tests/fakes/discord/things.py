"""Discord's objects as dictionaries in its own JSON form, with their fields as attributes for the tests."""

from typing import Any


class Thing(dict[str, Any]):
    """A user, channel, role or message: `thing["id"]` and `thing.id` are the same text."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        """Return a field; dictionaries below are things, too."""
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(name) from None
        return Thing(value) if type(value) is dict else value


class SaidThing(Thing):
    """A message, with what tests ask of it most."""

    @property
    def reference(self) -> int | None:
        """The id of the message that it replies to."""
        found = (self.get("message_reference") or {}).get("message_id")
        return None if found is None else int(found)

    @property
    def author_id(self) -> str:
        """Who wrote it."""
        return str(self["author"]["id"])


def id_text(thing: Any) -> str:
    """Return the id of a thing, or the id itself, as text."""
    return str(thing["id"] if isinstance(thing, dict) else thing)
