"""How far one user moves what all see: so many interactions an hour, and an item once, whatever the stream."""

import json
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ReferenceTrends
from streams import START_MS, Record, fold

from streamer.config.tree import Config, Head, Signals, Windows
from streamer.engine.engine import Engine
from streamer.engine.learn import count_ahead
from streamer.engine.state import CAPPED
from streamer.ranking.lists import NOBODY
from streamer.signals.trends import FOR_EVER, HALF_LIVES, RATES, trends_out, unchanged_after
from streamer.tables.ids import row_of_text
from streamer.windows.group import COUNT, TARGETS
from streamer.windows.users import HOUR_MS

WEIGHTS = {"view": 0.5, "click": 1.0, "cart": 2.0, "purchase": 3.0}
HOUR_START_MS = START_MS // HOUR_MS * HOUR_MS


class Choice(NamedTuple):
    kind: str
    user: str
    items: list[str]
    gap_ms: int


CHOICES = st.lists(
    st.builds(
        Choice,
        kind=st.sampled_from([*WEIGHTS]),
        user=st.sampled_from(["u", "w", "x"]),
        items=st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True),  # of a purchase each item counts once
        gap_ms=st.sampled_from([0, 0, 1_000, 1_000_000]),
    ),
    max_size=60,
)


def engine_of(per_hour=1_000, history_items=1_024):
    signals = Signals(user_contributions_per_hour_max=per_hour, **{f"weight_{kind}": w for kind, w in WEIGHTS.items()})
    return Engine(Config(signals=signals, windows=Windows(history_items_max=history_items), head=Head(block_ms_max=10**9)))


def record(kind, user, items, at_ms, partition=0):
    """A purchase or an impression names all the items, any other event the first one."""
    named = {"item_ids": items} if kind in {"purchase", "impression"} else {"item_id": items[0]}
    value = {"type": kind, "user_id": user, "timestamp": HOUR_START_MS + at_ms, **named}
    return Record("events", partition, user.encode(), json.dumps(value).encode(), HOUR_START_MS + at_ms)


def clicks(user, items, *, first_ms=0):
    return [record("click", user, [item], first_ms + n) for n, item in enumerate(items)]


def popularity(engine, *, ahead=False, half=FOR_EVER):
    """The value of every item by its id, now; ``ahead``: what the open group holds counted too, as a list sees it."""
    state = engine.state
    open_G = state.group.target_G[: int(state.group.state[COUNT])]
    with unchanged_after(state.trends, open_G) if ahead else nullcontext():
        if ahead:
            count_ahead(state, engine.rules, np.zeros(TARGETS, np.int64), np.zeros(TARGETS, np.int64))
        found = {}
        for item in "abcdefgh":
            row = row_of_text(state.items.ids, item)
            if row >= 0:
                age = int(state.trends.tick[0] - state.trends.tick_I[row])
                found[item] = float(state.trends.value_IH[row, half]) * 2.0 ** (-age * RATES[half])
        return found


@settings(deadline=None, max_examples=60)
@given(choices=CHOICES, per_hour=st.sampled_from([2, 5, 1_000]))
def test_trends_are_those_of_the_readable_reference_and_lists_see_them_before_they_are_learned(choices, per_hour):
    engine, reference, taken, at_ms = engine_of(per_hour), ReferenceTrends(), {}, 0
    for kind, user, items, gap_ms in choices:
        at_ms += gap_ms
        fold(engine, [record(kind, user, items, at_ms)])
        for item in items if kind == "purchase" else items[:1]:
            hour = user, at_ms // HOUR_MS
            taken[hour] = taken.get(hour, 0) + 1
            if taken[hour] <= per_hour:
                reference.count(user, item, WEIGHTS[kind])
        for half in range(len(HALF_LIVES)):
            seen = {item: value for item, value in popularity(engine, ahead=True, half=half).items() if value > 0}
            assert seen == pytest.approx(dict(reference.values(half)), rel=1e-4)
    engine.settle(HOUR_START_MS + at_ms)
    assert engine.state.trends.tick[0] == reference.clock
    assert engine.state.counter_C[CAPPED] == sum(max(count - per_hour, 0) for count in taken.values())
    for half in range(len(HALF_LIVES)):
        learned = {item: value for item, value in popularity(engine, half=half).items() if value > 0}
        assert learned == pytest.approx(dict(reference.values(half)), rel=1e-4)


def test_a_user_who_repeats_one_item_a_thousand_times_within_an_hour_is_one_user_who_chose_it():
    others = [event for n in range(30) for event in clicks(f"s{n}", ["abc"[n % 3]], first_ms=n)]
    once, often = (fold(engine_of(), others + clicks("u", ["d"] * times, first_ms=100)) for times in (1, 1_000))
    for engine in (once, often):
        engine.settle(engine.event_ms)
    assert often.state.counter_C[CAPPED] == 0
    ours, theirs = (trends_out(engine.state.trends, 4) for engine in (once, often))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert popularity(often) == {"a": 10.0, "b": 10.0, "c": 10.0, "d": 1.0}
    first, second = (engine.rank(np.array([NOBODY]), entries=4).item_UK[0].tolist() for engine in (once, often))
    assert first == second


def test_it_counts_in_full_again_where_nothing_is_remembered_of_the_pair():
    #  u: d, then three other items, and a history holds two; w: d, forgotten, d
    engine = fold(engine_of(history_items=2), clicks("u", ["d", "d", "a", "b", "c", "d"]))
    fold(engine, clicks("w", ["d", "d"], first_ms=100))
    engine.settle(engine.event_ms)
    assert popularity(engine)["d"] == 3.0
    engine.apply_forget("w", HOUR_START_MS + 1_000)
    fold(engine, clicks("w", ["d", "d"], first_ms=2_000))
    engine.settle(engine.event_ms)
    assert popularity(engine)["d"] == 4.0


def test_what_is_over_the_hours_bound_moves_nothing_now_and_takes_nothing_from_later():
    #  two an hour: a, b moved; d is over it twice; in the next hour d counts whole
    engine = fold(engine_of(per_hour=2), clicks("u", ["a", "b", "d", "d"]) + clicks("u", ["d"], first_ms=HOUR_MS))
    engine.settle(engine.event_ms)
    assert engine.state.counter_C[CAPPED] == 2
    assert popularity(engine) == {"a": 1.0, "b": 1.0, "d": 1.0}
    assert engine.state.trends.tick[0] == 3


def test_every_item_of_a_purchase_and_every_impression_is_one_contribution_of_the_hour():
    engine = fold(engine_of(per_hour=6), [*clicks("w", ["f", "g"]), record("purchase", "u", [*"abcd"], 10)])
    fold(engine, [record("impression", "u", ["f", "g"], 20)])  # the fifth
    fold(engine, [record("purchase", "u", ["e", "f", "g"], 30)])  # the sixth, and two too many
    engine.settle(engine.event_ms)
    assert engine.state.counter_C[CAPPED] == 2
    assert popularity(engine) == {**dict.fromkeys("abcde", 3.0), "f": 1.0, "g": 1.0}


def test_events_of_one_hour_count_together_from_whichever_partition_and_in_whichever_order_they_come():
    #  hour 1, 2, 1, 2, 1 by turns on two partitions: the three of the latest hour and before it share its bound
    hours = [1, 2, 1, 2, 1, 2]
    records = [record("click", "u", ["abcdef"[n]], hour * HOUR_MS + n, n % 2) for n, hour in enumerate(hours)]
    engine = fold(engine_of(per_hour=3), records)
    engine.settle(engine.event_ms)
    assert engine.state.counter_C[CAPPED] == 2
    assert {item for item, value in popularity(engine).items() if value > 0} == {*"abcd"}
