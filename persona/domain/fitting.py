"""Makes a prompt fit the model's context window: the oldest lines go first."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from persona.domain.scene import MEMORY_HEADER, NOW_HEADER, Turn

MEMORY_SHARE = 0.25
"""Largest part of a token budget that memory may take: recent talk is worth more than old talk."""

_FRAME_TOKENS = 5

CountTokens = Callable[[str], int]


def fit(turns: Sequence[Turn], budget: int, count: CountTokens) -> tuple[Turn, ...] | None:
    """Drop the oldest lines until the turns take at most `budget` tokens, as `count` measures one line.

    The system turn and the newest line always stay; memory is first held to `MEMORY_SHARE` of the budget, and is given
    up where the newest line needs its room. Each line is charged one token for its line break and each turn, the one
    the model is to write included, five for its frame, which ChatML does not exceed.

    Returns:
        The turns that fit, or None when not even the system turn and the newest line do.
    """
    system, *talk = turns
    room = budget - _turn_cost(system, count) - _FRAME_TOKENS
    if not talk:
        return (system,) if room >= 0 else None
    notes, note_cost = _affordable_notes(talk[-1].notes, int(budget * MEMORY_SHARE), count)
    newest = replace(talk[-1], lines=talk[-1].lines[-1:], notes=())
    least = _turn_cost(newest, count)
    if least > room:
        return None
    if least + note_cost > room:
        return (system, newest)
    room -= note_cost
    kept: list[Turn] = []
    for turn in reversed(talk):
        room -= _FRAME_TOKENS
        lines, cost = _affordable(turn.lines[::-1], room, count)
        if lines:
            kept.append(replace(turn, lines=lines[::-1], notes=() if kept else notes))
        room -= cost
        if len(lines) < len(turn.lines):
            break
    return (system, *reversed(kept))


def charge(turns: Sequence[Turn], count: CountTokens) -> int:
    """Return what `fit` charges for turns without notes and the frame of the one that the model writes."""
    return sum(_turn_cost(turn, count) for turn in turns) + _FRAME_TOKENS


def _line_cost(line: str, count: CountTokens) -> int:
    return count(line) + 1


def _turn_cost(turn: Turn, count: CountTokens) -> int:
    return _FRAME_TOKENS + sum(_line_cost(line, count) for line in turn.lines)


def _affordable(lines: Sequence[str], room: int, count: CountTokens) -> tuple[tuple[str, ...], int]:
    """Take lines from the front while they fit in `room` tokens; return them and their cost."""
    taken: list[str] = []
    spent = 0
    for line in lines:
        cost = _line_cost(line, count)
        if spent + cost > room:
            break
        taken.append(line)
        spent += cost
    return tuple(taken), spent


def _affordable_notes(notes: Sequence[str], room: int, count: CountTokens) -> tuple[tuple[str, ...], int]:
    """Take the best notes that fit in `room` together with their headers; return them and what all of it costs."""
    headers = _line_cost(MEMORY_HEADER, count) + _line_cost(NOW_HEADER, count)
    taken, spent = _affordable(notes, room - headers, count)
    return (taken, spent + headers) if taken else ((), 0)
