"""The bytes of a recording, whatever it is packed in: streamed, with bounded memory, and never silently cut.

Plain, gzip, bzip2, xz, Zstandard, and a zip archive with one file in it; told by what the file begins with, not by its name.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from producers.formats.base import RecordingError

CHUNK_BYTES = 262_144
_PACKED_CHUNK_BYTES = 4_096
"""Small, since what comes out of it is held at once and can be a thousand times larger."""

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a cut or damaged container raises; bzip2 says it with an OSError that has no number."""

_ENCRYPTED = 0x1
_HIDDEN = ("__MACOSX/", ".")
"""What archivers of one system add beside the file itself."""

PARQUET = b"PAR1"


def chunks_of(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """What is in an open file, unpacked. Raises one of DAMAGED, OSError, and RecordingError for an archive of several files."""
    begins = file.read(8)
    file.seek(0)
    for magic, unpacked in _UNPACKERS.items():
        if begins.startswith(magic):
            yield from unpacked(file, path)
            return
    yield from _read(file)


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does. Raises RecordingError where it cannot be opened, or is no file that can be read again."""
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise RecordingError(
                f"{path}: is a pipe or a device, expected a file, since a recording is read more than once: write it into one first",
                unreadable=True,
            )
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> RecordingError:
    """The error for a file that the system does not give."""
    return RecordingError(f"{path}: cannot be read ({error.strerror or error}): check path and rights", unreadable=True)


@contextlib.contextmanager
def damage_told(path: Path, where: Callable[[], str]) -> Iterator[None]:
    """Turns what reading raises into RecordingErrors; ``where`` says how far reading had come."""
    try:
        yield
    except DAMAGED as error:
        raise _damaged(path, where(), error) from error
    except OSError as error:
        if error.errno is None:
            raise _damaged(path, where(), error) from error
        raise unreadable(path, error) from error


def _damaged(path: Path, where: str, error: Exception) -> RecordingError:
    return RecordingError(f"{path}: cut or damaged after {where} ({error}): get the whole file again")


def _read(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _gzip(file: BinaryIO, path: Path) -> Iterator[bytes]:
    _ = path
    with gzip.open(file) as unpacked:
        yield from iter(lambda: unpacked.read(CHUNK_BYTES), b"")


def _bzip2(file: BinaryIO, path: Path) -> Iterator[bytes]:
    _ = path
    with bz2.open(file) as unpacked:
        yield from _read(unpacked)


def _xz(file: BinaryIO, path: Path) -> Iterator[bytes]:
    _ = path
    with lzma.open(file) as unpacked:
        yield from _read(unpacked)


def _zip(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The one file of an archive; what it holds is streamed, and its checksum looked at."""
    with zipfile.ZipFile(file) as archive:
        files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith(_HIDDEN)]
        if len(files) != 1:
            names = ", ".join(one.filename for one in files[:3]) + (", …" if len(files) > 3 else "")
            raise RecordingError(
                f"{path}: is a zip archive of {len(files)} files{f' ({names})' if files else ''}, expected one: unpack it, "
                "and name the file that is meant"
            )
        if files[0].flag_bits & _ENCRYPTED:
            raise RecordingError(
                f"{path}: {files[0].filename} in it is encrypted, expected a file that anybody can read: unpack it"
            )
        try:
            with archive.open(files[0]) as unpacked:
                yield from _read(unpacked)
        except NotImplementedError as error:
            raise RecordingError(
                f"{path}: {files[0].filename} cannot be unpacked ({error}): unpack it with what packed it"
            ) from error


def _zstandard(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Frame after frame. The library's own reader ends in silence where a frame is cut, so the end is looked at here."""
    _ = path
    frame = None
    while packed := file.read(_PACKED_CHUNK_BYTES):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(packed)
            packed = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame does not end")


_UNPACKERS: dict[bytes, Callable[[BinaryIO, Path], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ": _xz,
    b"PK\x03\x04": _zip,
    b"PK\x05\x06": _zip,
    b"\x28\xb5\x2f\xfd": _zstandard,
}
