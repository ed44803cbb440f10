"""Step 3: renders what was chosen and writes it: rows to train on, what is known of them, preferences."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from persona.domain.chat import ChannelId
from persona.domain.lineage import LineageKey
from pipelines.balance import Split
from pipelines.dataset.choosing import Chosen, Row
from pipelines.dataset.conversations import Conversation
from pipelines.dataset.example import Example, json_line, meta_row, sft_row
from pipelines.dataset.kto_rows import KtoRows
from pipelines.dataset.rendering import ExampleRenderer, Place, conversation_id
from pipelines.dataset.targets import own_replies
from pipelines.preferences import Judged, Liked, Rules, Verdict, as_json, judge_message, judge_thumbs, kto_row, thumbs
from pipelines.run import LineageCollector

SHARD_ROWS = 50_000
SAMPLES = 6

_LIKED = "preferences/liked"
"""What `pipelines sample` reads: prompts whose human reply was liked."""

_KTO_SPLITS = (Split.TRAIN, Split.VALIDATION)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What is counted while writing; nothing in it grows with the number of examples."""

    splits: Counter[str] = field(default_factory=Counter)
    preferences: Counter[str] = field(default_factory=Counter)
    prompt_tokens: Counter[int] = field(default_factory=Counter)
    completion_tokens: Counter[int] = field(default_factory=Counter)
    completion_lines: Counter[int] = field(default_factory=Counter)
    activity: Counter[tuple[int, str]] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    samples: list[tuple[str, Example, str]] = field(default_factory=list)

    def take(self, example: Example, split: Split, name: str) -> None:
        """Count an example; those with the smallest ids become samples."""
        self.splits[str(split)] += 1
        self.prompt_tokens[example.prompt_tokens] += 1
        self.completion_tokens[example.completion_tokens] += 1
        self.completion_lines[example.completion.count("\n") + 1] += 1
        self.activity[example.channel_id, f"{example.created_at:%Y-%m}"] += 1
        self.names[example.author_id] = name
        if len(self.samples) < SAMPLES or example.example_id < self.samples[-1][0]:
            self.samples.append((example.example_id, example, str(split)))
            self.samples.sort(key=lambda sample: sample[0])
            del self.samples[SAMPLES:]

    def count_kto(self, kept: Mapping[str, int]) -> None:
        """Count the rows for KTO that stayed, as `KtoRows.finish` tells them."""
        for split in _KTO_SPLITS:
            self.preferences[f"rows for KTO, {split}"] = kept.get(str(split), 0)
        self.preferences["rows for KTO, of them from silence"] = kept.get("silent", 0)


class Shards:
    """Writes lines into files of at most `SHARD_ROWS`: NAME-00000.jsonl, NAME-00001.jsonl ...

    What is named in `whole` goes into one file, NAME.jsonl.
    """

    def __init__(self, folder: Path, *, whole: Collection[str] = ()) -> None:
        self._folder = folder
        self._whole = frozenset(whole)
        self._streams: dict[str, tuple[TextIO, ExitStack]] = {}
        self._rows: Counter[str] = Counter()
        self.files: list[Path] = []

    def __enter__(self) -> "Shards":  # noqa: PYI034
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        for _stream, stack in self._streams.values():
            stack.close()
        self._streams.clear()

    def write(self, name: str, line: str) -> None:
        """Add a line to the newest file of a name such as `sft/train`."""
        shard, place = (0, self._rows[name]) if name in self._whole else divmod(self._rows[name], SHARD_ROWS)
        if not place:
            if name in self._streams:
                self._streams.pop(name)[1].close()
            file = self._folder / (f"{name}.jsonl" if name in self._whole else f"{name}-{shard:05}.jsonl")
            file.parent.mkdir(parents=True, exist_ok=True)
            stack = ExitStack()
            self._streams[name] = (stack.enter_context(file.open("w", encoding="utf-8", errors="replace")), stack)
            self.files.append(file)
        self._streams[name][0].write(line)
        self._rows[name] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes one data set; `places` says where each channel is, `work` is for what is only needed meanwhile."""

    renderer: ExampleRenderer
    chosen: Chosen
    places: Mapping[ChannelId, Place]
    key: LineageKey
    work: Path
    seed: int
    rules: Rules = field(default_factory=Rules)

    def write(
        self,
        folder: Path,
        conversations: Iterator[Conversation],
        rows: Iterator[Row],
        progress: Callable[[int], None],
    ) -> tuple[Tally, LineageCollector, list[Path], list[str]]:
        """Write everything; return the figures, the lineage, the files, and the ids of what did not fit after all.

        Where something did not fit, the shares are no longer what was balanced: choose again without it.
        """
        tally, lineage, misfits = Tally(), LineageCollector(self.key), list[str]()
        row = next(rows, None)
        with Shards(folder, whole=(_LIKED,)) as shards, KtoRows(self.work, self.seed) as kto:
            for number, conversation in enumerate(conversations):
                used: set[int] = set()
                while row is not None and row.conversation == number:
                    split = self.chosen.bounds.of(row.started_at, row.conversation_id)
                    if self.chosen.choices[split].takes(row.candidate):
                        example = self._example(conversation, row, split, shards, tally, kto)
                        if example is None:
                            misfits.append(row.example_id)
                        else:
                            used.update(example.message_ids, example.context_ids)
                    row = next(rows, None)
                used |= self._own(conversation, tally, kto)
                _collect(conversation, used, lineage)
                progress(number + 1)
            kept = kto.finish(lambda split, line: shards.write(f"kto/{split}", line))
        tally.count_kto(kept)
        return tally, lineage, shards.files, misfits

    def _example(  # noqa: PLR0917
        self, conversation: Conversation, row: Row, split: Split, shards: Shards, tally: Tally, kto: KtoRows
    ) -> Example | None:
        example = self.renderer.render(conversation, row.target, self.places[row.channel_id])
        if example is None:
            return None
        author = conversation.lines[row.target.first].message.author
        tally.take(example, split, author.display_name or author.name)
        shards.write(f"sft/{split}", json_line(sft_row(example)))
        shards.write(f"meta/{split}", json_line(meta_row(example, self._marks(example, split))))
        if split in _KTO_SPLITS:
            self._preference(example, split, shards, tally, kto)
        return example

    def _marks(self, example: Example, split: Split) -> list[str]:
        """Return the hashes of everything in an example that people may be asked about: none for training."""
        if split is Split.TRAIN:
            return []
        return [self.key.message(message_id).hex() for message_id in (*example.context_ids, *example.message_ids)]

    def _preference(self, example: Example, split: Split, shards: Shards, tally: Tally, kto: KtoRows) -> None:
        judged = Judged(
            example_id=example.example_id,
            author_id=example.author_id,
            channel_id=example.channel_id,
            created_at=example.created_at,
            reactions=example.reactions,
            tokens=example.completion_tokens,
        )
        verdict = judge_message(judged, self.chosen.usual, self.rules)
        tally.preferences[str(verdict)] += 1
        if verdict is Verdict.LIKED:
            liked = Liked(
                example_id=example.example_id, split=str(split), prompt=example.messages, chosen=example.completion
            )
            shards.write(_LIKED, as_json(liked) + "\n")
        _add_kto(kto, example, verdict, split)

    def _own(self, conversation: Conversation, tally: Tally, kto: KtoRows) -> set[int]:
        """Write what people thought of the persona's own replies; return the messages that went in."""
        used: set[int] = set()
        if all(line.answers is None or not line.reactions for line in conversation.lines):
            return used
        whole = conversation_id(self.key, conversation)
        split = self.chosen.bounds.of(conversation.lines[0].message.created_at, whole)
        if split not in _KTO_SPLITS:
            return used
        for target in own_replies(conversation, window=self.renderer.window):
            lines = conversation.lines[target.first : target.last]
            votes: Counter[str] = Counter()
            for line in lines:
                votes.update(line.reactions)
            place = self.places[lines[0].message.channel_id]
            example = self.renderer.render(conversation, target, place) if votes else None
            if example is None:
                continue
            judged = Judged(
                example_id=example.example_id,
                author_id=example.author_id,
                channel_id=example.channel_id,
                created_at=example.created_at,
                reactions=example.reactions,
                tokens=example.completion_tokens,
            )
            verdict = judge_thumbs(judged, thumbs(votes), self.rules)
            tally.preferences[f"the persona's own reply: {verdict}"] += 1
            if _add_kto(kto, example, verdict, split):
                used.update(example.message_ids, example.context_ids)
        return used


def _add_kto(kto: KtoRows, example: Example, verdict: Verdict, split: Split) -> bool:
    """Hand over what a verdict says of a reply; return whether it says anything."""
    row = kto_row(example.messages, example.completion, verdict)
    if row is None:
        return False
    liked, ignored = verdict is Verdict.LIKED, verdict is Verdict.IGNORED
    kto.add(str(split), example.example_id, json_line(row), liked=liked, ignored=ignored)
    return True


def _collect(conversation: Conversation, used: set[int], lineage: LineageCollector) -> None:
    """Note each message that went in once, with who wrote it."""
    for line in conversation.lines:
        if line.message.id in used:
            lineage.add(line.message.id, line.message.author.id)
    for message in conversation.quoted.values():
        if message.id in used:
            lineage.add(message.id, message.author.id)


def tally_json(tally: Tally) -> dict[str, Any]:
    """Return the figures as JSON values, for the marker of the step."""
    return {
        "splits": dict(sorted(tally.splits.items())),
        "preferences": dict(sorted(tally.preferences.items())),
        "prompt_tokens": sorted(tally.prompt_tokens.items()),
        "completion_tokens": sorted(tally.completion_tokens.items()),
        "completion_lines": sorted(tally.completion_lines.items()),
        "activity": [[channel, month, count] for (channel, month), count in sorted(tally.activity.items())],
        "samples": [
            {"prompt": list(example.messages), "completion": example.completion, "note": f"{split}, {key}"}
            for key, example, split in tally.samples
        ],
    }
