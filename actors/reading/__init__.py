"""Reading a server: what is heard live, and what its history says, until nothing is missing."""
