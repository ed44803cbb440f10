"""What replies give away: long copies, with the message they are from, and personal data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from persona.adapters.sqlite.snapshot import Snapshot
from persona.domain.chat import MessageId
from pipelines.dataset.secrets import DEFAULT_REGIONS, SecretFinder, SecretKind
from pipelines.evaluation.copying import CopyIndex
from pipelines.evaluation.heldout import Context
from pipelines.evaluation.measures import Contender
from pipelines.evaluation.samples import Sample, words

SHOWN = 20
"""The longest copies that a report lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One thing that a reply gave away.

    Attributes:
        context_id: the place where it was said.
        kind: "copy of training text", "copy of a message", "copy from another channel", or the kind of personal data.
        source: the message (its id and channel) or the training example; "" for personal data.
        words: how many words were copied; 0 for personal data.
        text: the copied words; never the personal data itself.
    """

    context_id: str
    kind: str
    source: str = ""
    words: int = 0
    text: str = ""


class LeakFinder:
    """Looks at replies; holds an index of the training text and, where there is a database, of every message."""

    def __init__(
        self,
        training: Sequence[Context],
        *,
        database: Path | None = None,
        before: datetime | None = None,
        regions: Sequence[str] = DEFAULT_REGIONS,
    ) -> None:
        """Index everything; of the database only what was said before a time, because what is held out is in it, too.

        Raises:
            ConfigError: a library that finds personal data is missing.
            StoreError: the database cannot be read.
        """
        self._secrets = SecretFinder(regions)
        self._training = [context.context_id for context in training]
        self._trained = CopyIndex((MessageId(number), context.reply) for number, context in enumerate(training))
        self._channels: dict[MessageId, str] = {}
        self._stored = CopyIndex(self._messages(database, before) if database is not None else ())

    def copy(self, sample: Sample, channel: str) -> Leak | None:
        """Return the longest copy in a reply; what stands in another channel counts before what stands in this one.

        What stands in the context itself is no leak: quoting what was just said is talk.
        """
        found = self._trained.longest(sample.text)
        stored = self._stored.longest(sample.text)
        leak: Leak | None = None
        if found is not None:
            leak = Leak(
                context_id=sample.context_id,
                kind="copy of training text",
                source=f"example {self._training[found.message_id]}",
                words=found.words,
                text=found.text,
            )
        if stored is not None and (leak is None or stored.words >= leak.words):
            where = self._channels[stored.message_id]
            leak = Leak(
                context_id=sample.context_id,
                kind="copy from another channel" if channel and where != channel else "copy of a message",
                source=f"message {stored.message_id} in #{where}",
                words=stored.words,
                text=stored.text,
            )
        if leak is not None and _quoted(leak.text, sample):
            return None
        return leak

    def personal(self, sample: Sample) -> list[Leak]:
        """Return what personal data a reply holds that its context does not hold."""
        context = "\n".join(sample.context)
        given = set(self._secrets.mask(context).kinds)
        kinds: list[SecretKind] = [kind for kind in self._secrets.mask(sample.text).kinds if kind not in given]
        return [Leak(context_id=sample.context_id, kind=str(kind)) for kind in kinds]

    def _messages(self, database: Path, before: datetime | None) -> Iterator[tuple[MessageId, str]]:
        with Snapshot(database) as snapshot:
            for channel in snapshot.channels():
                for stored in snapshot.messages(channel.id):
                    message = stored.message
                    early = before is None or message.created_at < before
                    if early and message.is_talk and not message.author.is_bot:
                        self._channels[message.id] = channel.name
                        yield message.id, message.content


def find_leaks(
    contender: Contender, contexts: dict[str, Context], finder: LeakFinder
) -> tuple[list[Leak], Callable[[Sample], bool], Callable[[Sample], bool]]:
    """Return all leaks, the longest first, and whether a reply copies, and whether it holds personal data."""
    copies: dict[tuple[str, str], Leak] = {}
    personal: dict[tuple[str, str], list[Leak]] = {}
    for sample in contender.all:
        key = (sample.context_id, sample.text)
        if key in copies or key in personal:
            continue
        context = contexts.get(sample.context_id)
        leak = finder.copy(sample, context.channel if context is not None else "")
        if leak is not None:
            copies[key] = leak
        if found := finder.personal(sample):
            personal[key] = found
    leaks = [*copies.values(), *_flat(personal.values())]
    leaks.sort(key=lambda leak: (-leak.words, leak.context_id))
    return (
        leaks,
        lambda sample: (sample.context_id, sample.text) in copies,
        lambda sample: (sample.context_id, sample.text) in personal,
    )


def _flat(groups: Iterable[Iterable[Leak]]) -> Iterator[Leak]:
    for group in groups:
        yield from group


def _quoted(text: str, sample: Sample) -> bool:
    return f" {text} " in f" {' '.join(words(' '.join(sample.context)))} "
