"""The held-out replies of a run folder, and which of them are asked about: conversations drawn by a seed."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from persona.domain.prompt import Role, Turn
from persona.errors import PersonaError
from pipelines.evaluation.samples import Sample

CURE = "make the data set first: python -m pipelines prepare"
_LONGEST_CLUSTER = 12
_BRIEF_LINES = 3
_WHO = re.compile(r"You are (?P<name>.+?), a regular of (?P<server>.+?)(?:, in #(?P<channel>[^,]+?))?\.$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One place in the history where somebody replied: what the model reads there, and what the person wrote.

    Attributes:
        context_id: the example's id.
        conversation_id: which conversation it is from.
        created_at: when the person replied; None where the run does not say.
        turns: the prompt, exactly as in training and in the running bot.
        reply: what the person wrote, a line for each message.
        split: the part of the data set.
        marks: hashes of the messages in it, where the run has them.
    """

    context_id: str
    conversation_id: str
    created_at: datetime | None
    turns: tuple[Turn, ...]
    reply: str
    split: str
    marks: tuple[str, ...] = ()

    @property
    def said(self) -> tuple[str, ...]:
        """The lines that the reply answers, oldest first, no system turn; the replier's own under their name."""
        own = f"{who(self.turns)[0] or 'me'}: "
        return tuple(
            own + line if turn.role is Role.ASSISTANT else line
            for turn in self.turns
            if turn.role is not Role.SYSTEM
            for line in turn.lines
        )

    @property
    def channel(self) -> str:
        """The channel's name as the prompt has it; "" where it has none."""
        return who(self.turns)[2]

    def sample(self, messages: Sequence[str] | None = None, *, cluster: str = "") -> Sample:
        """Return a reply in this place; the person's own when no other is given."""
        return Sample(
            context_id=self.context_id,
            conversation_id=cluster or self.conversation_id,
            context=self.said,
            messages=tuple(messages) if messages is not None else lines_of(self.reply),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What is asked: `asked` are the contexts; `others` as many of the same conversations, for the human ceiling.

    `further` are what is left of these conversations, to check the measures with. `clusters` says for each context id
    what is drawn again together: a conversation, small neighbouring ones, or a part of a long one.
    """

    asked: tuple[Context, ...]
    others: tuple[Context, ...]
    further: tuple[Context, ...]
    clusters: dict[str, str]


def read_split(run: Path, split: str, *, brief: bool = False) -> list[Context]:
    """Return the examples of a split (`train`, `validation`, `test`), in order.

    `brief` keeps of each prompt the system turn and the newest lines: enough to look up what was answered, a tenth of
    the memory.

    Raises:
        PersonaError: there are none, or a line is damaged; names the file and the cure.
    """
    files = sorted((run / "sft").glob(f"{split}*.jsonl"))
    if not files:
        raise PersonaError(f"{run} has no {split} part (sft/{split}*.jsonl)", cure=CURE)
    return [context for file in files for context in _read_file(run, file, split, brief=brief)]


def draw(contexts: Sequence[Context], *, wanted: int, seed: int, parts: int = 2) -> Drawn:
    """Choose up to `wanted` contexts, and as many others of the same conversations.

    One of each conversation in turn, in an order that the seed decides, so that as many conversations as possible have
    a say; small neighbours in time count as one, until there are two replies or more: one half of the people can then
    be compared with the other; of 3 `parts` the third is `further`. A larger number contains what a smaller one does.
    """
    clusters = sorted(_clusters(contexts, least=parts), key=lambda one: _key(seed, one[0].context_id))
    shuffled = [sorted(cluster, key=lambda one: _key(seed, f"part {one.context_id}")) for cluster in clusters]
    names = [cluster[0].context_id for cluster in clusters]
    found: list[tuple[Context, ...]] = []
    drawn: dict[str, str] = {}
    for turn in range(max(map(len, clusters), default=0) // parts):
        for name, cluster in zip(names, shuffled, strict=True):
            group = tuple(cluster[parts * turn : parts * (turn + 1)])
            if len(group) == parts and len(found) < wanted:
                found.append(group)
                drawn |= {one.context_id: name for one in group}
    asked, others, *further = zip(*found, strict=True) if found else ((), ())
    return Drawn(asked=asked, others=others, further=further[0] if further else (), clusters=drawn)


def lines_of(reply: str) -> tuple[str, ...]:
    """Return the lines of a reply that are not empty: a burst and a line break look alike."""
    return tuple(line for line in reply.split("\n") if line.strip())


def who(turns: Sequence[Turn]) -> tuple[str, str, str]:
    """Return whom a prompt's first line makes the model: name, server, channel; "" for what it does not say."""
    first = turns[0].lines[0] if turns and turns[0].lines else ""
    found = _WHO.match(first)
    return (found["name"], found["server"], found["channel"] or "") if found else ("", "", "")


def _clusters(contexts: Sequence[Context], *, least: int) -> list[list[Context]]:
    """Group by conversation: small ones with the next, the last small one with the one before; long ones cut.

    A conversation may go on for days: runs of `_LONGEST_CLUSTER` neighbouring replies then stand for conversations
    (the block bootstrap, Kuensch 1989).
    """
    groups: dict[str, list[Context]] = {}
    for context in contexts:
        groups.setdefault(context.conversation_id, []).append(context)
    ordered = sorted(groups.values(), key=lambda group: (str(group[0].created_at), group[0].context_id))
    clusters: list[list[Context]] = []
    for group in ordered:
        for start in range(0, len(group), _LONGEST_CLUSTER):
            part = group[start : start + _LONGEST_CLUSTER]
            if clusters and len(clusters[-1]) < least:
                clusters[-1] += part
            else:
                clusters.append(list(part))
    if len(clusters) > 1 and len(clusters[-1]) < least:
        last = clusters.pop()
        clusters[-1] += last
    return clusters


def _key(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def _read_file(run: Path, file: Path, split: str, *, brief: bool) -> Iterator[Context]:
    beside = run / "meta" / file.name
    known = beside.open(encoding="utf-8") if beside.is_file() else None
    try:
        with file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    told = json.loads(known.readline()) if known is not None else {}
                    context = _context(json.loads(line), told, f"{file.stem}.{number}", split)
                    yield _brief(context) if brief else context
                except (ValueError, KeyError, TypeError, IndexError) as error:
                    raise PersonaError(f"{file}:{number} cannot be read: {error}", cure=CURE) from None
    finally:
        if known is not None:
            known.close()


def _brief(context: Context) -> Context:
    newest = Turn(role=Role.USER, lines=context.said[-_BRIEF_LINES:])
    return replace(context, turns=(context.turns[0], newest))


def _context(row: dict[str, Any], told: dict[str, Any], name: str, split: str) -> Context:
    turns = tuple(Turn(role=Role(each["role"]), lines=tuple(each["content"].split("\n"))) for each in row["prompt"])
    at = told.get("created_at")
    return Context(
        context_id=str(told.get("example_id", name)),
        conversation_id=str(told.get("conversation_id", name)),
        created_at=datetime.fromisoformat(at) if at else None,
        turns=turns,
        reply=str(row["completion"][0]["content"]),
        split=split,
        marks=tuple(map(str, told.get("marks", ()))),
    )
