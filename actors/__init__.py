"""The living parts of the persona; they talk to each other in messages only."""
