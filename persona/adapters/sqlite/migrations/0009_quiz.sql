-- Blind tests that were asked on a server: which questions (JSON: number in the file, ids of the messages it shows),
-- and who was right. No words are kept here.

CREATE TABLE quizzes (
    test_id    TEXT PRIMARY KEY,
    guild_id   INTEGER NOT NULL,
    channel_id INTEGER NOT NULL,
    asked_at   INTEGER NOT NULL,
    closes_at  INTEGER NOT NULL,
    questions  TEXT NOT NULL
) STRICT;

CREATE TABLE quiz_answers (
    test_id   TEXT NOT NULL REFERENCES quizzes (test_id),
    author_id INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    is_right  INTEGER NOT NULL CHECK (is_right IN (0, 1)),
    at        INTEGER NOT NULL,
    PRIMARY KEY (test_id, author_id, number)
) STRICT;

CREATE INDEX quiz_answers_by_author ON quiz_answers (author_id);
