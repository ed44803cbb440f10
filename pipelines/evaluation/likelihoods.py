"""How likely a model finds replies: people's in their place (perplexity), and any reply after other contexts (fit)."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from persona.adapters.llama.scoring import Likelihood
from persona.domain.prompt import Turn
from persona.errors import InferenceError
from pipelines.evaluation.heldout import Context
from pipelines.evaluation.measuring import distractors
from pipelines.evaluation.ranking import rank_of
from pipelines.evaluation.replies import JsonLines
from pipelines.evaluation.samples import Sample

RANKED_AMONG = 4
"""Contexts of other conversations that a reply is tried after; each costs as much as reading a prompt."""

Prompt = Callable[[Context], tuple[Turn, ...]]


class Scorer(Protocol):
    """The part of `ReplyScorer` that is used here."""

    def score(self, turns: Sequence[Turn], reply: str) -> Likelihood:
        """Return how likely a reply is after a conversation."""
        ...


class CachedScorer:
    """Scores with one model; what was scored before is looked up."""

    def __init__(self, scorer: Scorer, cache: Path) -> None:
        self._scorer = scorer
        self._lines = JsonLines(cache)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    def score(self, turns: Sequence[Turn], reply: str) -> Likelihood | None:
        """Return how likely a reply is; None where prompt and reply do not fit into the model's window."""
        said = json.dumps([[[str(turn.role), turn.text] for turn in turns], reply])
        key = blake2b(said.encode(), digest_size=16).hexdigest()
        if key not in self._lines.known:
            try:
                self._lines.add(key, asdict(self._scorer.score(turns, reply)))
            except InferenceError:
                # Too long for this model: counted as missing by whoever asked, and the others go on.
                self._lines.add(key, {"log_probability": None, "tokens": 0, "characters": len(reply)})
        row = self._lines.known[key]
        if row["log_probability"] is None:
            return None
        return Likelihood(log_probability=row["log_probability"], tokens=row["tokens"], characters=row["characters"])


def people_likelihoods(
    contexts: Sequence[Context], scorer: CachedScorer, *, prompt: Prompt, advanced: Callable[[], None]
) -> list[Likelihood | None]:
    """Return how likely the model finds each person's reply in its place."""
    found = []
    for context in contexts:
        found.append(scorer.score(prompt(context), context.reply))
        advanced()
    return found


def fit_ranks(
    samples: Sequence[Sample],
    contexts: dict[str, Context],
    scorer: CachedScorer,
    *,
    prompt: Prompt,
    seed: int,
    advanced: Callable[[], None],
) -> list[float]:
    """Return one over the rank of each reply's own context among a few others, by the likelihood of the reply there.

    The reply stays the same and the context changes, so that short and common replies are not preferred. An empty
    reply fits nowhere better: its rank is in the middle. nan where it could not be scored.
    """
    found = []
    for sample, others in zip(samples, distractors(samples, count=RANKED_AMONG, seed=seed), strict=True):
        if not sample.text.strip():
            found.append(1 / rank_of(0.0, [0.0] * len(others)))
            advanced()
            continue
        places = [contexts[sample.context_id], *(contexts[samples[other].context_id] for other in others)]
        scored = [scorer.score(prompt(place), sample.text) for place in places]
        own, *rest = (one.log_probability if one is not None else math.nan for one in scored)
        known = [one for one in rest if not math.isnan(one)]
        found.append(math.nan if math.isnan(own) or not known else 1 / rank_of(own, known))
        advanced()
    return found
