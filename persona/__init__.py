"""A regular for a Discord server that talks like the people on it."""
