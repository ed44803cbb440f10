"""Step 2: which replies are learned, in which split: copies capped, shares balanced, conversations kept whole."""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from persona.domain.chat import AuthorId, ChannelId
from persona.domain.lineage import LineageKey
from pipelines.balance import (
    SHARES,
    Candidate,
    Choice,
    Quotas,
    Span,
    Split,
    SplitBounds,
    balance,
    choose_parts,
    split_bounds,
)
from pipelines.dataset.conversations import Conversation
from pipelines.dataset.plan import PreparePlan
from pipelines.dataset.rendering import conversation_id, example_id, reaction_count
from pipelines.dataset.shelf import read_shelf
from pipelines.dataset.targets import Target, Unfit, targets
from pipelines.dataset.tokens import Tokens
from pipelines.preferences import Judged, Usual, usual_reactions

CANDIDATES = "candidates.jsonl"

_FRAME_TOKENS = 400
_FRAME_SHARE = 0.25
"""What the system turn, the names and the quote in front of the newest message may take, roughly."""

_FEW_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A reply that may be learned, as the second step writes it down.

    `conversation` is the place of its conversation in the file of the first step; the rest is what balancing needs.
    """

    conversation: int
    target: Target
    example_id: str
    conversation_id: str
    started_at: datetime
    created_at: datetime
    channel_id: ChannelId
    reactions: int
    tokens: int
    copy_key: int

    @property
    def candidate(self) -> Candidate:
        """What choosing needs to know."""
        return Candidate(example_id=self.example_id, author_id=self.target.author_id, reactions=self.reactions)

    @property
    def judged(self) -> Judged:
        """What preferences need to know; all channels here are on the allow-list."""
        return Judged(
            example_id=self.example_id,
            author_id=self.target.author_id,
            channel_id=self.channel_id,
            created_at=self.created_at,
            reactions=self.reactions,
            tokens=self.tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Everything that is needed to say of a row what becomes of it."""

    bounds: SplitBounds
    quotas: Mapping[Split, Quotas]
    choices: Mapping[Split, Choice]
    available: Mapping[Split, Mapping[AuthorId, int]]
    copied: Mapping[int, int]
    usual: Usual
    copies_dropped: int


@dataclass(frozen=True, slots=True)
class _Again:
    """Something that can be gone through as often as needed: read from the file each time."""

    begin: Callable[[], Iterator[Judged]]

    def __iter__(self) -> Iterator[Judged]:
        return self.begin()


class Candidates:
    """The file of candidates in a folder, written once and read as often as needed."""

    def __init__(self, folder: Path, plan: PreparePlan) -> None:
        self._file = folder / CANDIDATES
        self._plan = plan

    def write(self, shelf: Path, tokens: Tokens, key: LineageKey) -> Mapping[str, Any]:
        """Find all candidates in the conversations; return how many there are, and why others are none."""
        unfit: Counter[str] = Counter()
        found = 0
        with self._file.open("w", encoding="utf-8") as stream:
            for number, conversation in enumerate(read_shelf(shelf)):
                whole = None
                for target in targets(conversation, window=self._plan.window):
                    if isinstance(target, Unfit):
                        unfit[str(target)] += 1
                    elif not self._fits(conversation, target, tokens):
                        unfit[str(Unfit.LONG)] += 1
                    else:
                        whole = whole or conversation_id(key, conversation)
                        stream.write(_dump(number, conversation, target, tokens, key, whole))
                        found += 1
        return {"unfit": dict(sorted(unfit.items())), "candidates": found}

    def rows(self, copied: Mapping[int, int], left_out: Collection[str] = ()) -> Iterator[Row]:
        """Yield the candidates in the order of the conversations, copies beyond their limit left out."""
        room = dict(copied)
        with self._file.open(encoding="utf-8") as stream:
            for line in stream:
                row = _load(json.loads(line))
                if row.copy_key in room:
                    room[row.copy_key] -= 1
                    if room[row.copy_key] < 0:
                        continue
                if row.example_id not in left_out:
                    yield row

    def copied(self) -> dict[int, int]:
        """Return the keys of what was said too often, with how many of each are learned."""
        keys = array("q")
        with self._file.open(encoding="utf-8") as stream:
            keys.extend(json.loads(line)[-1] for line in stream)
        values = np.frombuffer(keys, dtype=np.int64)
        values.sort()  # in place: one copy of all keys is enough
        # Something stands more than n times in a sorted row where it stands again n places further on.
        least = min(self._plan.copies, self._plan.short_copies)
        earlier, later = values[: max(len(values) - least, 0)], values[least:]
        often = np.unique(earlier[earlier == later])
        counts = np.searchsorted(values, often, "right") - np.searchsorted(values, often, "left")
        limits = np.where(often & 1, self._plan.short_copies, self._plan.copies)
        over = counts > limits
        return dict(zip(often[over].tolist(), limits[over].tolist(), strict=True))

    def choose(self, left_out: Collection[str] = ()) -> Chosen:
        """Decide what becomes of every candidate; those in `left_out` count as if they were not there."""
        copied = self.copied()
        bounds = split_bounds(self._spans(copied, left_out))
        available: dict[Split, Counter[AuthorId]] = {split: Counter() for split in Split}
        kept = 0
        for row in self.rows(copied, left_out):
            available[bounds.of(row.started_at, row.conversation_id)][row.target.author_id] += 1
            kept += 1
        quotas = {
            split: balance(
                counts, self._plan.cap, most=int(self._plan.most * SHARES[split]) if self._plan.most else None
            )
            for split, counts in available.items()
        }
        choices = choose_parts(
            ((bounds.of(row.started_at, row.conversation_id), row.candidate) for row in self.rows(copied, left_out)),
            quotas,
            self._plan.seed,
        )
        with self._file.open("rb") as stream:
            written = sum(1 for _ in stream)
        return Chosen(
            bounds=bounds,
            quotas=quotas,
            choices=choices,
            available=available,
            copied=copied,
            usual=usual_reactions(_Again(lambda: (row.judged for row in self.rows(copied, left_out)))),
            copies_dropped=written - kept - len(left_out),
        )

    def _spans(self, copied: Mapping[int, int], left_out: Collection[str]) -> Iterator[Span]:
        """Yield one span for each conversation; its candidates stand together in the file."""
        started, which, number = datetime.min.replace(tzinfo=UTC), "", 0
        for row in self.rows(copied, left_out):
            if row.conversation_id != which:
                if number:
                    yield Span(started_at=started, conversation_id=which, examples=number)
                started, which, number = row.started_at, row.conversation_id, 0
            number += 1
        if number:
            yield Span(started_at=started, conversation_id=which, examples=number)

    def _fits(self, conversation: Conversation, target: Target, tokens: Tokens) -> bool:
        """Whether the newest message and the reply fit, as far as one can tell without rendering them.

        Of most one knows without counting: no token is shorter than a byte.
        """
        lines = conversation.lines
        asked = [lines[target.answered].message.content]
        place = target.answered
        while place and lines[place - 1].message.author.id == lines[target.answered].message.author.id:
            place -= 1
            asked.append(lines[place].message.content)
        said = [line.message.content for line in lines[target.first : target.last]]
        texts = asked + said
        room = self._plan.tokens - min(_FRAME_TOKENS, self._plan.tokens * _FRAME_SHARE)
        if sum(len(text.encode("utf-8", "replace")) + 8 for text in texts) <= room:
            return True
        return sum(tokens.count(text) + 8 for text in texts) <= room


def _dump(number: int, conversation: Conversation, target: Target, tokens: Tokens, key: LineageKey, whole: str) -> str:  # noqa: PLR0917
    lines = conversation.lines[target.first : target.last]
    text = "\n".join(line.message.content for line in lines)
    size = len(text.encode("utf-8", "replace"))
    fields = [
        number,
        [target.author_id, target.first, target.last, target.answered, target.context_from],
        example_id(key, [line.message.id for line in lines]),
        whole,
        conversation.lines[0].message.created_at.isoformat(),
        lines[0].message.created_at.isoformat(),
        lines[0].message.channel_id,
        reaction_count(conversation, target),
        tokens.count(text) if size < _FEW_BYTES else size // 8,
        lines[0].copy_key if len(lines) == 1 else _joined([line.copy_key for line in lines]),
    ]
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _load(fields: list[Any]) -> Row:
    number, target, example, conversation, started, created, channel, reactions, tokens, key = fields
    author, first, last, answered, context_from = target
    return Row(
        conversation=number,
        target=Target(author_id=AuthorId(author), first=first, last=last, answered=answered, context_from=context_from),
        example_id=example,
        conversation_id=conversation,
        started_at=datetime.fromisoformat(started),
        created_at=datetime.fromisoformat(created),
        channel_id=ChannelId(channel),
        reactions=reactions,
        tokens=tokens,
        copy_key=key,
    )


def _joined(keys: list[int]) -> int:
    """Return the copy key of several messages in a row; short only where all of them are."""
    digest = blake2b(b"".join(key.to_bytes(8, "big") for key in keys), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1) & ~1 | all(key & 1 for key in keys)
