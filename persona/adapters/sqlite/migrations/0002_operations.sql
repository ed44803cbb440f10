-- How the persona fared: decisions with their timings (milliseconds), restarts, health. No message content.

CREATE TABLE replies (
    id                INTEGER PRIMARY KEY,
    message_id        INTEGER NOT NULL,
    channel_id        INTEGER NOT NULL,
    decided_at        INTEGER NOT NULL,
    spoke             INTEGER NOT NULL CHECK (spoke IN (0, 1)),
    reason            TEXT NOT NULL,
    outcome           TEXT NOT NULL,
    model             TEXT NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    retries           INTEGER NOT NULL,
    recollections     INTEGER NOT NULL,
    stage_ms          TEXT NOT NULL
) STRICT;

CREATE INDEX replies_by_message ON replies (message_id);

CREATE TABLE restarts (
    id    INTEGER PRIMARY KEY,
    actor TEXT NOT NULL,
    error TEXT NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

CREATE TABLE health (
    at                  INTEGER PRIMARY KEY,
    healthy             INTEGER NOT NULL CHECK (healthy IN (0, 1)),
    loop_lag_ms         REAL NOT NULL,
    inference_stalled_s REAL NOT NULL,
    rss_mb              REAL NOT NULL,
    actors              TEXT NOT NULL
) STRICT;

-- Settings changed at run time, over config.toml: JSON values by dotted key.
CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    changed_by INTEGER
) STRICT, WITHOUT ROWID;
