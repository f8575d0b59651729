"""Lines of a recording, whether it is plain, gzip or Zstandard: streamed, with bounded memory, and never silently cut."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from producers.formats.base import RecordingError

HEAD_BYTES = 65_536
"""What is looked at to tell a format."""

LINE_BYTES_MAX = 4 * 1_048_576
"""A longer line is no record of any format: items have at most 1 MiB."""

_PLAIN_CHUNK_BYTES = 262_144
_PACKED_CHUNK_BYTES = 4_096
"""Small, since what comes out of it is held at once and can be a thousand times larger."""

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
_NOT_READ = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PAR1": "Parquet"}


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their ends, decompressed by what the file begins with, not by its name.

    Raises RecordingError where the file cannot be opened, is cut or damaged, or has a line over LINE_BYTES_MAX.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for line in _split(_chunks(file, path)):
                number += 1
                yield line.removeprefix(_BOM) if number == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise RecordingError(f"{path}: cut or damaged after line {number} ({error}): get the whole file again") from error
    except _LineTooLongError as error:
        raise RecordingError(
            f"{path}: line {number + 1} has more than {LINE_BYTES_MAX} bytes, expected one record a line: is it a file of lines?"
        ) from error
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be read ({error.strerror or error}): check path and rights", unreadable=True
        ) from error


def read_head(path: Path) -> bytes:
    """The first HEAD_BYTES or so of a file, decompressed, whole lines unless one is longer. Raises as ``read_lines``."""
    head = bytearray()
    for line in read_lines(path):
        head += line + b"\n"
        if len(head) >= HEAD_BYTES:
            break
    return bytes(head)


class _LineTooLongError(Exception):
    pass


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines out of chunks; an end of line is a line feed, with or without a carriage return before it."""
    pieces: list[bytes] = []
    held = 0
    for chunk in chunks:
        pieces.append(chunk)
        held += len(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(pieces).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
            pieces, held = [rest], len(rest)
        if held > LINE_BYTES_MAX:
            raise _LineTooLongError
    if held:
        yield b"".join(pieces).removesuffix(b"\r")


def _chunks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    begins = file.read(8)
    file.seek(0)
    for magic, name in _NOT_READ.items():
        if begins.startswith(magic):
            raise RecordingError(f"{path}: is a {name} file, expected lines, plain or packed by gzip or zstd: unpack it first")
    if begins.startswith(_GZIP):
        with gzip.open(file) as unpacked:
            yield from iter(lambda: unpacked.read(_PLAIN_CHUNK_BYTES), b"")
    elif begins.startswith(_ZSTANDARD):
        yield from _unpacked_zstandard(file)
    else:
        yield from iter(lambda: file.read(_PLAIN_CHUNK_BYTES), b"")


def _unpacked_zstandard(file: BinaryIO) -> Iterator[bytes]:
    """Frame after frame. The library's own reader ends in silence where a frame is cut, so the end is looked at here."""
    frame = None
    while packed := file.read(_PACKED_CHUNK_BYTES):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame does not end")
