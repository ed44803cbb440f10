"""The message store in SQLite: one file, WAL, numbered migrations, every write one transaction."""

from persona.adapters.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
