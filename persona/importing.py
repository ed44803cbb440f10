"""Puts chat exports into the message store, file by file, and says what became of everything in them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from persona.adapters.exports import ExportFile, ExportFormat, NotRecognised, Problem, Problems, read_export
from persona.domain.chat import MessageId
from persona.ports import MessageStore, StoreCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """What became of one file. Of what was `read`, some is stored, updated, unchanged or refused (buried before)."""

    file: ExportFile
    read: int
    counts: StoreCounts
    problems: tuple[Problem, ...]

    @property
    def lost(self) -> int:
        """How many records could not be read at all."""
        return sum(problem.count for problem in self.problems if problem.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of everything that was given to import; `indexed` changes reached the memory."""

    files: tuple[FileReport, ...]
    not_recognised: tuple[NotRecognised, ...]
    seconds: float = 0.0
    indexed: int = 0
    index_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def read(self) -> int:
        """How many messages were read."""
        return sum(report.read for report in self.files)

    @property
    def lost(self) -> int:
        """How many records could not be read at all."""
        return sum(report.lost for report in self.files)

    @property
    def counts(self) -> StoreCounts:
        """What became of the messages, over all files."""
        return total_counts(report.counts for report in self.files)


class OwnExports(Protocol):
    """Remembers which messages people exported themselves."""

    async def note_own(self, message_ids: Collection[MessageId], note: str, at: datetime) -> int:
        """Write it down for those that are stored; `note` is what the owner knows of the export."""


PACKAGE_NOTE = "Discord data packages of the people who wrote them"


class ImportWatcher:
    """Learns how an import goes on; this one does nothing."""

    def started(self, file: ExportFile) -> None:
        """A file is about to be read."""

    def advanced(self, size: int, messages: int) -> None:
        """More of the file was read (bytes on disk) and stored (messages)."""


async def import_files(
    store: MessageStore,
    files: Sequence[ExportFile],
    *,
    allow: bool,
    watcher: ImportWatcher | None = None,
    own: str = "",
    exports: OwnExports | None = None,
) -> tuple[FileReport, ...]:
    """Store the messages of exports; with `allow` their channels go on the allow-list.

    `exports` is told which messages did not come through Discord's API: those of data packages, and all where `own`
    says why.

    Each batch is one transaction: stopped at any point, what was stored stays, and a second run adds the rest.

    Raises:
        StoreError: the database cannot be written.
    """
    watcher = watcher or ImportWatcher()
    reports = []
    for file in files:
        watcher.started(file)
        note = own or (PACKAGE_NOTE if file.format is ExportFormat.PACKAGE else "")
        reports.append(await _import_file(store, file, allow, watcher, (exports, note) if exports and note else None))
    return tuple(reports)


async def _import_file(
    store: MessageStore, file: ExportFile, allow: bool, watcher: ImportWatcher, own: tuple[OwnExports, str] | None
) -> FileReport:
    problems, bytes_read = Problems(), _Counter()
    read = 0
    counts = StoreCounts()
    # Parsing stays on this thread, between two writes: side by side they would only wait for the interpreter's lock.
    for batch in read_export(file, problems, bytes_read.add):
        if batch.channels:
            await store.put_channels(batch.channels)
            if allow:
                await store.set_allowed([channel.id for channel in batch.channels], allowed=True)
        if batch.messages:
            counts = total_counts((counts, await store.put_messages(batch.messages, batch.reactions)))
            read += len(batch.messages)
            if own is not None:
                exports, note = own
                await exports.note_own([message.id for message in batch.messages], note, datetime.now(UTC))
        watcher.advanced(bytes_read.take(), len(batch.messages))
    watcher.advanced(bytes_read.take(), 0)
    return FileReport(file=file, read=read, counts=counts, problems=problems.listed())


def total_counts(parts: Iterable[StoreCounts]) -> StoreCounts:
    """Add counts up."""
    listed = list(parts)
    return StoreCounts(
        added=sum(part.added for part in listed),
        updated=sum(part.updated for part in listed),
        unchanged=sum(part.unchanged for part in listed),
        refused=sum(part.refused for part in listed),
    )


class _Counter:
    """Collects numbers until someone takes their sum."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, number: int) -> None:
        self._sum += number

    def take(self) -> int:
        number, self._sum = self._sum, 0
        return number
