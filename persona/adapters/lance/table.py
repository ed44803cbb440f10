"""The shape of the table and the way rows get in and out of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from persona.adapters.lance.ranking import worth_remembering
from persona.domain.chat import AuthorId, ChannelId, Message, MessageId, Recollection
from persona.ports import MemoryChange, MemoryOp, VectorSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

TABLE = "messages"
"""The table of words alone; one with vectors carries the model and their length behind this name."""

FORMAT_KEY = b"persona.memory"
MODEL_KEY = b"persona.memory.model"
FORMAT = b"1"
"""Written into the table; a table without it is not ours, one with another number is started anew."""

COLUMNS = pa.schema(
    [
        pa.field("message_id", pa.int64(), nullable=False),
        pa.field("channel_id", pa.int64(), nullable=False),
        pa.field("author_id", pa.int64(), nullable=False),
        pa.field("author_name", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("created_at", pa.int64(), nullable=False),
    ],
    metadata={FORMAT_KEY: FORMAT},
)
"""`created_at` is in milliseconds since 1970, UTC. More columns may follow as long as they are nullable."""

EMBEDDED = "embedded"
VECTOR = "vector"
"""The two further columns of a table with vectors; `embedded` is cheap to look for, `vector` is not."""

_SLUG_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message as it stands in the table."""

    message_id: int
    channel_id: int
    author_id: int
    author_name: str
    text: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a batch of changes comes to: the rows that must be there afterwards, and the ids that must not."""

    rows: dict[int, Row]
    gone: frozenset[int]

    @property
    def ids(self) -> list[int]:
        """Every message the batch speaks of."""
        return [*self.rows, *self.gone]


def name_of(space: VectorSpace | None) -> str:
    """Return the name of the table for a space: `messages_<model>_<dimensions>`."""
    if space is None:
        return TABLE
    slug = re.sub("[^a-z0-9]+", "-", space.model_id.lower()).strip("-")[:_SLUG_CHARACTERS]
    return f"{TABLE}_{slug}_{space.dimensions}"


def is_ours(name: str) -> bool:
    """Whether a table has a name that we would give."""
    return name == TABLE or name.startswith(f"{TABLE}_")


def schema_of(space: VectorSpace | None) -> pa.Schema:
    """Return the columns of a table: those of words, and for a space the vector beside them."""
    if space is None:
        return COLUMNS
    fields = [
        *COLUMNS,
        pa.field(EMBEDDED, pa.bool_(), nullable=False),
        pa.field(VECTOR, pa.list_(pa.float32(), space.dimensions)),
    ]
    return pa.schema(fields, metadata={FORMAT_KEY: FORMAT, MODEL_KEY: space.model_id.encode()})


def space_of(schema: pa.Schema) -> VectorSpace | None:
    """Return the space that a table of ours was made for."""
    model = (schema.metadata or {}).get(MODEL_KEY)
    position = schema.get_field_index(VECTOR)
    if model is None or position < 0:
        return None
    return VectorSpace(model_id=model.decode(), dimensions=schema.field(position).type.list_size)


class ForeignTableError(Exception):
    """The table is readable but was made by something else."""


class UnusableTableError(Exception):
    """The table is ours but cannot be used as it is."""


def plan_of(changes: Iterable[MemoryChange]) -> Plan:
    """Boil changes down to one per message, the last; what is not worth remembering must not be there."""
    last = {change.message_id: change for change in changes}
    rows: dict[int, Row] = {}
    for change in last.values():
        message = change.message
        if change.op is MemoryOp.PUT and message is not None and worth_remembering(message):
            rows[int(message.id)] = row_of(message)
    return Plan(rows=rows, gone=frozenset(int(i) for i in last if int(i) not in rows))


def row_of(message: Message) -> Row:
    """Return the row of a message. Lone surrogates, which no UTF-8 column takes, become question marks."""
    return Row(
        message_id=int(message.id),
        channel_id=int(message.channel_id),
        author_id=int(message.author.id),
        author_name=_encodable(message.author.display_name or message.author.name),
        text=_encodable(message.content),
        created_at=round(message.created_at.timestamp() * 1000),
    )


def batch_of(
    rows: Sequence[Row], space: VectorSpace | None = None, vectors: "Mapping[str, Vector] | None" = None
) -> pa.RecordBatch:
    """Return rows as one Arrow batch in the schema of a space, with the vectors that are known by text."""
    columns = [pa.array(list(map(attrgetter(field.name), rows)), type=field.type) for field in COLUMNS]
    schema = schema_of(space)
    if space is not None:
        known = vectors or {}
        found = [known.get(row.text) for row in rows]
        columns += [pa.array([v is not None for v in found]), _vector_column(found, space.dimensions)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _vector_column(vectors: "Sequence[Vector | None]", dimensions: int) -> pa.Array:
    numbers = np.zeros((len(vectors), dimensions), dtype=np.float32)
    missing = np.array([vector is None for vector in vectors], dtype=bool)
    for position, vector in enumerate(vectors):
        if vector is not None:
            numbers[position] = vector
    flat = pa.array(numbers.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, dimensions, mask=pa.array(missing))


def recollection_of(row: Row, score: float) -> Recollection:
    """Turn a row into what the caller gets."""
    return Recollection(
        message_id=MessageId(row.message_id),
        channel_id=ChannelId(row.channel_id),
        author_name=row.author_name,
        text=row.text,
        created_at=datetime.fromtimestamp(row.created_at / 1000, tz=UTC),
        score=score,
    )


def check_schema(schema: pa.Schema, space: VectorSpace | None = None) -> None:
    """Check that a table is ours, of this format and space (any without one), and has its columns.

    Further columns must be nullable.

    Raises:
        ForeignTableError: something else made it.
        UnusableTableError: it is ours, in another format.
    """
    found = (schema.metadata or {}).get(FORMAT_KEY)
    if found is None:
        raise ForeignTableError("it does not carry this program's mark")
    if found != FORMAT:
        raise UnusableTableError(f"format {found!r}, this program writes {FORMAT!r}")
    held = space_of(schema)
    if space is not None and held != space:
        raise UnusableTableError(f"its vectors are of {held}, not of {space}")
    wanted = schema_of(held)
    for field in wanted:
        position = schema.get_field_index(field.name)
        if position < 0 or schema.field(position).type != field.type:
            raise UnusableTableError(f"column {field.name} is missing or of another type")
    for field in schema:
        if wanted.get_field_index(field.name) < 0 and not field.nullable:
            raise UnusableTableError(f"column {field.name} must be nullable")


def where(
    *,
    channel_ids: Iterable[ChannelId] = (),
    exclude: Iterable[MessageId] = (),
    exclude_authors: Iterable[AuthorId] = (),
) -> str:
    """Return the filter for a search, with every id as a plain integer literal; empty when nothing is filtered."""
    terms = []
    if ids := id_list(channel_ids):
        terms.append(f"channel_id IN ({ids})")
    if ids := id_list(exclude):
        terms.append(f"message_id NOT IN ({ids})")
    if ids := id_list(exclude_authors):
        terms.append(f"author_id NOT IN ({ids})")
    return " AND ".join(terms)


def since(channel_id: int, message_id: int) -> str:
    """Return the filter for a channel's messages from one on."""
    return f"channel_id = {int(channel_id)} AND message_id >= {int(message_id)}"


def id_list(ids: Iterable[int]) -> str:
    """Return ids for an `IN (...)`, in order, so that equal sets give equal filters."""
    return ", ".join(str(int(i)) for i in sorted(ids))


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
