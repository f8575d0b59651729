"""What every SnapshotStore guarantees; a new adapter is one more root in ``ROOTS``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drafts import draft, retained

from consumers.compose import open_snapshots
from streamer.config.tree import Config, Snapshots
from streamer.ports import SnapshotStore
from streamer.snapshots import FolderStore, list_snapshots, read_snapshot, write_snapshot

ROOTS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "folder": lambda request: f"{request.getfixturevalue('tmp_path')}/not/yet/made",
    "file": lambda request: f"file://{request.getfixturevalue('tmp_path')}/not/yet/made",
    "memory": lambda _: f"memory://{uuid.uuid4().hex}/not/yet/made",
    "s3": lambda request: str(request.getfixturevalue("s3_root")),
}


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest) -> str:
    return ROOTS[request.param](request)


@pytest.fixture
def store(root: str) -> SnapshotStore:
    return opened(root)


def opened(root: str) -> SnapshotStore:
    return open_snapshots(Config(namespace="shop", snapshots=Snapshots(root=root)))


def test_a_blob_is_read_as_it_was_put(store):
    store.put("chunks/ab/abc", b"\x00\xffbytes")
    store.put("empty", b"")
    assert store.get("chunks/ab/abc") == b"\x00\xffbytes"
    assert store.get("empty") == b""


def test_the_last_put_of_a_name_wins(store):
    store.put("manifests/a.json", b"first and longer")
    store.put("manifests/a.json", b"second")
    assert store.get("manifests/a.json") == b"second"


@pytest.mark.parametrize("name", ["nothing", "chunks/ab/abc", "chunks", "a/b"])
def test_reading_what_is_not_there_is_a_key_error(store, name):
    store.put("chunks/ab/other", b"x")
    store.put("a", b"x")
    with pytest.raises(KeyError):
        store.get(name)


def test_names_are_sorted_and_chosen_by_a_prefix_that_may_end_anywhere(store):
    for name in ["b", "chunks/ab/2", "chunks/ab/1", "chunks/b/3", "chunks2/x"]:
        store.put(name, b"")
    assert store.names("") == ["b", "chunks/ab/1", "chunks/ab/2", "chunks/b/3", "chunks2/x"]
    assert store.names("chunks/") == ["chunks/ab/1", "chunks/ab/2", "chunks/b/3"]
    assert store.names("chunks/a") == ["chunks/ab/1", "chunks/ab/2"]
    assert store.names("chunks") == ["chunks/ab/1", "chunks/ab/2", "chunks/b/3", "chunks2/x"]
    assert store.names("none/") == []


def test_an_empty_store_has_no_names(store):
    assert store.names("") == []


def test_a_deleted_blob_is_gone_and_deleting_nothing_does_nothing(store):
    store.put("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert store.names("") == []
    with pytest.raises(KeyError):
        store.get("a/b")


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../x", "a//b", "a/", ".hidden", "a/.tmp-1", "a\0b"])
def test_a_name_that_leaves_the_store_or_hides_in_it_is_refused(store, name):
    with pytest.raises(ValueError, match="expected a relative name"):
        store.put(name, b"x")


def test_many_threads_put_into_the_same_new_folder(store):
    threads = [threading.Thread(target=store.put, args=(f"chunks/aa/{n}", b"%d" % n)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.names("chunks/aa/")) == 16


def test_what_one_adapter_puts_or_deletes_another_sees_at_once(store, root):
    other = opened(root)  # as a standby has it open while the owner writes
    assert other.names("") == []
    store.put("chunks/aa/1", b"x")
    assert other.names("") == other.names("chunks/") == ["chunks/aa/1"]
    assert other.get("chunks/aa/1") == b"x"
    store.delete("chunks/aa/1")
    assert other.names("") == []
    with pytest.raises(KeyError):
        other.get("chunks/aa/1")


def test_a_store_holds_more_names_than_one_page_of_a_listing(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(f"chunks/{n % 7:02d}/{n:04d}", b"x"), range(1_100)))
    assert store.names("chunks/") == sorted(f"chunks/{n % 7:02d}/{n:04d}" for n in range(1_100))


def test_many_are_put_as_each_would_be(store):
    store.put("chunks/aa/1", b"before")
    blobs = {f"chunks/{n % 3:02d}/{n}": b"%d" % n for n in range(40)} | {"chunks/aa/1": memoryview(b"after")}
    store.put_all(blobs)
    store.put_all({})
    assert {name: store.get(name) for name in store.names("")} == blobs


def test_where_one_of_many_cannot_be_put_it_is_raised_and_the_others_are_whole_or_absent(store):
    good = {f"chunks/aa/{n}": b"whole" for n in range(40)}
    with pytest.raises(ValueError, match="expected a relative name"):
        store.put_all(good | {"../x": b"y"})
    assert all(store.get(name) == b"whole" for name in store.names(""))


def test_views_are_put_as_the_bytes_that_they_show(store):
    store.put("a", memoryview(b"0123456789")[2:5])
    assert store.get("a") == b"234"


def test_nothing_is_left_over_where_every_write_ended(store):
    store.put("a", b"x")
    assert store.remove_leftovers() == 0
    assert store.names("") == ["a"]


def test_a_snapshot_is_written_read_and_retired(store):
    table = np.arange(4_000, dtype=np.int64)
    names = []
    for n in range(4):
        table[n] = -1
        names.append(write_snapshot(store, draft(n, 4_096), {"t": table.copy()}, {}).name)
    assert np.array_equal(read_snapshot(store, names[-1])[1]["t"], table)
    retained(store, 2, names[-1])
    assert [manifest.name for manifest in list_snapshots(store)] == names[:1:-1]
    assert np.array_equal(read_snapshot(store, names[-1])[1]["t"], table)


WRITER = """
import sys
from pathlib import Path
from streamer.snapshots import FolderStore
store, n = FolderStore(Path(sys.argv[1])), 0
while True:
    n += 1
    store.put("manifests/a.json", bytes([n % 251]) * 400_000)
    print(n, flush=True)
"""


def test_a_process_killed_while_writing_leaves_a_whole_blob_and_a_leftover_that_is_never_listed(tmp_path):
    store = FolderStore(tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(20):
        assert writer.stdout.readline()
    deadline = time.monotonic() + 20
    while not list(tmp_path.rglob(".tmp-*")):
        assert time.monotonic() < deadline, "the writer never had a temporary file"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()

    assert store.names("") == ["manifests/a.json"]
    assert re.fullmatch(rb"(.)\1{399999}", store.get("manifests/a.json"), re.DOTALL)
    left = len(list(tmp_path.rglob(".tmp-*")))
    assert store.remove_leftovers() == left
    assert list(tmp_path.rglob(".tmp-*")) == []
    assert store.names("") == ["manifests/a.json"]


def test_a_put_that_fails_leaves_the_former_blob_and_no_leftover(tmp_path):
    store = FolderStore(tmp_path)
    store.put("a", b"before")
    with pytest.raises(TypeError):
        store.put("a", "no bytes")  # type: ignore[arg-type]
    assert store.get("a") == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
