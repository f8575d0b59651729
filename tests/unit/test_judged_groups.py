"""Which groups are scored before they are learned, and that nothing else depends on it."""

from __future__ import annotations

import json

import msgspec
import numpy as np
from streams import START_MS, Record, fold, random_choices, records_of, tiny_config

from streamer.engine.engine import Engine
from streamer.engine.learn import is_judged
from streamer.engine.state import GROUPS, JUDGED, JUDGED_MS, LIVE

SCORED = ("gate.weight", "gate.inverse", "gate.steps", "quality", "candidates", "stream")
"""Tables that scoring writes."""


def engine_of(records, **head):
    config = tiny_config()
    config = msgspec.structs.replace(config, head=msgspec.structs.replace(config.head, **head))
    return fold(Engine(config), records)


def test_the_first_groups_are_all_judged_then_one_in_so_many():
    rules = Engine(tiny_config()).rules._replace(judged_first=100, judged_every=4, judged_gap_ms=1_000)
    judged = np.array([is_judged(rules, group, 0) for group in range(40_100)])
    assert judged[:100].all()
    assert abs(judged[100:].mean() - 1 / 4) < 4 * np.sqrt(1 / 4 * 3 / 4 / 40_000)
    gaps = np.diff(np.flatnonzero(judged[100:]))
    assert np.bincount(gaps, minlength=9)[1:5].min() > 0  # drawn, not every fourth
    assert all(is_judged(rules, group, 1_000) for group in range(200))  # none was for so long


def test_another_seed_draws_other_groups():
    rules = Engine(tiny_config()).rules._replace(judged_first=0, judged_every=2)
    other = rules._replace(seed=rules.seed + 1)
    assert [is_judged(rules, group, 0) for group in range(64)] != [is_judged(other, group, 0) for group in range(64)]


def test_counts_and_towers_learn_from_groups_that_are_not_judged():
    records = records_of(random_choices(5, 400, users=9, items=40))
    every, few = (engine_of(records, judged_first=10, judged_every=each, judged_gap_ms=10**9) for each in (1, 1_000_000))
    assert every.state.quality_MQ[LIVE, JUDGED] > 2 * few.state.quality_MQ[LIVE, JUDGED] > 0
    assert every.state.stream[GROUPS] > 100
    assert every.state.stream[:JUDGED_MS].tolist() == few.state.stream[:JUDGED_MS].tolist()
    ours, theirs = every.fold_tables(), few.fold_tables()
    assert ours.keys() == theirs.keys()
    for name, table in ours.items():
        assert np.array_equal(table, theirs[name]) == (name not in SCORED), name


def test_a_group_that_may_move_nothing_is_not_judged():
    events = [
        {"type": "click", "user_id": "u", "item_id": f"i{n % 4}", "timestamp": START_MS + 1_000 * n, "event_id": str(n)}
        for n in range(10)
    ]
    records = [Record("events", 0, b"u", json.dumps(event).encode(), event["timestamp"]) for event in events]
    engine = engine_of(records, judged_every=1)
    engine.settle(engine.event_ms)
    moved = engine.rules.contributions_per_hour_max
    assert engine.counters()["capped"] == 10 - moved
    assert engine.state.stream.tolist()[GROUPS:] == [10, START_MS + 1_000 * (moved - 1)]
    assert engine.state.quality_MQ[LIVE, JUDGED] == moved
