"""Preferences: what people liked more than usual, as pairs for DPO and as labelled replies for KTO."""

from pipelines.preferences.rows import (
    Generated,
    Liked,
    as_json,
    dpo_row,
    generated_from_json,
    kto_row,
    liked_from_json,
)
from pipelines.preferences.usual import COUNTED_REACTIONS, Judged, Usual, usual_reactions
from pipelines.preferences.verdicts import Rules, Thumbs, Verdict, judge_message, judge_thumbs, thumbs

__all__ = [
    "COUNTED_REACTIONS",
    "Generated",
    "Judged",
    "Liked",
    "Rules",
    "Thumbs",
    "Usual",
    "Verdict",
    "as_json",
    "dpo_row",
    "generated_from_json",
    "judge_message",
    "judge_thumbs",
    "kto_row",
    "liked_from_json",
    "thumbs",
    "usual_reactions",
]
