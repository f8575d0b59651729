"""A former owner that does not know it yet writes and retires beside the new one: what is committed stays whole."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import numpy as np
import pytest
from drafts import CHUNK, draft
from one_by_one import OneByOne

from streamer.snapshots import FolderStore, Retention, chunk_names, list_snapshots, read_snapshot, write_snapshot
from streamer.snapshots.manifest import chunk_file, manifest_file, manifest_names


def table(*rows: int) -> np.ndarray:
    """Each row is a chunk of its own."""
    return np.repeat(np.array(rows, np.int64), CHUNK // 8)


class Meddled(OneByOne):
    """The new owner's store: what a former owner does comes just before the manifest is written, or just after."""

    def __init__(self, root, *, before: Callable[[], object] = list, after: Callable[[], object] = list) -> None:
        super().__init__(root)
        self._before, self._after = before, after

    def put(self, name, data):
        if name.startswith("manifests/"):
            self._before()
        super().put(name, data)
        if name.startswith("manifests/"):
            self._after()


class Former:
    """An owner with two commits and one retention behind it, whose second retention is still to come."""

    def __init__(self, root) -> None:
        self.store = FolderStore(root)
        self.retention = Retention(self.store, keep=2, history_days=0)
        write_snapshot(self.store, draft(0), {"t": table(1, 2)}, {})
        self.store.put(chunk_file("ab" * 32), b"of a write that crashed")
        self.retention.run(draft(0).name)
        self.parent = write_snapshot(self.store, draft(1), {"t": table(1, 3)}, {})

    def retire(self) -> None:
        self.retention.run(self.parent.name)


@pytest.fixture
def former(tmp_path):
    return Former(tmp_path)


def test_a_late_retention_deletes_no_chunk_that_the_new_owner_has_just_written(former, tmp_path, caplog):
    new = Meddled(tmp_path, before=former.retire)
    name = write_snapshot(new, draft(2), {"t": table(1, 4, 5, 6)}, {}, known=chunk_names(former.parent)).name
    assert np.array_equal(read_snapshot(new, name)[1]["t"], table(1, 4, 5, 6))
    assert caplog.text == "", "none had to be written again"
    assert chunk_file("ab" * 32) not in new.names("chunks/")


def test_a_chunk_that_was_unnamed_before_and_is_deleted_while_it_is_needed_again_is_written_again(former, tmp_path, caplog):
    old = write_snapshot(former.store, draft(2), {"t": table(1, 9)}, {})
    former.store.delete(manifest_file(old.name))
    former.retire()  # sees the chunk of nines unnamed for the first time
    new = Meddled(tmp_path, before=former.retire)
    with caplog.at_level(logging.WARNING):
        name = write_snapshot(new, draft(3), {"t": table(1, 9)}, {}, known=chunk_names(former.parent)).name
    assert "1 chunks that should be in the store are not" in caplog.text
    assert np.array_equal(read_snapshot(new, name)[1]["t"], table(1, 9))


def test_a_chunk_that_vanished_from_the_parent_is_written_again_with_the_next_snapshot(former):
    former.store.delete(chunk_file(min(chunk_names(former.parent))))
    name = write_snapshot(former.store, draft(2), {"t": table(1, 3)}, {}, known=chunk_names(former.parent)).name
    assert [manifest.name for manifest in list_snapshots(former.store)] == [name, former.parent.name, draft(0).name]


def test_chunks_that_vanish_as_fast_as_they_are_written_fail_the_snapshot_in_words(tmp_path):
    class Losing(OneByOne):
        def put(self, name, data):
            if name.startswith("manifests/"):
                super().put(name, data)

    with pytest.raises(OSError, match="vanish as fast as they are written"):
        write_snapshot(Losing(tmp_path), draft(0), {"t": table(1)}, {})


def test_a_late_retention_removes_no_snapshot_newer_than_its_own_commit(former, tmp_path):
    new = FolderStore(tmp_path)
    for n in (2, 3, 4):
        write_snapshot(new, draft(n), {"t": table(1, n)}, {})
    former.retire()
    assert manifest_names(new) == [draft(n).name for n in (4, 3, 2, 1, 0)]
    assert Retention(new, keep=2, history_days=0).run(draft(4).name) == [draft(n).name for n in (0, 1, 2)]


def test_the_manifest_of_a_former_owner_whose_chunks_were_deleted_is_skipped_and_goes_with_age(former, tmp_path, caplog):
    new = FolderStore(tmp_path)
    retention = Retention(new, keep=1, history_days=0)
    writing = Meddled(tmp_path, before=lambda: [retention.run(former.parent.name) for _ in range(2)])
    late = write_snapshot(writing, draft(2), {"t": table(7, 8)}, {}, known=chunk_names(former.parent))
    # written again by the one who lost them: complete, never committed, and of no use
    assert late.name in {manifest.name for manifest in list_snapshots(new)}
    new.delete(chunk_file(min(chunk_names(late))))
    with caplog.at_level(logging.WARNING):
        assert late.name not in {manifest.name for manifest in list_snapshots(new)}
    mine = write_snapshot(new, draft(3), {"t": table(1, 4)}, {})
    assert late.name in retention.run(mine.name)
    assert manifest_names(new) == [mine.name]


def test_a_disk_that_is_full_in_the_midst_leaves_no_manifest_and_the_snapshot_before_whole(former, tmp_path):
    class Full(OneByOne):
        puts = 0

        def put(self, name, data):
            self.puts += 1
            if self.puts > 2:
                raise OSError(errno.ENOSPC, "No space left on device", name)
            super().put(name, data)

    full = Full(tmp_path)
    with pytest.raises(OSError, match="No space left on device"):
        write_snapshot(full, draft(2), {"t": table(*range(20, 40))}, {}, known=chunk_names(former.parent))
    assert manifest_names(full) == [former.parent.name, draft(0).name]
    assert np.array_equal(read_snapshot(full, former.parent.name)[1]["t"], table(1, 3))
    former.retire()
    former.retire()
    assert {file.rpartition("/")[2] for file in full.names("chunks/")} == chunk_names(former.parent) | chunk_names(
        list_snapshots(full)[-1]
    )
