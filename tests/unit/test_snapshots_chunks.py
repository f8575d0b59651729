"""Tables as chunks: what is written once, what is found damaged, what is retired."""

from __future__ import annotations

import hashlib
import logging

import msgspec
import numpy as np
import pytest
from drafts import CHUNK, draft, retained
from one_by_one import OneByOne

from streamer.snapshots import (
    FolderStore,
    Manifest,
    SnapshotDamaged,
    chunk_names,
    fold_hashes,
    latest_complete,
    list_snapshots,
    read_snapshot,
    table_hashes,
    write_snapshot,
)
from streamer.snapshots.chunks import AT_ONCE
from streamer.snapshots.manifest import chunk_file, encode_manifest, manifest_file, manifest_names
from streamer.snapshots.soundness import Looks, damaged_among, fault_in


class CountingStore(OneByOne):
    """A folder that notes what was put, in order."""

    def __init__(self, root):
        super().__init__(root)
        self.puts: list[str] = []

    def put(self, name, data):
        super().put(name, data)
        self.puts.append(name)


@pytest.fixture
def store(tmp_path):
    return CountingStore(tmp_path)


def ramp(n: int = 40) -> np.ndarray:
    return np.arange(n, dtype=np.int64)


def test_tables_are_read_as_written_writable_and_by_kind(store):
    fold = {"a": ramp().reshape(8, 5), "b": np.array([1.5, np.nan, -0.0], np.float32), "flags": np.array([True, False])}
    publisher = {"a": np.zeros((0, 3), np.uint8), "half": np.ones(3, np.float16), "scalar": np.array(7, np.int32)}
    written = write_snapshot(store, draft(), fold, publisher)
    manifest, fold_read, publisher_read = read_snapshot(store, written.name)
    assert manifest == written
    for tables, read in ((fold, fold_read), (publisher, publisher_read)):
        assert read.keys() == tables.keys()
        for name, table in tables.items():
            assert read[name].dtype == table.dtype
            assert read[name].shape == table.shape
            assert read[name].tobytes() == table.tobytes()
            assert read[name].flags.writeable


def test_the_manifest_is_written_last(store):
    manifest = write_snapshot(store, draft(), {"a": ramp()}, {"p": ramp(9)})
    assert store.puts[-1] == manifest_file(manifest.name)
    assert {manifest_file(manifest.name)} == {name for name in store.puts if not name.startswith("chunks/")}


def test_whoever_writes_may_rest_after_every_few_chunks_hashed_and_put(store):
    rests: list[int] = []
    chunks = 2 * AT_ONCE + 1
    write_snapshot(store, draft(), {"a": ramp(chunks * CHUNK // 8)}, {}, rest=lambda: rests.append(len(store.puts)))
    assert rests == [0, 0, AT_ONCE, 2 * AT_ONCE, chunks]


def test_only_chunks_that_changed_are_written(store):
    table = ramp(8 * 100)
    first = write_snapshot(store, draft(0), {"a": table}, {})
    store.puts.clear()
    table[8 * 50] = -1
    second = write_snapshot(store, draft(1), {"a": table}, {}, known=chunk_names(first))
    assert len(store.puts) == 2
    assert read_snapshot(store, second.name)[1]["a"][8 * 50] == -1


def test_chunks_named_as_known_are_not_written_and_the_store_is_not_asked(store):
    first = write_snapshot(store, draft(0), {"a": ramp(80)}, {})
    store.puts.clear()
    write_snapshot(store, draft(1), {"a": ramp(80)}, {}, known=chunk_names(first))
    assert store.puts == [manifest_file(draft(1).name)]


def test_equal_chunks_are_written_once_in_one_snapshot(store):
    write_snapshot(store, draft(), {"a": np.zeros(8_000, np.uint8), "b": np.zeros(640, np.uint8)}, {})
    assert len(store.puts) == 2


def test_a_chunk_that_only_a_crashed_write_left_is_written_again(store):
    content = ramp(8).tobytes()
    FolderStore.put(store, chunk_file(hashlib.sha256(content).hexdigest()), content)
    write_snapshot(store, draft(), {"a": ramp(8)}, {})
    assert len(store.puts) == 2


def test_memory_order_and_byte_order_do_not_change_the_hash():
    table = ramp().reshape(8, 5)
    padded = np.zeros((8, 10), np.int64)
    padded[:, ::2] = table
    for same in (np.asfortranarray(table), table.astype(">i8"), padded[:, ::2]):
        assert table_hashes({"a": same}, CHUNK) == table_hashes({"a": table}, CHUNK)


def test_hashes_tell_tables_apart_by_content_shape_and_dtype():
    tables = {"a": ramp(), "b": ramp().reshape(8, 5), "c": ramp().view(np.uint64), "d": ramp() + 1, "e": ramp(41)}
    assert len(set(table_hashes(tables, CHUNK).values())) == len(tables)


def test_hashes_without_writing_are_those_of_the_manifest(store):
    fold = {"a": ramp(), "b": ramp(3)}
    assert table_hashes(fold, CHUNK) == fold_hashes(write_snapshot(store, draft(), fold, {"p": ramp()}))


@pytest.mark.parametrize("table", [np.array([object()]), np.zeros(2, [("x", "i4")]), np.array(["text"])])
def test_a_table_that_would_need_pickling_is_refused_by_name(store, table):
    with pytest.raises(TypeError, match="table 'bad' has dtype"):
        write_snapshot(store, draft(), {"bad": table}, {})
    assert manifest_names(store) == []


def first_chunk(manifest: Manifest) -> str:
    return chunk_file(manifest.tables[0].chunks[0])


@pytest.mark.parametrize(
    ("damage", "found"),
    [(lambda data: b"X" + data[1:], "64 bytes with sha256"), (lambda data: data[:-1], "63 bytes"), (lambda _: b"", "0 bytes")],
)
def test_a_damaged_chunk_is_named_with_what_was_expected_and_found(store, damage, found):
    manifest = write_snapshot(store, draft(), {"a": ramp()}, {})
    file = first_chunk(manifest)
    store.put(file, damage(store.get(file)))
    with pytest.raises(SnapshotDamaged, match=f"{file}: expected 64 bytes with sha256 .*found {found}") as caught:
        read_snapshot(store, manifest.name)
    assert caught.value.file == file


def test_a_missing_chunk_is_damage_and_the_snapshot_is_skipped_with_a_warning(store, caplog):
    whole = write_snapshot(store, draft(0), {"a": ramp()}, {})
    broken = write_snapshot(store, draft(1), {"a": ramp() + 1}, {})
    store.delete(first_chunk(broken))
    with pytest.raises(SnapshotDamaged, match="found no such file"):
        read_snapshot(store, broken.name)
    with caplog.at_level(logging.WARNING):
        assert list_snapshots(store) == [whole]
    assert f"snapshot {broken.name} is skipped: 1 chunks are missing" in caplog.text
    assert latest_complete(store) == whole


def test_an_unreadable_manifest_is_skipped_with_a_warning(store, caplog):
    store.put(manifest_file(draft(5).name), b"{")
    assert list_snapshots(store) == []
    assert latest_complete(store) is None
    assert f"snapshot {draft(5).name} is skipped" in caplog.text


def test_a_table_entry_that_claims_another_shape_is_damage_before_memory_is_taken(store):
    manifest = write_snapshot(store, draft(), {"a": ramp()}, {})
    entry = msgspec.structs.replace(manifest.tables[0], shape=(10**15,))
    store.put(manifest_file(manifest.name), encode_manifest(msgspec.structs.replace(manifest, tables=(entry,))))
    with pytest.raises(SnapshotDamaged, match="table a: expected sha256"):
        read_snapshot(store, manifest.name)


def write_many(store, count: int) -> list[str]:
    return [write_snapshot(store, draft(n), {"a": ramp() + n, "same": ramp(9)}, {}).name for n in range(count)]


def test_retention_keeps_the_newest_and_deletes_chunks_that_nobody_names(store):
    names = write_many(store, 5)
    assert retained(store, 2, names[4]) == names[:3]
    assert manifest_names(store) == [names[4], names[3]]
    for name in names[3:]:
        read_snapshot(store, name)
    assert {file.rpartition("/")[2] for file in store.names("chunks/")} == set().union(
        *(chunk_names(manifest) for manifest in list_snapshots(store))
    )


def test_snapshots_newer_than_the_committed_one_are_left_alone(store):
    names = write_many(store, 4)
    retained(store, 1, names[2])
    assert manifest_names(store) == [names[3], names[2]]


def test_too_few_snapshots_are_all_kept_and_what_a_crashed_write_left_goes(store):
    names = write_many(store, 2)
    store.put(chunk_file("ab" * 32), b"left over")
    assert retained(store, 5, names[1]) == []
    assert chunk_file("ab" * 32) not in store.names("chunks/")
    assert [manifest.name for manifest in list_snapshots(store)] == names[::-1]


def test_no_chunk_is_deleted_while_a_manifest_that_stays_cannot_be_read(store, caplog):
    names = write_many(store, 3)
    chunks = store.names("chunks/")
    store.put(manifest_file(draft(9).name), b'{"format":99}')
    retained(store, 1, names[2])
    assert store.names("chunks/") == chunks
    assert "no chunk is deleted" in caplog.text
    assert manifest_names(store) == [draft(9).name, names[2]]


def test_an_unreadable_manifest_does_not_count_as_kept_and_goes_with_age(store):
    names = write_many(store, 2)
    store.put(manifest_file(names[0]), b"{")
    assert retained(store, 1, names[1]) == [names[0]]
    assert [manifest.name for manifest in list_snapshots(store)] == [names[1]]


def test_damage_is_found_by_hash_and_only_as_far_as_reading_is_cheap(tmp_path):
    store = FolderStore(tmp_path)
    names = [write_snapshot(store, draft(n), {"t": np.arange(64) + 1_000 * n}, {}) for n in range(4)]
    spoiled = chunk_file(names[2].tables[0].chunks[-1])
    store.put(spoiled, store.get(spoiled)[::-1])
    newest_first = names[::-1]
    assert damaged_among(store, newest_first, 1) == set()
    assert damaged_among(store, newest_first, 5) == {names[2].name}
    assert fault_in(store, names[2].name).file == spoiled
    assert Looks(store, bytes_max=100).damage(names[2]) is None
