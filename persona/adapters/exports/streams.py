"""Reads files of any size in small pieces: plain or gzip, UTF-8 or UTF-16, whole or cut off."""

import codecs
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

from persona.adapters.exports.problems import Problems

_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 19
_GZIP = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib: a gzip header with the largest window


def ignore_progress(_count: int) -> None:
    """Take no notice of how many bytes were read."""


def read_bytes(path: Path, problems: Problems, progress: Callable[[int], None] = ignore_progress) -> Iterator[bytes]:
    """Yield a file's bytes, decompressed, at most half a megabyte at a time, so that memory stays flat.

    `progress` is told how many bytes of the file itself were read. A file that is damaged, cut off or cannot be read
    on ends early and counts as a problem.
    """
    try:
        with path.open("rb") as stream:
            first = stream.read(_READ_BYTES)
            pieces = _counted(first, iter(lambda: stream.read(_READ_BYTES), b""), progress)
            if first.startswith(_GZIP):
                yield from _inflate(pieces, problems)
            else:
                yield from pieces
    except OSError as error:
        problems.lost(f"cannot be read: {error.strerror or error}", "the file")


def read_text(
    path: Path, problems: Problems, progress: Callable[[int], None] = ignore_progress
) -> Generator[str, None, None]:
    """Yield a file's text in pieces; bytes that are no text become U+FFFD and are counted."""
    decoder: codecs.IncrementalDecoder | None = None
    encoding = "utf-8"
    for piece in read_bytes(path, problems, progress):
        if decoder is None:
            encoding = _encoding(piece)
            decoder = codecs.getincrementaldecoder(encoding)()
            text = _decode(decoder, encoding, piece, problems).removeprefix("\ufeff")
        else:
            text = _decode(decoder, encoding, piece, problems)
        if text:
            yield text


def _counted(first: bytes, rest: Iterable[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    progress(len(first))
    yield first
    for piece in rest:
        progress(len(piece))
        yield piece


def _inflate(pieces: Iterable[bytes], problems: Problems) -> Iterator[bytes]:
    """Decompress the members of a gzip file with bounded output, however much a few bytes unpack to."""
    inflater = zlib.decompressobj(_GZIP_FORMAT)
    members = 0
    for piece in pieces:
        data = piece
        while data:
            if inflater.eof:
                inflater = zlib.decompressobj(_GZIP_FORMAT)
                members += 1
            try:
                output = inflater.decompress(data, _PIECE_BYTES)
            except zlib.error:
                if members == 0 or data.strip(b"\0"):  # some tools pad the end with zeros
                    problems.lost("the compressed data is damaged; what came before is kept", "the file")
                return
            if output:
                yield output
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    while output := inflater.decompress(b"", _PIECE_BYTES):
        yield output
    if not inflater.eof:
        problems.lost("the compressed file is cut off; what came before is kept", "the file")


def _encoding(head: bytes) -> str:
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"


def _decode(decoder: codecs.IncrementalDecoder, encoding: str, piece: bytes, problems: Problems) -> str:
    state = decoder.getstate()
    try:
        return decoder.decode(piece)
    except UnicodeDecodeError:
        lenient = codecs.getincrementaldecoder(encoding)("replace")
        lenient.setstate(state)
        text = lenient.decode(piece)
        decoder.setstate(lenient.getstate())
        problems.mended(f"bytes that are not {encoding.upper()}, replaced", "the file", max(text.count("\ufffd"), 1))
        return text
