"""Questions about the state: answered between two pieces of work, in a bounded time, and the state is what it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from memory_store import MemoryStore
from streams import copies, differing, fold, random_choices, records_of, tiny_config
from test_lists_of_a_life_before import click, tenure_over

from consumers.console import looks
from consumers.questions import WAITING_MAX, NoAnswer
from streamer.engine.engine import Engine
from streamer.ranking.scratch import TERMS
from streamer.windows.users import WINDOW

ANSWER_S = 30.0


def test_an_answer_is_of_a_moment_between_two_pieces_of_work():
    tenure = tenure_over(MemoryStore())
    halves: list[tuple[int, int]] = []

    def look(engine: Engine) -> tuple[int, int]:
        first = sum(engine.counters()["applied"].values())
        threading.Event().wait(0.002)  # the fold does not go on meanwhile
        return first, sum(engine.counters()["applied"].values())

    for n in range(60):
        while tenure.full:
            threading.Event().wait(0.001)
        tenure.put(click(f"u{n % 5}", n))
        if n % 3 == 0:
            halves.append(tenure.questions.ask(look, ANSWER_S))
    tenure.drop()
    assert len({one for one, _ in halves}) > 5
    assert all(one == other for one, other in halves)


def test_a_question_that_fails_is_its_askers_and_the_fold_goes_on():
    tenure = tenure_over(MemoryStore())
    with pytest.raises(ZeroDivisionError):
        tenure.questions.ask(lambda _: 1 / 0, ANSWER_S)
    assert tenure.questions.ask(lambda engine: engine.event_ms, ANSWER_S) == 0
    assert tenure.failure is None
    tenure.drop()


def test_who_waited_long_enough_is_passed_over_and_no_more_wait_than_may():
    tenure = tenure_over(MemoryStore())
    going, asked = threading.Event(), []

    def slow(_: Engine) -> None:
        going.wait(ANSWER_S)

    with ThreadPoolExecutor(WAITING_MAX + 1) as pool:
        first = pool.submit(tenure.questions.ask, slow, ANSWER_S)
        while tenure.questions._waiting:
            threading.Event().wait(0.001)
        with pytest.raises(NoAnswer, match=r"busy for 0\.05 s"):
            tenure.questions.ask(asked.append, 0.05)
        others = [pool.submit(tenure.questions.ask, lambda _: "heard", ANSWER_S) for _ in range(WAITING_MAX - 1)]
        while len(tenure.questions._waiting) < WAITING_MAX:
            threading.Event().wait(0.001)
        with pytest.raises(NoAnswer, match="questions wait already"):
            tenure.questions.ask(asked.append, ANSWER_S)
        going.set()
        assert {one.result(ANSWER_S) for one in others} == {"heard"}
        first.result(ANSWER_S)
    assert asked == []
    tenure.drop()


def test_whoever_asks_a_tenure_that_is_over_is_told_so():
    tenure = tenure_over(MemoryStore())
    tenure.drop()
    with pytest.raises(NoAnswer, match="ask the owner"):
        tenure.questions.ask(lambda engine: engine.event_ms, ANSWER_S)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Of 600 choices, some of them of items with documents and vectors."""
    return fold(Engine(tiny_config()), records_of(random_choices(7, 600)))


def test_looking_writes_nothing(engine: Engine):
    before = copies(engine.fold_tables() | engine.publisher_tables())
    recent = looks.recent(engine)
    assert recent["users"]
    assert recent["items"]
    for user in [*recent["users"], "nobody"]:
        looks.user(user)(engine)
    for item in [*recent["items"], "nothing"]:
        looks.item(item)(engine)
    looks.weights(engine)
    assert differing(before, engine.fold_tables() | engine.publisher_tables()) == []
    assert looks.user("nobody")(engine) is None
    assert looks.item("nothing")(engine) is None


def test_a_user_is_told_with_the_window_that_ranks_him(engine: Engine):
    known = [found for one in looks.recent(engine)["users"] if (found := looks.user(one)(engine))]
    assert any(len(found["window"]) == min(found["interactions"], WINDOW) for found in known)
    for found in known:
        times = [one["time_ms"] for one in found["window"]]
        assert max(times, default=0) <= found["last_ms"]
        assert all(one["type"] in {"view", "click", "cart", "purchase"} for one in found["window"])
    assert any(found["now"] for found in known)


def test_an_items_neighbours_are_shares_and_its_popularity_fades_with_the_half_life(engine: Engine):
    for item in looks.recent(engine)["items"]:
        found = looks.item(item)(engine)
        assert all(
            0.0 <= one["near_ratio"] <= 1.0 and 0.0 <= one["wide_ratio"] <= 1.0 for one in found["after"] + found["before"]
        )
        users = [one["users"] for one in found["trends"]]
        assert users == sorted(users)  # the longer the half-life, the more is left
        assert all(one["cosine"] <= 1.0 + 1e-5 and one["item_id"] != item for one in found["similar"])


def test_the_gate_of_the_start_weighs_all_users_alike():
    *kinds, start = looks.weights(Engine(tiny_config()))
    assert len(start.weight) == len(TERMS)
    assert all(kind.weight == start.weight for kind in kinds)
