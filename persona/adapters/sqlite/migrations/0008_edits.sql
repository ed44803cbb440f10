-- What an edit that came before its message said about mentions and attachments, as in `messages`; NULL: nothing.
ALTER TABLE edits ADD COLUMN mentions TEXT;
ALTER TABLE edits ADD COLUMN attachments TEXT;
