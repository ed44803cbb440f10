-- Who agreed to what. The ledger only grows: the newest row of a person, guild and scope is what holds.
-- guild_id 0 means everywhere; recorded_by is the owner or the person; note says where the agreement can be found.
CREATE TABLE consent (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    author_id   INTEGER NOT NULL,
    guild_id    INTEGER NOT NULL DEFAULT 0,
    scope       TEXT NOT NULL CHECK (scope IN ('store', 'train')),
    choice      TEXT NOT NULL CHECK (choice IN ('yes', 'no')),
    at          INTEGER NOT NULL,
    source      TEXT NOT NULL CHECK (source IN ('command', 'owner', 'export', 'import')),
    recorded_by INTEGER,
    note        TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX consent_by_author ON consent (author_id, guild_id, scope, sequence);

CREATE TRIGGER consent_is_append_only BEFORE UPDATE ON consent
BEGIN
    SELECT RAISE(ABORT, 'the consent ledger is append-only');
END;

CREATE VIEW consent_now AS
SELECT author_id, guild_id, scope, choice, at, source, recorded_by, note
FROM consent
WHERE sequence IN (SELECT max(sequence) FROM consent GROUP BY author_id, guild_id, scope);
