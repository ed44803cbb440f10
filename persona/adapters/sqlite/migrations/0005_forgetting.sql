-- What consent and forgetting need, all the way down.

CREATE INDEX messages_by_author ON messages (author_id, id);

-- Who wrote an edit that came before its message (NULL: the event did not say): whoever opted out is not kept.
ALTER TABLE edits ADD COLUMN author_id INTEGER;

-- Who was forgotten, and when: nothing they said up to then may be stored (again), known or not, and no name from then.
CREATE TABLE forgotten_authors (
    author_id INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL
) STRICT;

-- What is still to be done after something was forgotten, so that a process that dies in the middle is no excuse:
-- 'memory' (the search index), 'database' (this file's free space), 'runs' (datasets and models are marked).
CREATE TABLE forgetting (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    step     TEXT NOT NULL CHECK (step IN ('memory', 'database', 'runs'))
) STRICT;

-- The secret that message ids are hashed with in the lineage of datasets and models.
CREATE TABLE lineage_key (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

INSERT INTO lineage_key (id, secret) VALUES (1, randomblob(32));

-- Newest by the time of the choice: a ledger that is imported later does not undo what was chosen since.
DROP VIEW consent_now;

CREATE VIEW consent_now AS
SELECT author_id, guild_id, scope, choice, at, source, recorded_by, note
FROM (
    SELECT *, row_number() OVER (PARTITION BY author_id, guild_id, scope ORDER BY at DESC, sequence DESC) AS age
    FROM consent
)
WHERE age = 1;
