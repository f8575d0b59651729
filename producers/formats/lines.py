"""Lines of a recording: streamed, with bounded memory, and never silently cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from producers.formats.base import RecordingError
from producers.formats.containers import chunks_of, damage_told

HEAD_BYTES = 65_536
"""What is looked at to tell a format."""

LINE_BYTES_MAX = 4 * 1_048_576
"""A longer line is no record of any format: items have at most 1 MiB."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their ends, unpacked. An end of line is a line feed, with or without a carriage return before it.

    Raises RecordingError where the file cannot be opened, is cut or damaged, is UTF-16, or has a line over LINE_BYTES_MAX.
    """
    number = 0
    with damage_told(path, lambda: f"line {number}"), path.open("rb") as file:
        for line in _split(_text(chunks_of(file, path), path), path):
            number += 1
            yield line


def read_text(path: Path) -> Iterator[bytes]:
    """The unpacked bytes of a text file in pieces, without a byte order mark. Raises as ``read_lines``."""
    done = 0
    with damage_told(path, lambda: f"byte {done:,} of what is in it"), path.open("rb") as file:
        for chunk in _text(chunks_of(file, path), path):
            done += len(chunk)
            yield chunk


def read_start(path: Path) -> bytes:
    """What a text file begins with, unpacked, from the first byte that is no space; b"" where there is none. Raises as ``read_lines``."""
    return next((start for chunk in read_text(path) if (start := chunk.lstrip())), b"")[:HEAD_BYTES]


def read_head(path: Path) -> bytes:
    """The first HEAD_BYTES or so of a file, unpacked, whole lines unless one is longer. Raises as ``read_lines``."""
    head = bytearray()
    for line in read_lines(path):
        head += line + b"\n"
        if len(head) >= HEAD_BYTES:
            break
    return bytes(head)


def _text(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    first = True
    for chunk in chunks:
        if first and chunk:
            first = False
            if chunk.startswith(_UTF_16):
                raise RecordingError(f"{path}: is UTF-16 text, expected UTF-8: convert it with iconv -f UTF-16 -t UTF-8")
            yield chunk.removeprefix(_BOM)
        else:
            yield chunk


def _split(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    pieces: list[bytes] = []
    held = done = 0
    for chunk in chunks:
        pieces.append(chunk)
        held += len(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(pieces).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
            pieces, held, done = [rest], len(rest), done + len(lines)
        if held > LINE_BYTES_MAX:
            raise RecordingError(
                f"{path}: line {done + 1} has more than {LINE_BYTES_MAX} bytes, expected one record a line: is it a file of lines?"
            )
    if held:
        yield b"".join(pieces).removesuffix(b"\r")
