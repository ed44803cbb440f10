"""Says whether the machine has memory for one more model."""

from collections.abc import Callable
from pathlib import Path

from persona.adapters.llama.model_file import ModelFile
from persona.adapters.llama.settings import DEFAULT_CONTEXT_LIMIT, LlamaSettings

_SPARE_BYTES = 512 << 20
"""What stays free for everything else: replies in the making, the search index, other programs."""
_OVERHEAD = 1.1
_CACHE_BYTES = 2
"""Of a number in the attention cache: half precision."""


def free_bytes() -> int | None:
    """Return how much memory this process may still take; None where nobody can say (not on Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*found, *_left_in_group()]) if found else None


def _left_in_group() -> list[int]:
    """Return what the limit of the control group leaves (systemd's MemoryMax, containers); nothing without one."""
    try:
        place = Path("/proc/self/cgroup").read_text(encoding="ascii").strip().rpartition("::")[2]
        folder = Path("/sys/fs/cgroup") / place.strip("/")
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        return [] if limit == "max" else [max(0, int(limit) - used)]
    except (OSError, ValueError):
        return []


def needed_bytes(file: ModelFile, settings: LlamaSettings) -> int:
    """Estimate what a loaded model takes: its weights, and its attention cache for every conversation it keeps."""
    meta, family = file.header.metadata, file.header.architecture

    def number(key: str, default: int = 0) -> int:
        value = meta.get(f"{family}.{key}", default)
        return int(value) if isinstance(value, int | float) else default

    trained = number("context_length", DEFAULT_CONTEXT_LIMIT)
    context = min(settings.context_tokens or DEFAULT_CONTEXT_LIMIT, trained or DEFAULT_CONTEXT_LIMIT)
    heads = max(1, number("attention.head_count", 1))
    width = number("attention.key_length", number("embedding_length") // heads)
    numbers = 2 * number("block_count") * number("attention.head_count_kv", heads) * width
    cache = numbers * _CACHE_BYTES * context * (settings.slots + settings.resident)
    return int(_OVERHEAD * (file.stamp.size + cache))


def fits_beside(file: ModelFile, settings: LlamaSettings, *, free: Callable[[], int | None] = free_bytes) -> bool:
    """Whether a model can be loaded while the one that runs stays loaded.

    False whenever nobody can say: with layers on a GPU, and where the system does not tell.
    """
    if settings.gpu_layers:
        return False
    left = free()
    return left is not None and needed_bytes(file, settings) + _SPARE_BYTES <= left
