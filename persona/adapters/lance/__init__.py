"""The memory in LanceDB: full-text search over what was said."""

from persona.adapters.lance.memory import LanceMemory

__all__ = ["LanceMemory"]
