"""The cache of vectors: what was put is found, by other processes too, whatever happened to the writer."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from streamer.encoders import CacheError, VectorCache

WRITER = """
import sys
from pathlib import Path
from streamer.encoders import VectorCache
cache = VectorCache(Path(sys.argv[1]), vectors_max=10**6)
for n in range(int(sys.argv[3])):
    cache.put_many("f", {f"{sys.argv[2]}-{n}": bytes([n % 256]) * 768, f"both-{n}": b"same" * 192})
    print(n, flush=True)
"""


def start_writer(root: Path, name: str, puts: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root), name, str(puts)], stdout=subprocess.PIPE)


def make_caches(roots: list[Path], barrier: threading.Barrier, n: int) -> None:
    for root in roots:
        barrier.wait(60)
        VectorCache(root, vectors_max=100).put_many("f", {str(n): b"v"})


def test_what_was_put_is_found_under_its_fingerprint_only(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, vectors_max=100)
    cache.put_many("f1", {"a": b"1", "b": b"2"})
    assert cache.get_many("f1", ["b", "a", "c"]) == {"a": b"1", "b": b"2"}
    assert cache.get_many("f2", ["a"]) == {}
    assert cache.get_many("f1", []) == {}


def test_a_vector_once_put_never_changes(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, vectors_max=100)
    cache.put_many("f", {"a": b"1"})
    cache.put_many("f", {"a": b"2", "b": b"3"})
    assert cache.get_many("f", ["a", "b"]) == {"a": b"1", "b": b"3"}


def test_many_hashes_are_found_in_one_call(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, vectors_max=10_000)
    vectors = {str(n): bytes([n % 256]) for n in range(2_345)}
    cache.put_many("f", vectors)
    assert cache.get_many("f", list(vectors)) == vectors


def test_the_oldest_vectors_go_when_the_bound_is_reached(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, vectors_max=10)
    for n in range(25):
        cache.put_many("f", {str(n): b"v"})
    assert len(cache) == 10
    assert cache.get_many("f", [str(n) for n in range(25)]).keys() == {str(n) for n in range(15, 25)}


def test_a_cache_opened_again_holds_what_it_held(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "deep" / "folder", vectors_max=100)
    cache.put_many("f", {"a": b"1"})
    cache.close()
    assert VectorCache(tmp_path / "deep" / "folder", vectors_max=100).get_many("f", ["a"]) == {"a": b"1"}


def test_processes_share_one_cache_while_all_write(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, puts=50) for name in ("x", "y")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    cache = VectorCache(tmp_path, vectors_max=10**6)
    assert len(cache) == 150
    assert cache.get_many("f", ["x-49", "y-7", "both-0"]) == {
        "x-49": b"\x31" * 768,
        "y-7": b"\x07" * 768,
        "both-0": b"same" * 192,
    }


def test_a_cache_may_be_made_by_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")  # a fork would take along locks that other threads of this process hold
    barrier, roots = context.Barrier(4), [tmp_path / str(turn) for turn in range(10)]
    makers = [context.Process(target=make_caches, args=(roots, barrier, n), daemon=True) for n in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0, 0, 0]
    assert [len(VectorCache(root, vectors_max=100)) for root in roots] == [4] * 10


def test_a_writer_killed_at_work_leaves_a_cache_with_all_it_had_put(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "x", puts=10**6)
    assert writer.stdout is not None
    done = [int(writer.stdout.readline()) for _ in range(100)][-1]
    writer.kill()
    writer.communicate(timeout=60)
    cache = VectorCache(tmp_path, vectors_max=10**6)
    assert len(cache.get_many("f", [f"x-{n}" for n in range(done + 1)])) == done + 1
    cache.put_many("f", {"after": b"1"})
    assert cache.get_many("f", ["after"]) == {"after": b"1"}


def test_a_damaged_file_is_an_error_that_names_it_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_bytes(b"no database " * 1_000)
    with pytest.raises(CacheError, match=r"vectors\.sqlite could not be opened.*may be deleted"):
        VectorCache(tmp_path, vectors_max=100)


def test_a_root_that_is_no_folder_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"encoder\.cache_root"):
        VectorCache(tmp_path / "file", vectors_max=100)
