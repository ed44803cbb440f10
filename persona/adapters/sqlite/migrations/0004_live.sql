-- What a life on a server needs: how far history was read, replies on their way, mutes, the audit trail.

ALTER TABLE channels ADD COLUMN fetched_at INTEGER;

-- A row for each message that is to be answered, until its answer is out; `texts` is a JSON list, '' before the draft.
CREATE TABLE pending_replies (
    message_id INTEGER PRIMARY KEY,
    channel_id INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    detail     TEXT NOT NULL,
    addressed  INTEGER NOT NULL CHECK (addressed IN (0, 1)),
    texts      TEXT NOT NULL DEFAULT '',
    sent       INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Which of the persona's own messages answered what: ids only.
CREATE TABLE sent_messages (
    id         INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    number     INTEGER NOT NULL
) STRICT;

CREATE INDEX replies_by_channel ON replies (channel_id, id);

CREATE TABLE mutes (
    channel_id INTEGER PRIMARY KEY,
    until      INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    author_id INTEGER NOT NULL,
    command   TEXT NOT NULL,
    detail    TEXT NOT NULL,
    outcome   TEXT NOT NULL
) STRICT;
