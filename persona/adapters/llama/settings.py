"""What the owner can choose about the language model and the machine it runs on."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

DEFAULT_CONTEXT_LIMIT = 4096
"""Largest context window that is taken without being asked for: its cache costs memory for every slot."""

_PARAMETERS_PER_THREAD = 50_000_000


class TemplateChoice(StrEnum):
    """Where the chat template comes from."""

    AUTO = "auto"
    CHATML = "chatml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaSettings:
    """One model on this machine.

    Attributes:
        path: the GGUF file.
        name: what the model is called; "" takes what it calls itself.
        sha256: what the file must hash to (64 hexadecimal digits); "" trusts a `.sha256` file beside it, if any.
        context_tokens: the context window of one reply; 0 takes the model's own, up to 4096.
        slots: replies that are written at the same time.
        threads: CPU threads; 0 takes all cores that this process may use but one (fewer for a very small model).
        gpu_layers: layers to put on the GPU; -1 puts all of them there.
        batch_tokens: prompt tokens read in one step while nobody waits for the next word.
        shared_batch_tokens: the same while other replies are being written, so that those do not stutter.
        resident: further conversations whose attention cache is kept, so that their next reply begins sooner. Each
            slot and each of these takes memory for a whole context window.
        template: the model's own chat template, or ChatML.
        exact_cache: keep the attention cache in 32 bits (for comparisons with other programs).
    """

    path: Path
    name: str = ""
    sha256: str = ""
    context_tokens: int = 0
    slots: int = 2
    threads: int = 0
    gpu_layers: int = 0
    batch_tokens: int = 512
    shared_batch_tokens: int = 128
    resident: int = 2
    template: TemplateChoice = TemplateChoice.AUTO
    exact_cache: bool = False


def default_threads(parameters: int) -> int:
    """Return how many threads to compute a model of so many parameters with: all cores but one, fewer for a small one.

    One core stays free for everything else. In a small model threads wait for one another longer than they compute,
    on a busy machine very much longer.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity to ask for
        cores = os.cpu_count() or 1
    return max(1, min(cores - 1, 1 + parameters // _PARAMETERS_PER_THREAD))
