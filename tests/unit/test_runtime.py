"""What a worker process checks before it begins, and where it finds that snapshots belong."""

import threading

import pytest

from consumers import runtime
from consumers.compose import open_snapshots, require_snapshots, snapshots_folder, snapshots_place
from streamer.config.tree import Config, Snapshots


def config_of(root: object) -> Config:
    return Config(namespace="shop", snapshots=Snapshots(root=str(root)))


def test_a_snapshot_folder_is_made_where_it_is_missing_and_the_probe_is_gone(tmp_path):
    config = config_of(tmp_path / "a" / "b")
    require_snapshots(config, open_snapshots(config))
    assert list((tmp_path / "a" / "b" / "shop").iterdir()) == []


def test_a_snapshot_folder_that_cannot_be_is_refused_with_its_key(tmp_path):
    (tmp_path / "file").write_text("")
    config = config_of(tmp_path / "file" / "snapshots")
    with pytest.raises(OSError, match=r"snapshots\.root, STREAMER_SNAPSHOTS__ROOT"):
        require_snapshots(config, open_snapshots(config))


def test_a_file_url_is_the_folder_that_it_names(tmp_path):
    config = config_of(f"file://{tmp_path}/with%20space")
    assert snapshots_folder(config) == tmp_path / "with space" / "shop"
    open_snapshots(config).put("a", b"x")
    assert (tmp_path / "with space" / "shop" / "a").read_bytes() == b"x"


def test_another_url_is_no_folder_and_is_shown_without_its_password():
    config = config_of("ftp://me:secret@files/bucket/")
    assert snapshots_folder(config) is None
    assert snapshots_place(config) == "ftp://me:***@files/bucket/shop"


@pytest.mark.parametrize("root", ["nosuch://bucket/prefix", "simplecache::memory://x"])
def test_a_url_that_no_backend_takes_is_refused_in_words(root):
    with pytest.raises(OSError, match=r"expected one, as s3://|install the package"):
        open_snapshots(config_of(root))


def test_kernels_that_are_not_compiled_yet_are_before_a_worker_joins_its_group(monkeypatch):
    compiled = []
    monkeypatch.setattr(runtime, "is_warm", lambda: bool(compiled))
    monkeypatch.setattr(runtime, "warm", lambda: compiled.append(threading.current_thread().name))
    runtime.compile_kernels(threading.Event())
    assert compiled == ["compile"]
    runtime.compile_kernels(threading.Event())
    assert compiled == ["compile"]


def test_a_worker_that_is_stopped_while_kernels_are_compiled_does_not_wait_for_them(monkeypatch):
    stop, never = threading.Event(), threading.Event()
    monkeypatch.setattr(runtime, "is_warm", lambda: False)
    monkeypatch.setattr(runtime, "warm", lambda: never.wait(60))
    threading.Timer(0.2, stop.set).start()
    runtime.compile_kernels(stop)
    assert stop.is_set()
    never.set()
