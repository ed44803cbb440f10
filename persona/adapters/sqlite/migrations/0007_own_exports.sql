-- Which messages people exported themselves (Discord's data package, or other exports of their own) and what the owner
-- said about it: they did not come through the API. Ids only.
CREATE TABLE own_exports (
    id   INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    note TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE own_messages (
    message_id INTEGER PRIMARY KEY,
    export     INTEGER NOT NULL REFERENCES own_exports (id)
) STRICT;

CREATE TRIGGER own_message_is_gone AFTER DELETE ON messages
BEGIN
    DELETE FROM own_messages WHERE message_id = OLD.id;
END;
