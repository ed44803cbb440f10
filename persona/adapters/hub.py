"""Fetches a file of a model from Hugging Face: resumable, checked against its checksum, and published by renaming.

Only `persona model pull` calls this; the bot itself never goes to the network for a model. (huggingface_hub's own
`hf_hub_download` starts from zero after every interruption and keeps caches elsewhere; its client is used here, the
loop is ours.)
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import httpx
from huggingface_hub import HfFileMetadata, get_hf_file_metadata, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # lazily exported there

from persona.adapters.checksum import CHECKSUM_SUFFIX, hash_file
from persona.errors import DownloadError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPARE_BYTES = 64 << 20
"""Disk space that a download leaves free."""
_GO_ON = "check the network and run the command again: it goes on where it stopped"

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes there will be (None while unknown)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What to fetch and where to put it; `sha256` (hexadecimal) is asked for in addition to the hub's own checksum.

    `check` looks at what arrived before it gets its name and raises a DownloadError when it is of no use. For the
    words of errors: `setting` names what the owner may choose otherwise, `by_hand` what helps without a network.
    """

    folder: Path
    repo: str
    file: str
    setting: str
    by_hand: str
    check: Callable[[Path], None] = field(default=lambda _: None)
    revision: str = "main"
    sha256: str = ""
    endpoint: str | None = None
    attempts: int = 5
    pause_seconds: float = 2.0
    sleep: Callable[[float], None] = field(default=time.sleep)

    @property
    def target(self) -> Path:
        """Where the model ends up."""
        return self.folder / PurePosixPath(self.file).name


class NoSuchFileError(DownloadError):
    """The repo has no such file."""


def fetch(download: Download, *, on_progress: OnProgress = lambda _done, _total: None) -> Path:
    """Fetch a file, unless it is there already; return its path. A `.sha256` file beside it states its checksum.

    What was fetched before an interruption is kept beside the target as `.NAME.part` and used by the next call.

    Raises:
        DownloadError: offline, no such repo or file (NoSuchFileError), not allowed, disk full, or damaged on the way;
            says what to do.
    """
    with _explained(download):
        url = hf_hub_url(download.repo, download.file, revision=download.revision, endpoint=download.endpoint)
        metadata = get_hf_file_metadata(url, endpoint=download.endpoint)
        expected = _expected_hash(download, metadata)
        if _already_there(download.target, metadata.size, expected):
            on_progress(download.target.stat().st_size, metadata.size)
            return download.target
        download.folder.mkdir(parents=True, exist_ok=True)
        part = download.folder / f".{download.target.name}.part"
        _discard_other_version(part, expected or metadata.etag or "")
        _fetch(download, url, part, metadata.size, on_progress)
        _publish(download, part, expected)
    return download.target


@contextlib.contextmanager
def progress_bar(name: str) -> Iterator[OnProgress]:
    """Show a bar with rate and time left on standard error while a download runs."""
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415 - only downloads draw bars

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _expected_hash(download: Download, metadata: HfFileMetadata) -> str:
    """Return the sha256 the file must have: the hub's (the ETag of large files), which must not contradict ours."""
    asked = download.sha256.lower()
    etag = (metadata.etag or "").lower()
    stated = etag if _SHA256.fullmatch(etag) else ""
    if asked and stated and asked != stated:
        raise DownloadError(
            f"{download.repo}/{download.file} has the sha256 {stated[:12]}..., not {asked[:12]}...",
            cure="correct [model] sha256, or leave it empty to take the hub's word",
        )
    return asked or stated


def _already_there(target: Path, size: int | None, expected: str) -> bool:
    if not target.is_file() or (size is not None and target.stat().st_size != size):
        return False
    return not expected or hash_file(target) == expected


def _discard_other_version(part: Path, version: str) -> None:
    """Start anew when what is there belongs to another version of the file."""
    note = part.with_name(part.name + ".version")
    known = note.read_text(encoding="utf-8") if note.is_file() else None
    if known != version:
        part.unlink(missing_ok=True)
        note.write_text(version, encoding="utf-8")


def _fetch(download: Download, url: str, part: Path, size: int | None, on_progress: OnProgress) -> None:
    """Fetch the rest of a file into `part`; a broken connection is taken up again as long as there is progress."""
    _check_space(download.folder, (size or 0) - _length(part))
    failures = 0
    while size is None or _length(part) < size:
        before = _length(part)
        try:
            _stream(url, part, size, on_progress)
        except (httpx.TransportError, _CutShort):
            failures = 0 if _length(part) > before else failures + 1
            if failures >= download.attempts:
                raise
            download.sleep(download.pause_seconds)
        else:
            return


class _CutShort(Exception):  # noqa: N818 - never leaves this module
    """The server ended the file early."""


def _stream(url: str, part: Path, size: int | None, on_progress: OnProgress) -> None:
    """Append what is missing to `part`; a server that does not know ranges makes it start over."""
    have = _length(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=30.0) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise _CutShort
        hf_raise_for_status(response)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        with part.open("ab" if resumed else "wb") as stream:
            # Chunks as they come: gathered into larger ones, what came before a break would be lost.
            for chunk in response.iter_raw():
                stream.write(chunk)
                done += len(chunk)
                on_progress(done, size)
            stream.flush()
            os.fsync(stream.fileno())
    if size is not None and done < size:
        raise _CutShort


def _publish(download: Download, part: Path, expected: str) -> None:
    """Check what was fetched and give it its name; a model that is in use keeps its old contents until a restart."""
    target = download.target
    digest = hash_file(part)
    if expected and digest != expected:
        _discard(part)
        raise DownloadError(
            f"{target.name} was damaged on the way: its sha256 is {digest[:12]}..., not {expected[:12]}...",
            cure="run the command again: it starts over",
        )
    try:
        download.check(part)
    except DownloadError:
        _discard(part)
        raise
    beside = target.with_name(target.name + CHECKSUM_SUFFIX)
    fresh = part.with_name(part.name + CHECKSUM_SUFFIX)
    fresh.write_text(f"{digest}  {target.name}\n", encoding="utf-8")
    # The old checksum goes first: between the two renames a model without one is fine, one with the wrong one is not.
    beside.unlink(missing_ok=True)
    part.replace(target)
    fresh.replace(beside)
    _discard(part)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".version").unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + _SPARE_BYTES > free:
        raise DownloadError(
            f"the disk of {folder} has {free / 1e9:.1f} GB left, the model needs {needed / 1e9:.1f} GB",
            cure="free some space or set [storage] models to another disk",
        )


@contextlib.contextmanager
def _explained(download: Download) -> Iterator[None]:
    """Turn what goes wrong on the way into one line with a cure."""
    name = f"{download.repo}/{download.file}"
    try:
        yield
    except OfflineModeIsEnabled:
        raise DownloadError(f"cannot fetch {name}: HF_HUB_OFFLINE is set", cure="unset it") from None
    except GatedRepoError:
        cure = f"accept its licence on https://huggingface.co/{download.repo} and set HF_TOKEN, or choose another repo"
        raise DownloadError(f"{name} is only given out to people who accepted its licence", cure=cure) from None
    except (RepositoryNotFoundError, HFValidationError):
        cure = f"check {download.setting}; a private one needs HF_TOKEN"
        raise DownloadError(f"there is no model repo {download.repo}", cure=cure) from None
    except (EntryNotFoundError, RevisionNotFoundError):
        problem = f"the repo {download.repo} has no file {download.file}"
        raise NoSuchFileError(problem, cure=f"check {download.setting}") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise DownloadError(f"cannot fetch {name}: the hub answered {status}", cure="try again later") from None
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        cure = f"{_GO_ON}; or {download.by_hand}"
        raise DownloadError(f"cannot fetch {name}: the hub cannot be reached: {reason}", cure=cure) from None
    except _CutShort:
        raise DownloadError(f"cannot fetch {name}: the connection breaks off again and again", cure=_GO_ON) from None
    except OSError as error:
        raise DownloadError(f"cannot write to {download.folder}: {error.strerror}", cure="make room there") from None
