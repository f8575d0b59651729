"""The Redis store when the server is away, refuses, or holds what is none of ours. Each fault is a real server's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from consumers.reader import encode_list, version_text
from consumers.redis_store import RedisStore, advice, masked
from streamer.embedded.valkey import ValkeyProcess
from streamer.ports import RecommendationList, Recommended, StoreError

Make = Callable[..., RedisStore]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with contextlib.closing(ValkeyProcess(tmp_path / "valkey")) as started:
        yield started


@pytest.fixture
def client(server: ValkeyProcess) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis.from_url(server.url)) as opened:
        yield opened


@pytest.fixture
def make() -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def store(url: str, **settings: int) -> RedisStore:
            chosen = {"ttl_s": 100, "timeout_ms": 500, "batch_lists_max": 256} | settings
            return stack.enter_context(contextlib.closing(RedisStore(url, "t", **chosen)))

        yield store


def payload(position: int, *items: str) -> bytes:
    recommended = tuple(Recommended(item, 1.0, ()) for item in items)
    return encode_list(RecommendationList("u", version_text(1, position), recommended, True, 0, 0, 0))


def test_lists_have_a_time_to_live_that_each_write_renews_and_shared_keys_have_none(
    server: ValkeyProcess, client: redis.Redis, make: Make
) -> None:
    store = make(server.url)
    store.write_lists([b"u"], [payload(1, "a")])
    store.write_shared("popular", payload(1, "a"))
    assert 90 <= client.ttl("t:v1:rec:u") <= 100
    client.expire("t:v1:rec:u", 10)
    store.write_lists([b"u"], [payload(1, "a")])
    assert client.ttl("t:v1:rec:u") > 10
    store.write_lists([b"u"], [payload(1, "a")], [60])
    assert 30 <= client.ttl("t:v1:rec:u") <= 40  # 100 s after he was seen
    assert store.write_lists([b"u"], [payload(1, "a")], [1_000]) == [True]  # no time to live that a server refuses
    assert client.ttl("t:v1:rec:u") <= 1
    store.write_lists([b"u"], [payload(1, "a")])
    assert client.ttl("t:v1:popular") == -1
    assert sorted(client.keys()) == [b"t:v1:popular", b"t:v1:rec:u"]


def test_a_server_that_restarted_has_forgotten_the_script_and_is_given_it_again(server: ValkeyProcess, make: Make) -> None:
    store = make(server.url, timeout_ms=5_000)
    assert store.write_lists([b"u"], [payload(1, "a")]) == [True]
    os.kill(server.pid, signal.SIGKILL)
    wait_for_end(server)
    with pytest.raises(StoreError, match="check that the server runs"):
        store.write_lists([b"u"], [payload(2, "b")])
    with pytest.raises(StoreError, match="check that the server runs"):
        store.read("u")
    server.ensure()
    assert store.write_lists([b"u"], [payload(2, "b")]) == [True]


def test_a_server_that_does_not_answer_times_out_once(server: ValkeyProcess, make: Make) -> None:
    store = make(server.url)
    store.write_lists([b"u"], [payload(1, "a")])
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"redis\.timeout_ms"):
            store.write_lists([b"u"], [payload(2, "b")])
        assert time.monotonic() - began < 2
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert store.write_lists([b"u"], [payload(3, "c")]) == [True]


def test_a_wrong_password_is_named_and_never_shown(tmp_path: Path, make: Make) -> None:
    with contextlib.closing(ValkeyProcess(tmp_path / "locked", options={"requirepass": "right"})) as server:
        for url in (server.url, server.url.replace("//", "//default:wr0ng@")):
            with pytest.raises(StoreError, match="check user and password") as raised:
                make(url).write_lists([b"u"], [payload(1, "a")])
            assert "wr0ng" not in str(raised.value)
            assert "STREAMER_REDIS__URL" in str(raised.value)
        assert make(server.url.replace("//", "//:right@")).write_lists([b"u"], [payload(1, "a")]) == [True]


def test_a_full_server_is_named(server: ValkeyProcess, client: redis.Redis, make: Make) -> None:
    store = make(server.url)
    store.write_lists([b"u"], [payload(1, "a")])
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreError, match="maxmemory"):
        store.write_lists([b"u", b"v"], [payload(2, "b")] * 2)
    assert store.read("u") is not None
    client.config_set("maxmemory", 0)
    assert store.write_lists([b"u", b"v"], [payload(2, "b")] * 2) == [True, True]


def test_a_replica_and_missing_replicas_are_told_apart(server: ValkeyProcess, client: redis.Redis, make: Make) -> None:
    store = make(server.url)
    client.config_set("min-replicas-to-write", 1)
    with pytest.raises(StoreError, match="min-replicas-to-write"):
        store.write_lists([b"u"], [payload(1, "a")])
    client.config_set("min-replicas-to-write", 0)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client.replicaof("127.0.0.1", nobody.getsockname()[1])
        with pytest.raises(StoreError, match="this is a replica"):
            store.write_lists([b"u"], [payload(1, "a")])


def test_missing_rights_are_named(server: ValkeyProcess, client: redis.Redis, make: Make) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~t:v1:*", "+get", "+ping", "+hello", "+client")
    store = make(server.url.replace("//", "//reader:pw@"))
    assert store.read("u") is None
    with pytest.raises(StoreError, match="the user's ACL"):
        store.write_lists([b"u"], [payload(1, "a")])
    client.execute_command("ACL", "SETUSER", "reader", "+set", "+getrange", "+evalsha", "+script|load")
    assert store.write_lists([b"u"], [payload(1, "a")]) == [True]


def test_a_cluster_takes_one_key_a_call(tmp_path: Path, make: Make) -> None:
    with contextlib.closing(ValkeyProcess(tmp_path / "cluster", options={"cluster-enabled": "yes"})) as server:
        with contextlib.closing(redis.Redis.from_url(server.url)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        users = [b"u%d" % n for n in range(5)]
        with pytest.raises(StoreError, match=r"redis\.batch_lists_max to 1"):
            make(server.url).write_lists(users, [payload(1, "a")] * 5)
        store = make(server.url, batch_lists_max=1)
        assert store.write_lists(users, [payload(1, "a")] * 5) == [True] * 5
        assert store.read("u3") is not None


def test_foreign_values_are_overwritten_and_never_served(server: ValkeyProcess, client: redis.Redis, make: Make) -> None:
    store = make(server.url)
    for foreign in (b"", b"zzzz" * 20, b'{"version":"zzzzzzzzzzzzz-zzzzzzzzzzzzzzzzzzzz"}', b"\xff\xfe", b"[1]"):
        client.set("t:v1:rec:u", foreign)
        with pytest.raises(StoreError, match=r"key 't:v1:rec:u' holds something else"):
            store.read("u")
        assert store.write_lists([b"u"], [payload(1, "a")]) == [True]
        assert store.read("u") is not None
    client.delete("t:v1:rec:u")
    client.lpush("t:v1:rec:u", "x")
    with pytest.raises(StoreError, match="another type"):
        store.read("u")
    assert store.write_lists([b"u"], [payload(1, "a")]) == [True]
    client.set("t:v1:gone", b"nonsense")
    with pytest.raises(StoreError, match="t:v1:gone"):
        store.read("u")


def test_deleting_a_namespace_leaves_the_others(server: ValkeyProcess, client: redis.Redis, make: Make) -> None:
    store = make(server.url)
    users = [b"u%d" % n for n in range(2_500)]
    store.write_lists(users, [payload(1, "a")] * len(users))
    store.write_shared("gone", b'{"version":"%s","items":[]}' % version_text(1, 1).encode())
    client.set("tt:v1:rec:u", "kept")
    client.set("t:v2:rec:u", "kept")
    assert store.delete_namespace() == 2_501
    assert sorted(client.keys()) == [b"t:v2:rec:u", b"tt:v1:rec:u"]


def test_a_url_that_is_none_is_refused_without_showing_the_password() -> None:
    for url in ("cache:6379", "http://u:secret@h", "redis://u:secret@h:port", ""):
        with pytest.raises(StoreError, match=r"redis\.url \(STREAMER_REDIS__URL\) is no Redis URL") as raised:
            RedisStore(url, "t", ttl_s=1, timeout_ms=1, batch_lists_max=1)
        assert "secret" not in str(raised.value)
        assert raised.value.__suppress_context__


def test_a_namespace_with_braces_is_refused() -> None:
    with pytest.raises(ValueError, match="braces"):
        RedisStore("redis://h", "{t}", ttl_s=1, timeout_ms=1, batch_lists_max=1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@ss@h", "redis://:***@h"),
        ("rediss://u:p#?/x@h:1", "rediss://u:***@h:1"),
        ("redis://h/0?password=p&db=1", "redis://h/0?password=***&db=1"),
        ("unix://u:p@/run/redis.sock?db=2", "unix://u:***@/run/redis.sock?db=2"),
        ("secret", "(not shown: it has no scheme)"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_what_cannot_be_caused_here_has_advice_too() -> None:
    assert "still loading" in advice(redis.exceptions.BusyLoadingError("LOADING"))
    assert "maxclients" in advice(redis.exceptions.ConnectionError("max number of clients reached"))
    assert "check its disk" in advice(redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file"))
    assert advice(redis.exceptions.RedisError("?")) == "see the server's log"


def wait_for_end(server: ValkeyProcess) -> None:
    assert server._server is not None
    server._server.wait(10)


def wait_until(reached: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not reached():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        pause.wait(0.02)
