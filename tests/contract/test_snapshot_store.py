"""What every SnapshotStore guarantees; a new adapter is one more factory in ``STORES``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.ports import SnapshotStore
from streamer.snapshots import FolderStore

STORES: dict[str, Callable[[Path], SnapshotStore]] = {"folder": FolderStore}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    return STORES[request.param](tmp_path / "not" / "yet" / "made")


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
