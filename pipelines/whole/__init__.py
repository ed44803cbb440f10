"""From the store to a published model with one command: which step comes next, and whether it was done already."""
