"""The Valkey child process: it starts, keeps its data, and never outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamer.embedded import valkey
from streamer.embedded.valkey import ValkeyError, ValkeyProcess, find_binary, running_url

ROOT = Path(__file__).parents[2]

# A parent that starts a server, tells its pid, and waits.
PARENT = """
import sys
from pathlib import Path
from streamer.embedded.valkey import ValkeyProcess
server = ValkeyProcess(Path(sys.argv[1]))
print(server.pid, server.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with contextlib.closing(ValkeyProcess(tmp_path / "valkey")) as started:
        yield started


@contextlib.contextmanager
def parent_process(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    command = [sys.executable, "-c", PARENT, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().decode().split()
        yield parent, int(pid), url
        parent.kill()


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.ConnectionError:
        return False


def wait_until(reached: Callable[[], bool], timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not reached():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        pause.wait(0.01)


def test_a_server_that_died_with_its_folder_emptied_comes_back_where_its_clients_look(
    server: ValkeyProcess, tmp_path: Path
) -> None:
    url = server.url
    for file in [path for path in (tmp_path / "valkey").rglob("*") if path.is_file()]:
        file.unlink()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: answers(server.ensure()))  # the process that was killed may linger
    assert server.url == url


def test_what_was_written_is_there_after_a_stop_and_a_start_on_the_same_port(tmp_path: Path) -> None:
    first = ValkeyProcess(tmp_path)
    redis.Redis.from_url(first.url).set("k", b"v")
    first.close()
    assert not alive(first.pid)
    assert running_url(tmp_path) is None
    with contextlib.closing(ValkeyProcess(tmp_path)) as second:
        assert second.url == first.url == running_url(tmp_path)
        assert redis.Redis.from_url(second.url).get("k") == b"v"


def test_it_listens_on_loopback_alone_and_persists_by_its_append_only_file(server: ValkeyProcess) -> None:
    client = redis.Redis.from_url(server.url)
    assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert client.config_get("appendonly")["appendonly"] == "yes"
    assert client.config_get("save")["save"] == ""


def test_options_reach_the_server(tmp_path: Path) -> None:
    with contextlib.closing(ValkeyProcess(tmp_path, options={"maxmemory": "64mb"})) as server:
        assert redis.Redis.from_url(server.url).config_get("maxmemory")["maxmemory"] == str(64 << 20)


def test_a_killed_server_is_started_again_with_its_data(server: ValkeyProcess) -> None:
    client = redis.Redis.from_url(server.url)
    client.set("k", b"v")
    before = server.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: bool(server.ensure()) and server.pid != before)  # its threads may outlive the kill for a moment
    assert not alive(before)
    assert redis.Redis.from_url(server.url).get("k") == b"v"


def test_ensure_changes_nothing_while_the_server_runs(server: ValkeyProcess) -> None:
    before = server.pid
    assert server.ensure() == server.url
    assert server.pid == before


def test_the_server_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with parent_process(tmp_path) as (parent, pid, _):
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        wait_until(lambda: not alive(pid))


def test_a_server_that_a_former_process_left_is_ended_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(valkey, "_WATCHDOG", "exit 0")
    left = ValkeyProcess(tmp_path)
    redis.Redis.from_url(left.url).set("k", b"v")
    os.close(left._lock)  # as the kernel does when the process dies; the watchdog is gone too
    left._lock = None
    monkeypatch.undo()
    reaper = threading.Thread(target=left._server.wait)
    reaper.start()
    with contextlib.closing(ValkeyProcess(tmp_path)) as server:
        reaper.join(10)
        assert not alive(left.pid)
        assert server.pid != left.pid
        assert redis.Redis.from_url(server.url).get("k") == b"v"
    assert "a former process left" in caplog.text


def test_a_second_process_shares_the_server_and_takes_it_over_when_the_first_dies(tmp_path: Path) -> None:
    with parent_process(tmp_path) as (parent, pid, url):
        with contextlib.closing(ValkeyProcess(tmp_path)) as shared:
            assert (shared.pid, shared.url, shared.owned) == (pid, url, False)
            redis.Redis.from_url(url).set("k", b"v")
            parent.send_signal(signal.SIGKILL)
            parent.wait(10)
            wait_until(lambda: not alive(pid))
            assert shared.ensure() == url
            assert shared.owned
            assert redis.Redis.from_url(url).get("k") == b"v"
        assert not alive(shared.pid)


def test_closing_a_shared_server_leaves_it_running(tmp_path: Path) -> None:
    with parent_process(tmp_path) as (_, pid, url):
        ValkeyProcess(tmp_path).close()
        assert alive(pid)
        assert redis.Redis.from_url(url).ping()


def test_a_server_that_cannot_start_is_explained_from_its_log(tmp_path: Path) -> None:
    with pytest.raises(ValkeyError, match="ended before it answered"):
        ValkeyProcess(tmp_path, options={"no-such-setting": "1"})
    with contextlib.closing(ValkeyProcess(tmp_path)) as server:
        assert redis.Redis.from_url(server.url).ping(), "the failed start still holds the folder"


def test_without_a_binary_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.access(find_binary(), os.X_OK)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValkeyError, match=r"redis-server.*STREAMER_REDIS__URL"):
        find_binary()
