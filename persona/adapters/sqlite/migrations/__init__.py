"""Ordered migrations: files named NNNN_topic.sql, each applied in its own transaction."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

APPLICATION_ID = 0x50525341
"""'PRSA' in the file header: this is a Persona database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step from version `number - 1` to `number`."""

    number: int
    name: str
    statements: tuple[str, ...]


def load_migrations() -> tuple[Migration, ...]:
    """Return the migrations in order.

    Raises:
        ValueError: the numbers are not 1, 2, 3, ...: a file is missing, doubled or misnamed.
    """
    files = sorted(
        (file for file in resources.files(__name__).iterdir() if file.name.endswith(".sql")), key=lambda f: f.name
    )
    found = tuple(
        Migration(
            number=int(file.name.partition("_")[0]),
            name=file.name.removesuffix(".sql"),
            statements=split_statements(file.read_text(encoding="utf-8")),
        )
        for file in files
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, 3, ...: {[migration.name for migration in found]}")
    return found


def split_statements(script: str) -> tuple[str, ...]:
    """Split a script into statements; `executescript` would commit behind the back of a transaction.

    A statement ends with a line that ends in a semicolon and makes it complete (triggers hold semicolons inside).
    """
    statements: list[str] = []
    lines: list[str] = []
    for line in script.splitlines():
        if not lines and (not line.strip() or line.lstrip().startswith("--")):
            continue
        lines.append(line)
        text = "\n".join(lines)
        if sqlite3.complete_statement(text):
            statements.append(text)
            lines.clear()
    if lines:
        raise ValueError(f"unfinished statement: {lines[0]}")
    return tuple(statements)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """Bring a database up to date, one transaction for each step; return how many steps it took.

    The version is read again inside each transaction, so two processes that start together do not both migrate.
    """
    taken = 0
    for migration in migrations:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < migration.number:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {migration.number}")
                taken += 1
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return taken
