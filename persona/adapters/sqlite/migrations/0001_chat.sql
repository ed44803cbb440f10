-- What was said. Times are microseconds since 1970 in UTC; ids are Discord's snowflakes.

CREATE TABLE guilds (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;

-- `watermark`: history is stored without a gap up to this message id; NULL when nothing is known about gaps.
CREATE TABLE channels (
    id        INTEGER PRIMARY KEY,
    guild_id  INTEGER NOT NULL,
    name      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    parent_id INTEGER,
    topic     TEXT NOT NULL,
    allowed   INTEGER NOT NULL DEFAULT 0 CHECK (allowed IN (0, 1)),
    watermark INTEGER
) STRICT;

-- The names a person had at their newest message: `named_at` is its id.
CREATE TABLE authors (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    display_name TEXT NOT NULL,
    is_bot       INTEGER NOT NULL CHECK (is_bot IN (0, 1)),
    named_at     INTEGER NOT NULL
) STRICT;

-- `mentions` is a JSON list of author ids, `attachments` one of [kind, name, size, description]; '' when empty.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    channel_id  INTEGER NOT NULL,
    author_id   INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    content     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    edited_at   INTEGER,
    reply_to    INTEGER,
    mentions    TEXT NOT NULL,
    attachments TEXT NOT NULL,
    pinned      INTEGER NOT NULL CHECK (pinned IN (0, 1))
) STRICT;

CREATE INDEX messages_by_channel ON messages (channel_id, id);

-- Edits that came before their message did; applied and forgotten when it arrives.
CREATE TABLE edits (
    message_id INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    content    TEXT NOT NULL,
    edited_at  INTEGER NOT NULL
) STRICT;

-- Ids that must never come back.
CREATE TABLE tombstones (
    message_id INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

CREATE TABLE reactions (
    message_id INTEGER NOT NULL,
    emoji      TEXT NOT NULL,
    count      INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (message_id, emoji)
) STRICT, WITHOUT ROWID;

-- What the memory has yet to follow. AUTOINCREMENT: a confirmed sequence number is never given out again.
CREATE TABLE memory_outbox (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id INTEGER NOT NULL,
    op         TEXT NOT NULL CHECK (op IN ('put', 'remove'))
) STRICT;
