"""Laws of snapshots: restore after snapshot is the identity, hashes are of content alone, retention loses nothing that is kept."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from drafts import retained
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from one_by_one import OneByOne

from streamer.ports import Committed, TopicInfo, TopicPartition
from streamer.snapshots import (
    FolderStore,
    Manifest,
    Override,
    RecoveryRefused,
    SnapshotDamaged,
    choose_start,
    chunk_names,
    fold_hashes,
    format_metadata,
    list_snapshots,
    read_snapshot,
    table_hashes,
    write_snapshot,
)

DTYPES = st.sampled_from(["?", "<i1", "<i4", ">i8", "<u2", "<u8", "<f2", "<f4", ">f8"])
TABLE = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)))
TABLES = st.dictionaries(st.text("abc_", min_size=1, max_size=4), TABLE, max_size=4)


def draft(n: int, chunk_bytes: int, offsets: dict[str, dict[str, int]] | None = None) -> Manifest:
    return Manifest(
        name=f"{n:013d}-{n:04d}",
        epoch=1,
        created_ms=n,
        parent=None,
        topic_ids={"events": "id"},
        offsets=offsets or {},
        structural={},
        encoder_fingerprint=None,
        versions={},
        head_step=0,
        event_ms=0,
        position=0,
        counters={},
        order=(),
        chunk_bytes=chunk_bytes,
    )


def same(a: np.ndarray, b: np.ndarray) -> bool:
    little = [table.astype(table.dtype.newbyteorder("<")) for table in (a, b)]
    return a.shape == b.shape and little[0].dtype == little[1].dtype and little[0].tobytes() == little[1].tobytes()


@settings(deadline=None, max_examples=60)
@given(fold=TABLES, publisher=TABLES, chunk_bytes=st.integers(1, 200))
def test_snapshot_then_restore_is_the_identity_and_leaves_its_input_untouched(fold, publisher, chunk_bytes):
    before = {name: table.copy() for name, table in fold.items()}
    with tempfile.TemporaryDirectory() as root:
        store = FolderStore(Path(root))
        # The bytes of a chunk do not matter for this law, the number of fsyncs does for its speed.
        chunk_bytes = max(chunk_bytes, sum(table.nbytes for table in [*fold.values(), *publisher.values()]) // 16)
        written = write_snapshot(store, draft(1, max(chunk_bytes, 1)), fold, publisher)
        manifest, fold_read, publisher_read = read_snapshot(store, written.name)
    assert manifest == written
    assert fold_read.keys() == fold.keys()
    assert publisher_read.keys() == publisher.keys()
    assert all(same(fold_read[name], fold[name]) and same(before[name], fold[name]) for name in fold)
    assert all(same(publisher_read[name], publisher[name]) for name in publisher)
    assert fold_hashes(manifest) == table_hashes(fold_read, manifest.chunk_bytes) == table_hashes(fold, manifest.chunk_bytes)


@settings(deadline=None, max_examples=60)
@given(a=TABLE, b=TABLE, chunk_bytes=st.integers(1, 200))
def test_hashes_are_equal_exactly_where_tables_are(a, b, chunk_bytes):
    hash_a, hash_b = (table_hashes({"t": table}, chunk_bytes)["t"] for table in (a, b))
    assert (hash_a == hash_b) == same(a, b)
    assert hash_a == table_hashes({"t": a.copy(order="F")}, chunk_bytes)["t"]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_was_written_and_retired_each_listed_snapshot_reads_as_it_was_written(seed, tmp_path):
    rng = random.Random(seed)
    store = FolderStore(tmp_path)
    table = np.zeros(64, np.int64)
    written: dict[str, bytes] = {}
    committed = ""
    for n in range(1, 15):
        table[rng.randrange(64)] = rng.randrange(3)
        known = chunk_names(list_snapshots(store)[0]) if written and rng.random() < 0.5 else frozenset()
        name = write_snapshot(store, draft(n, 64), {"t": table.copy()}, {}, known=known).name
        written[name] = table.tobytes()
        if rng.random() < 0.7:
            committed = name
            retained(store, rng.randint(1, 3), committed)
        listed = [manifest.name for manifest in list_snapshots(store)]
        assert not committed or committed in listed
        assert name in listed
        for kept in listed:
            assert read_snapshot(store, kept)[1]["t"].tobytes() == written[kept]


class Crash(BaseException):
    """The process ends here."""


class CrashingStore(OneByOne):
    """A folder whose process ends at the n-th put or delete."""

    def __init__(self, root: Path, steps: int) -> None:
        super().__init__(root)
        self.steps = steps

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise Crash

    def put(self, name, data):
        self.step()
        super().put(name, data)

    def delete(self, name):
        self.step()
        super().delete(name)


@pytest.mark.parametrize("steps", range(14))
def test_a_crash_at_any_step_of_writing_or_retiring_leaves_the_committed_snapshot_readable(steps, tmp_path):
    table = np.arange(32, dtype=np.int64)
    store = CrashingStore(tmp_path, 1_000)
    committed = write_snapshot(store, draft(1, 64), {"t": table}, {}).name
    retired: list[str] = []
    store.steps = steps
    try:
        second = write_snapshot(store, draft(2, 64), {"t": table + 1}, {}).name
        committed = second
        retired = retained(store, 1, committed)
    except Crash:
        pass
    survivor = FolderStore(tmp_path)
    expected = table + 1 if committed == "0000000000002-0002" else table
    assert np.array_equal(read_snapshot(survivor, committed)[1]["t"], expected)
    for manifest in list_snapshots(survivor):
        read_snapshot(survivor, manifest.name)
    assert retired in ([], ["0000000000001-0001"])
    write_snapshot(survivor, draft(3, 64), {"t": table + 2}, {})
    retained(survivor, 1, "0000000000003-0003")
    assert len(survivor.names("chunks/")) == 4


def test_any_flipped_byte_of_any_file_is_found(tmp_path):
    store = FolderStore(tmp_path)
    name = write_snapshot(store, draft(1, 64), {"t": np.arange(32, dtype=np.int64)}, {"p": np.ones(3)}).name
    rng = random.Random(7)
    for file in store.names(""):
        whole = store.get(file)
        for _ in range(20):
            place = rng.randrange(len(whole))
            store.put(file, whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
            with pytest.raises(SnapshotDamaged):
                read_snapshot(store, name)
        store.put(file, whole)
    read_snapshot(store, name)


PLACES = [TopicPartition("events", n) for n in range(3)]
OFFSET = st.integers(0, 6)
NAMES = ["0000000000001-0001", "0000000000002-0002"]


@settings(deadline=None, max_examples=300)
@given(
    committed=st.dictionaries(
        st.sampled_from(PLACES), st.builds(Committed, OFFSET, st.sampled_from(["", *map(format_metadata, NAMES)])), max_size=3
    ),
    saved=st.lists(st.lists(OFFSET, min_size=2, max_size=3), max_size=2),
    topic_id=st.sampled_from(["id", "other"]),
    bounds=st.lists(st.tuples(OFFSET, OFFSET), min_size=2, max_size=3),
    override=st.builds(Override, st.sampled_from([None, *NAMES]), st.booleans(), st.booleans()),
)
def test_every_start_lies_within_the_log_and_nothing_is_skipped_uncounted(committed, saved, topic_id, bounds, override):
    manifests = [
        draft(n + 1, 64, {"events": {str(p): offset for p, offset in enumerate(offsets)}}) for n, offsets in enumerate(saved)
    ][::-1]
    log = {PLACES[p]: (min(pair), max(pair)) for p, pair in enumerate(bounds)}
    topics = {"events": TopicInfo(topic_id, len(log))}
    try:
        start = choose_start(committed, manifests, topics, log, override)
    except RecoveryRefused:
        assert not override.from_beginning
        return
    assert start.positions.keys() == log.keys()
    chosen = {manifest.name: manifest for manifest in manifests}.get(start.snapshot or "")
    assert (chosen is None) == (start.snapshot is None)
    for place, position in start.positions.items():
        assert log[place][0] <= position <= log[place][1]
        if chosen is not None and topic_id == "id":
            saved_at = chosen.offsets["events"].get(str(place.partition), 0)
            assert position - saved_at <= start.lost.get(place, 0)
            assert position >= saved_at or start.new_epoch
