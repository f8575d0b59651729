"""A snapshot store in a folder of a local (or mounted) file system."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
"""Files of a write that has not ended; never listed, never read."""


class FolderStore:
    """Blobs as files under ``root``: each is there whole or not at all, and stays once ``put`` has returned.

    A write goes to a temporary file beside its target, is fsynced, renamed, and the folder fsynced. Safe for threads and for
    several processes: the last ``put`` of a name wins.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Writes a blob whole or not at all; it is durable once this returns.

        Raises OSError where the file system refuses (full, read-only): the blob that was there before is untouched.
        """
        self._put({name: data})

    def put_all(self, blobs: Mapping[str, bytes | memoryview]) -> None:
        """As ``put`` of each, step by step for all of them: the file system then commits once a step instead of once a blob.

        So many files are open at once. Where it raises, any number of them are there, each whole.
        """
        self._put(blobs)

    def _put(self, blobs: Mapping[str, bytes | memoryview]) -> None:
        temporary: dict[Path, Path] = {}
        try:
            with contextlib.ExitStack() as stack:
                files = []
                for name, data in blobs.items():
                    target = self._path(name)
                    self._make_folder(target.parent)
                    temporary[target] = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
                    files.append(stack.enter_context(temporary[target].open("xb", buffering=0)))
                    _write(files[-1], data)
                for file in files:
                    os.fsync(file.fileno())
            for target, written in temporary.items():
                written.replace(target)
        except BaseException:
            for written in temporary.values():
                with contextlib.suppress(OSError):
                    written.unlink()
            raise
        for folder in {target.parent for target in temporary}:
            _sync_folder(folder)

    def get(self, name: str) -> bytes:
        """Reads a blob; raises KeyError where there is none."""
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(name) from None

    def names(self, prefix: str) -> list[str]:
        """All names that begin with ``prefix``, sorted."""
        folder = prefix.rpartition("/")[0]
        found = _names_in(os.path.join(self._root, folder), f"{folder}/" if folder else "")  # noqa: PTH118
        return sorted(name for name in found if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """Removes a blob; nothing where there is none."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._path(name).unlink()

    def remove_leftovers(self) -> int:
        """Removes temporary files of writes that a crash cut short; returns how many.

        Call it before the first write of a new owner. A former owner that still writes loses at most the ``put`` or
        ``put_all`` in progress, which raises FileNotFoundError there.
        """
        leftovers = list(self._root.rglob(f"{TEMPORARY_PREFIX}*"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*blob_parts(name))

    def _make_folder(self, folder: Path) -> None:
        # A folder is durable only when its parent is fsynced, so each new one takes one step down from the last that exists.
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            _sync_folder(new.parent)


def blob_parts(name: str) -> list[str]:
    """The parts of a blob's name between ``/``; raises ValueError where it could leave the store or hide in it."""
    parts = name.split("/")
    if not all(parts) or any(part.startswith(".") for part in parts) or "\\" in name or "\0" in name:
        raise ValueError(
            f"blob name {name!r}: expected a relative name, parts between '/' neither empty nor beginning with a dot"
        )
    return parts


def _names_in(folder: str, prefix: str) -> Iterator[str]:
    """The blobs in a folder and those below it, where it is there. As text: paths as objects would take five times as long, with the interpreter's lock."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if not entry.is_symlink():
                    yield from _names_in(entry.path, f"{prefix}{entry.name}/")
            elif not entry.name.startswith(TEMPORARY_PREFIX):
                yield prefix + entry.name


def _write(file: io.FileIO, data: bytes | memoryview) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
