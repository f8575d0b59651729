"""A folder of snapshots when the disk fails: at whichever step, each blob is there whole, as before or as it should be."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamer.snapshots import folder
from streamer.snapshots.folder import TEMPORARY_PREFIX, FolderStore

BEFORE = {"chunks/aa/1": b"before", "chunks/bb/2": b"before"}
AFTER = {"chunks/aa/1": b"after", "chunks/bb/2": b"after", "chunks/bb/3": b"new", "chunks/cc/4": b"new"}
STEPS = 4 * len(AFTER) + 1
"""Writes, syncs of files and renames of each, the new folder's in its parent, and syncs of three folders; one more for what is never reached."""


class Steps:
    """What the file system was asked for, in order; the n-th request fails."""

    def __init__(self, fails_at: int, error: BaseException) -> None:
        self.taken: list[str] = []
        self._fails_at = fails_at
        self._error = error

    def take(self, what: str) -> None:
        self.taken.append(what)
        if len(self.taken) == self._fails_at:
            raise self._error


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> Iterator[None]:
    write, sync, rename = folder._write, os.fsync, Path.replace

    def writes(file: io.FileIO, data: bytes | memoryview) -> None:
        steps.take("write")
        write(file, data)

    def syncs(descriptor: int) -> None:
        steps.take("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def renames(path: Path, target: Path) -> Path:
        steps.take("rename")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_write", writes)
        patched.setattr(os, "fsync", syncs)
        patched.setattr(Path, "replace", renames)
        yield


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path)
    store.put_all(BEFORE)
    return store


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=["disk", "interrupted"])
@pytest.mark.parametrize("fails_at", range(1, STEPS))
def test_whatever_step_fails_each_blob_is_as_before_or_as_it_should_be(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, error: BaseException
) -> None:
    steps = Steps(fails_at, error)
    with watched(monkeypatch, steps), pytest.raises(type(error)):
        store.put_all(AFTER)
    assert len(steps.taken) == fails_at
    for name in (*store.names(""), *BEFORE):
        assert store.get(name) in {BEFORE.get(name), AFTER[name]}
    assert not list(tmp_path.rglob(f"{TEMPORARY_PREFIX}*"))


def test_files_are_durable_before_they_have_their_names_and_their_names_at_the_end(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(0, OSError())
    with watched(monkeypatch, steps):
        store.put_all(AFTER)
    assert {name: store.get(name) for name in store.names("")} == AFTER
    after_folder = steps.taken[steps.taken.index("sync file") :]
    assert after_folder == 4 * ["sync file"] + 4 * ["rename"] + 3 * ["sync folder"]
    assert len(steps.taken) == STEPS - 1 == 16


@pytest.mark.parametrize(
    "put", [FolderStore.put, lambda store, name, data: store.put_all({name: data})], ids=["put", "put_all"]
)
def test_views_of_wider_numbers_are_put_byte_by_byte(store: FolderStore, put: Callable[..., None]) -> None:
    put(store, "chunks/dd/5", memoryview(b"01234567").cast("H"))
    assert store.get("chunks/dd/5") == b"01234567"


def test_a_folder_that_is_a_link_holds_no_blobs_of_the_store(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "theirs").write_bytes(b"x")
    store = FolderStore(tmp_path / "store")
    store.put("chunks/ours", b"x")
    (tmp_path / "store" / "chunks" / "link").symlink_to(elsewhere)
    assert store.names("chunks/") == ["chunks/ours"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    store.put("chunks/ab/1", b"x")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        store.names("chunks/")
