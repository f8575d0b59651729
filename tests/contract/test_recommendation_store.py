"""What every RecommendationStore does: on Valkey, on Redis where one is installed, and in memory."""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory_store import MemoryStore

from consumers.reader import encode_gone, encode_list, version_of, version_text
from consumers.redis_store import RedisStore
from streamer.embedded.valkey import ValkeyProcess
from streamer.ports import Reason, RecommendationList, RecommendationStore, Recommended

EPOCH = 1_795_485_458_344

REDIS_SERVER = shutil.which("redis-server")
SERVERS = ["valkey"] + (["redis-server"] if REDIS_SERVER else [])


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts each kind of server once, when first asked for."""
    started: dict[str, ValkeyProcess] = {}

    def url(kind: str) -> str:
        if kind not in started:
            binary = Path(REDIS_SERVER) if kind == "redis-server" and REDIS_SERVER else None
            started[kind] = ValkeyProcess(tmp_path_factory.mktemp(kind), binary=binary)
        return started[kind].url

    yield url
    for server in started.values():
        server.close()


@pytest.fixture(params=[*SERVERS, "memory"])
def store(request: pytest.FixtureRequest, server_url: Callable[[str], str]) -> Iterator[RecommendationStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    made = RedisStore(server_url(request.param), uuid.uuid4().hex, ttl_s=100, timeout_ms=5_000, batch_lists_max=3)
    with contextlib.closing(made):
        yield made


def a_list(position: int, *items: str, epoch: int = EPOCH, user: str = "u") -> bytes:
    why = (Reason("co-visit", 0.5, "i9"), Reason("trend", 0.25, None))
    recommended = tuple(Recommended(item, 1.0 - n / 10, why) for n, item in enumerate(items))
    return encode_list(RecommendationList(user, version_text(epoch, position), recommended, True, 7, EPOCH, EPOCH + 1))


def ids(found: RecommendationList | None) -> list[str]:
    assert found is not None
    return [item.item_id for item in found.items]


def test_a_list_comes_back_as_it_was_written(store: RecommendationStore) -> None:
    assert store.write_lists([b"u"], [a_list(5, "a", "b")]) == [True]
    why = (Reason("co-visit", 0.5, "i9"), Reason("trend", 0.25, None))
    items = (Recommended("a", 1.0, why), Recommended("b", 0.9, why))
    assert store.read("u") == RecommendationList("u", version_text(EPOCH, 5), items, True, 7, EPOCH, EPOCH + 1)


@pytest.mark.parametrize(
    ("position", "epoch", "accepted"),
    [
        pytest.param(9, EPOCH, False, id="strictly older is refused"),
        pytest.param(10, EPOCH, True, id="equal is written again"),
        pytest.param(11, EPOCH, True, id="newer is written"),
        pytest.param(0, EPOCH + 1, True, id="a newer epoch wins at any position"),
        pytest.param(10**19, EPOCH - 1, False, id="an older epoch loses at any position"),
    ],
)
def test_a_write_is_refused_only_where_a_newer_one_stands(
    store: RecommendationStore, position: int, epoch: int, accepted: bool
) -> None:
    store.write_lists([b"u"], [a_list(10, "old")])
    store.write_shared("popular", a_list(10, "old", user=""))
    assert store.write_lists([b"u"], [a_list(position, "new", epoch=epoch)]) == [accepted]
    assert store.write_shared("popular", a_list(position, "new", epoch=epoch, user="")) is accepted
    assert ids(store.read("u")) == ["new" if accepted else "old"]
    assert ids(store.read("somebody else")) == ["new" if accepted else "old"]


def test_each_user_of_a_batch_gets_an_answer_of_his_own(store: RecommendationStore) -> None:
    users = [b"u%d" % n for n in range(8)]
    store.write_lists(users[1::2], [a_list(10, "old")] * 4)
    assert store.write_lists(users, [a_list(5, "new")] * 8) == [True, False] * 4
    assert [ids(store.read(user.decode())) for user in users] == [["new"], ["old"]] * 4
    assert store.write_lists([], []) == []


def test_withdrawn_items_are_dropped_from_every_list(store: RecommendationStore) -> None:
    store.write_lists([b"u"], [a_list(1, "a", "b", "c")])
    store.write_shared("popular", a_list(1, "b", "d", user=""))
    store.write_shared("gone", encode_gone(version_text(EPOCH, 2), ["b", "x"]))
    assert ids(store.read("u")) == ["a", "c"]
    assert ids(store.read("v")) == ["d"]
    store.write_shared("gone", encode_gone(version_text(EPOCH, 3), []))
    assert ids(store.read("u")) == ["a", "b", "c"]


def test_a_user_without_a_list_gets_the_popular_one(store: RecommendationStore) -> None:
    assert store.read("u") is None
    store.write_shared("popular", a_list(1, "p", user=""))
    found = store.read("u")
    assert found is not None
    assert (found.user_id, found.personal, ids(found)) == ("u", False, ["p"])


def test_an_empty_list_counts_as_none_where_there_is_a_popular_one(store: RecommendationStore) -> None:
    store.write_lists([b"forgotten", b"u"], [a_list(3, user="forgotten"), a_list(3, "withdrawn")])
    store.write_shared("gone", encode_gone(version_text(EPOCH, 3), ["withdrawn"]))
    assert ids(store.read("forgotten")) == ids(store.read("u")) == []
    store.write_shared("popular", a_list(1, "p", user=""))
    assert ids(store.read("forgotten")) == ids(store.read("u")) == ["p"]


def test_what_erases_takes_the_place_of_a_list_and_makes_none(store: RecommendationStore) -> None:
    store.write_shared("popular", a_list(1, "p", user=""))
    store.write_lists([b"u", b"newer"], [a_list(5, "a"), a_list(9, "b", user="newer")])
    empty = [a_list(6, user=user) for user in ("u", "nobody", "newer")]
    assert store.write_lists([b"u", b"nobody", b"newer"], empty, erases=True) == [True, True, False]
    assert [ids(store.read(user)) for user in ("u", "nobody", "newer")] == [["p"], ["p"], ["b"]]
    assert store.write_lists([b"u", b"nobody"], [a_list(5, "late"), a_list(5, "late", user="nobody")]) == [False, True]


@pytest.mark.parametrize("user", ["é", "用户", "a b", "a:b", "*", "{tag}", "a\nb", "\0", "'\"\\", "🙂" * 64, "rec:x", "%s%d"])
def test_odd_user_ids_are_kept_apart(store: RecommendationStore, user: str) -> None:
    store.write_lists([user.encode(), b"other"], [a_list(1, "mine", user=user), a_list(1, "not mine")])
    found = store.read(user)
    assert found is not None
    assert (found.user_id, ids(found)) == (user, ["mine"])


def test_an_id_that_no_writer_can_have_gets_the_popular_list(store: RecommendationStore) -> None:
    store.write_shared("popular", a_list(1, "p", user=""))
    assert ids(store.read("\ud800")) == ["p"]


def test_shared_payloads_come_back_byte_for_byte(store: RecommendationStore) -> None:
    assert store.read_shared("status") is None
    payload = json.dumps({"version": version_text(EPOCH, 1), "owner": "h", "head_step": 3}, separators=(",", ":")).encode()
    assert store.write_shared("status", payload)
    assert store.read_shared("status") == payload


def test_a_payload_without_a_version_is_our_own_bug(store: RecommendationStore) -> None:
    for payload in (b"{}", b'{"version": "1"}', b'{"version":"1795485458344-1"}', a_list(1, "a")[1:]):
        with pytest.raises(ValueError, match="must begin"):
            store.write_lists([b"u"], [payload])


def test_versions_compare_as_text_as_they_do_as_numbers() -> None:
    pairs = [(0, 0), (0, 10**20 - 1), (1, 0), (9, 9), (10, 2), (EPOCH, 99), (EPOCH, 100), (10**13 - 1, 0)]
    texts = [version_text(*pair) for pair in pairs]
    assert texts == sorted(texts)
    assert version_of(a_list(42)) == version_text(EPOCH, 42).encode()
    for bad in [(-1, 0), (0, -1), (10**13, 0), (0, 10**20)]:
        with pytest.raises(ValueError, match="no version"):
            version_text(*bad)
