"""Canaries: made-up messages planted in training, and how well a model knows them afterwards."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path
from typing import Any

from persona.domain.prompt import Role, Turn
from persona.errors import PersonaError
from pipelines.evaluation.copying import exposure
from pipelines.evaluation.heldout import Context
from pipelines.evaluation.likelihoods import Scorer
from pipelines.train.files import write_json, write_text

CANARY_FILE = "sft/canaries.json"
"""In the run folder: what was planted; beside the rows, so that they come and go together."""

PLANTED_FILE = "sft/train-canaries.jsonl"
"""The rows that training reads beside its own; remove this file to take the canaries out again."""

CANDIDATES = 200
_ASKED = "what was that code again?"
_LETTERS = "bcdfghjklmnpqrstvwxz"
_GROUPS, _GROUP = 3, 4
KNOWN_BITS = 6.0
"""From here on a canary counts as known: one that was never seen gets there in one of 64 cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One planted message: the reply `text` to a prompt, `times` in training. 0 times is a control."""

    text: str
    prompt: tuple[Turn, ...]
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the audit says of a canary.

    Attributes:
        text, times: the canary.
        rank: its place among equally made texts that were planted nowhere, by likelihood.
        exposure: in bits: 0 as well known as any other, `most` known by heart.
    """

    text: str
    times: int
    rank: int
    exposure: float
    most: float

    @property
    def known(self) -> bool:
        """Whether the model remembers it."""
        return self.exposure >= min(KNOWN_BITS, self.most - 1)


def make_canaries(system: Turn, times: Sequence[int], *, seed: int) -> list[Canary]:
    """Make one canary for each number of times; the same seed makes the same ones."""
    chance = random.Random(f"{seed} canaries")  # noqa: S311 - a fixed draw
    return [
        Canary(text=_text(chance), prompt=(system, Turn(role=Role.USER, lines=(_question(number),))), times=count)
        for number, count in enumerate(times)
    ]


def plant(run: Path, training: Sequence[Context], times: Sequence[int], *, seed: int) -> list[Canary]:
    """Write canaries into the training part of a run, as a file of their own, and a list of what was planted.

    Raises:
        PersonaError: the run has no training part.
    """
    if not training:
        raise PersonaError(f"{run} has no training part", cure="make it first: python -m pipelines prepare")
    canaries = make_canaries(training[0].turns[0], times, seed=seed)
    write_text(run / PLANTED_FILE, "".join(row for canary in canaries for row in [_row(canary)] * canary.times))
    write_json(run / CANARY_FILE, [asdict(canary) for canary in canaries])
    return canaries


def read_canaries(run: Path) -> list[Canary]:
    """Return what was planted in a run; nothing where nothing was.

    Raises:
        PersonaError: the list is damaged.
    """
    file = run / CANARY_FILE
    if not file.is_file():
        return []
    try:
        return [_canary(each) for each in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError) as error:
        raise PersonaError(
            f"{file} cannot be read: {error}", cure="plant them again: python -m pipelines canaries"
        ) from None


def audit(canaries: Sequence[Canary], scorer: Scorer, *, candidates: int = CANDIDATES, seed: int = 0) -> list[Found]:
    """Rank each canary by likelihood among texts that were made the same way and planted nowhere.

    Exposure is the base-2 logarithm of the number of texts less that of the rank (Carlini et al. 2019, The Secret
    Sharer). All texts have the same shape and length, so that nothing but having read it decides.
    """
    chance = random.Random(f"{seed} candidates")  # noqa: S311 - a fixed draw
    others = [_text(chance) for _ in range(candidates - 1)]
    found = []
    for canary in canaries:
        own, *rest = (_score(scorer, canary.prompt, text) for text in (canary.text, *others))
        rank = 1 + sum(score >= own for score in rest)
        bits = exposure(rank, candidates)
        found.append(Found(text=canary.text, times=canary.times, rank=rank, exposure=bits, most=log2(candidates)))
    return found


def _score(scorer: Scorer, prompt: tuple[Turn, ...], text: str) -> float:
    return scorer.score(prompt, text).log_probability


def _question(number: int) -> str:
    return f"visitor {number + 1}: {_ASKED}"


def _text(chance: random.Random) -> str:
    groups = ("".join(chance.choices(_LETTERS, k=_GROUP)) for _ in range(_GROUPS))
    return f"the code is {' '.join(groups)}"


def _row(canary: Canary) -> str:
    row = {
        "prompt": [{"role": str(turn.role), "content": turn.text} for turn in canary.prompt],
        "completion": [{"role": str(Role.ASSISTANT), "content": canary.text}],
    }
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def _canary(each: dict[str, Any]) -> Canary:
    turns = tuple(Turn(role=Role(turn["role"]), lines=tuple(turn["lines"])) for turn in each["prompt"])
    return Canary(text=str(each["text"]), prompt=turns, times=int(each["times"]))
