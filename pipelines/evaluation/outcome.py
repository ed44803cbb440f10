"""The result of an evaluation as JSON values: what the page, the terminal and other programs read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.evaluation.baselines import CEILING
from pipelines.evaluation.canaries import Found
from pipelines.evaluation.comparing import Comparison, Verdict, compare
from pipelines.evaluation.distributions import HABITS, burst_sizes, message_words
from pipelines.evaluation.judging import Judged, Judgement
from pipelines.evaluation.leaks import SHOWN
from pipelines.evaluation.measures import MEASURES
from pipelines.evaluation.resampling import Figure
from pipelines.evaluation.speaking import Speaking
from pipelines.evaluation.statistics import Interval
from pipelines.evaluation.targets import targets

FORMAT = "persona-evaluation-1"
_SIDE_BY_SIDE = 12
_CONTEXT_LINES = 6


def outcome(
    judgement: Judgement,
    *,
    about: Mapping[str, Any],
    speaking: Speaking | None = None,
    canaries: Sequence[Found] = (),
    detected: Interval | None = None,
) -> dict[str, Any]:
    """Return everything that is reported; `about` says how it was made (run, split, seed ...)."""
    first = judgement.judged[0]
    ceiling = judgement.of(CEILING)
    beside = {
        one.contender.key: compare(one.figures, ceiling.figures, judgement.people)
        for one in judgement.judged
        if ceiling is not None and one is not ceiling
    }
    of_model = beside.get(first.contender.key, [])
    against = {
        one.contender.key: compare(first.figures, one.figures, judgement.people)
        for one in judgement.judged[1:]
        if one.sha256
    }
    return {
        "format": FORMAT,
        **about,
        "contexts": len(judgement.drawn.asked),
        "clusters": len({sample.conversation_id for sample in judgement.human}),
        "vectors": judgement.vectors,
        "measures": [
            {"key": m.key, "name": m.name, "better": str(m.better), "about": m.about, "percent": m.percent}
            for m in MEASURES
        ],
        "people": {
            "figures": figures_json(judgement.people),
            "habits": list(judgement.people_habits),
            "lengths": message_words(judgement.human),
            "bursts": burst_sizes(judgement.human),
        },
        "contenders": [_contender(one, beside.get(one.contender.key, [])) for one in judgement.judged],
        "against": {key: _comparisons(found) for key, found in against.items()},
        "habits": list(HABITS),
        "targets": [
            {**asdict(each), "found": None if each.found is None else interval_json(each.found)}
            for each in targets(first.figures, [c for c in of_model if c.measure.key != "similarity"], detected)
        ],
        "leaks": [asdict(leak) for leak in first.leaks[:SHOWN]],
        "leak_count": len(first.leaks),
        "speaking": None if speaking is None else _speaking(speaking),
        "canaries": [{**asdict(each), "known": each.known} for each in canaries],
        "samples": _samples(judgement),
        "seconds": judgement.seconds,
        "seconds_per_100_contexts": round(100 * sum(judgement.seconds.values()) / len(judgement.drawn.asked), 1),
        "notes": judgement.notes,
    }


def interval_json(interval: Interval) -> dict[str, float | None]:
    """Return a range as JSON, which knows neither infinity nor nan: None stands for both."""
    return {name: _finite(getattr(interval, name)) for name in ("value", "low", "high")}


def figures_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Return figures as JSON values, without their draws."""
    return {key: interval_json(found.interval) for key, found in figures.items()}


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def _contender(one: Judged, beside: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "key": one.contender.key,
        "name": one.contender.name,
        "about": one.contender.about,
        "sha256": one.sha256,
        "replies": len(one.contender.all),
        "silent": one.silent,
        "figures": figures_json(one.figures),
        "worse_than_people": [c.measure.key for c in beside if c.verdict is Verdict.WORSE],
        "habits": list(one.habits),
        "lengths": message_words(one.contender.all),
        "bursts": burst_sizes(one.contender.all),
        "leaks": len(one.leaks),
    }


def _comparisons(found: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [{"measure": c.measure.key, "loss": interval_json(c.loss), "verdict": str(c.verdict)} for c in found]


def _speaking(speaking: Speaking) -> dict[str, Any]:
    return {
        **asdict(speaking),
        "auc": interval_json(speaking.auc),
        "error": interval_json(speaking.error),
        "curve": [asdict(each) for each in speaking.curve],
    }


def _newest(said: Sequence[str]) -> list[str]:
    """Return the newest lines; the rest of a message whose first line is not among them is left out."""
    lines = list(said[-_CONTEXT_LINES:])
    while len(lines) > 1 and lines[0].startswith("  "):
        lines.pop(0)
    return lines


def _samples(judgement: Judgement) -> list[dict[str, Any]]:
    """Return some contexts with everybody's replies, spread evenly over the contexts."""
    asked = judgement.drawn.asked
    few = min(_SIDE_BY_SIDE, len(asked))
    shown = []
    for number in range(few):
        place = number * len(asked) // few
        replies = [
            {"name": one.contender.name, "messages": list(one.contender.replies[0][place].messages)}
            for one in judgement.judged
            if one.contender.key != CEILING
        ]
        people = list(judgement.human[place].messages)
        shown.append(
            {
                "context": _newest(asked[place].said),
                "replies": [{"name": "a person", "messages": people}, *replies],
            }
        )
    return shown
