"""A reply from the decision to its outcome: the talk of a channel, the voice, the writing, the sending, the journal."""
