"""Which cards there are and which backend can train on them, found out without importing any of the libraries."""

import ctypes
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from persona.errors import ConfigError
from pipelines.train.plan import BackendName

_GIB = 2**30
_NEEDED: Mapping[BackendName, Mapping[str, str]] = {
    BackendName.HF_CPU: {"torch": "2.13", "transformers": "5.17", "trl": "1.14", "peft": "0.21", "accelerate": "1.15",
                         "datasets": "4.8"},
    BackendName.HF_QLORA: {"bitsandbytes": "0.50"},
    BackendName.UNSLOTH: {"unsloth": "2026.10", "bitsandbytes": "0.50"},
}  # fmt: skip
"""What each backend needs, and the series of versions it is tested with; the first list is needed by all."""

_EXACT = ("trl",)
"""Versions that other ones do not work in place of: trl 1.15 cannot train on a CPU, and unsloth refuses 1.16."""

_EXTRAS = {BackendName.HF_CPU: "train", BackendName.HF_QLORA: "train", BackendName.UNSLOTH: "train,unsloth"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU, with its memory in GiB."""

    name: str
    memory_gib: float


def find_cards() -> tuple[Card, ...]:
    """Ask the NVIDIA driver for its cards; () where there is no driver or no card.

    Only the driver API is used (cuInit, cuDeviceGet...): it makes no context and takes no memory on a card, and it
    heeds CUDA_VISIBLE_DEVICES.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    cards = []
    for index in range(count.value):
        device, size, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(100)
        if (
            cuda.cuDeviceGet(ctypes.byref(device), index) == 0
            and cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0
            and cuda.cuDeviceGetName(name, len(name), device) == 0
        ):
            cards.append(Card(name=name.value.decode(errors="replace"), memory_gib=size.value / _GIB))
    return tuple(cards)


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None when it is not there, or cannot be imported."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def choose_backend(
    wanted: str, cards: Sequence[Card], version: Callable[[str], str | None] = installed_version
) -> BackendName:
    """Return the backend to train with; `wanted` is its name or `auto`, `version` looks a package up.

    Raises:
        ConfigError: the wanted one (or, with auto, any) cannot run here: no GPU, not installed, or a wrong version.
    """
    if wanted != "auto":
        backend = BackendName(wanted)
        problem = _problem(backend, cards, version)
        if problem is not None:
            raise problem
        return backend
    candidates = [BackendName.UNSLOTH, BackendName.HF_QLORA] if cards else [BackendName.HF_CPU]
    problems = []
    for backend in candidates:
        problem = _problem(backend, cards, version)
        if problem is None:
            return backend
        problems.append(problem)
    raise problems[-1]


def version_list(version: Callable[[str], str | None] = installed_version) -> dict[str, str]:
    """Return the installed versions of everything that trains, for the record."""
    packages = sorted({package for needed in _NEEDED.values() for package in needed})
    return {package: found for package in packages if (found := version(package)) is not None}


def _problem(backend: BackendName, cards: Sequence[Card], version: Callable[[str], str | None]) -> ConfigError | None:
    cure = f"pip install -e '.[{_EXTRAS[backend]}]' with the constraints file of your machine"
    needed = {**_NEEDED[BackendName.HF_CPU], **_NEEDED[backend]}
    missing = [package for package in needed if version(package) is None]
    if missing:
        return ConfigError(f"backend {backend} needs what is not installed: {', '.join(missing)}", cure=cure)
    for package, series in needed.items():
        found = version(package) or ""
        if not _fits(found, series, exact=package in _EXACT):
            return ConfigError(f"backend {backend} needs {package} {series}, installed is {found}", cure=cure)
    if backend is BackendName.HF_CPU:
        return None
    if not cards:
        return ConfigError(
            f"backend {backend} needs an NVIDIA GPU and there is none",
            cure='check nvidia-smi, or set [training] backend = "hf-cpu", which suits small models only',
        )
    if "+cpu" in (version("torch") or ""):
        return ConfigError("there is a GPU, but this torch was built for the CPU", cure=cure)
    return None


def _fits(found: str, series: str, *, exact: bool) -> bool:
    """Whether a version is of the series, or, where that will do, of a later one."""
    have, want = _numbers(found), _numbers(series)
    return have[: len(want)] == want if exact else have >= want


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.partition("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
