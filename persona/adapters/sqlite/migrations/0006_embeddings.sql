-- Vectors of texts, so that a rebuilt memory embeds nothing twice. Derived; may be emptied at any time.

CREATE TABLE embedding_models (
    id         INTEGER PRIMARY KEY,
    model_id   TEXT NOT NULL,
    dimensions INTEGER NOT NULL CHECK (dimensions > 0),
    used_at    INTEGER NOT NULL,
    UNIQUE (model_id, dimensions)
) STRICT;

-- `text_hash` is BLAKE2b-128 of the message's content, `vec_f16` its vector in half precision, little-endian.
-- With a rowid: vectors lie in the order they came, which is about the order in which a rebuild asks for them.
CREATE TABLE embedding_cache (
    id        INTEGER PRIMARY KEY,
    model     INTEGER NOT NULL REFERENCES embedding_models (id),
    text_hash BLOB NOT NULL CHECK (length(text_hash) = 16),
    vec_f16   BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX embedding_cache_by_text ON embedding_cache (model, text_hash);
