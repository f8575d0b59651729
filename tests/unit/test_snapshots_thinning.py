"""Snapshots grow fewer with age: bounded, the newest always, one from before any problem, and what was dropped is never missed."""

from __future__ import annotations

import msgspec
import numpy as np
from drafts import draft
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.config.tree import Snapshots
from streamer.snapshots import FolderStore, Retention, snapshot_name, write_snapshot
from streamer.snapshots.manifest import manifest_names
from streamer.snapshots.pins import pin
from streamer.snapshots.thinning import kept_of, written_ms

MINUTE_MS = 60_000
STEPS = st.lists(st.sampled_from([1, 10_000, 290_000, 3_600_000, 40_000_000]) | st.integers(1, 90_000_000), max_size=60)


def names_at(*times_ms: int) -> list[str]:
    return [snapshot_name(ms, "aaaa") for ms in times_ms]


def one_every(step_ms: int, count: int) -> list[str]:
    return names_at(*(1_795_485_458_344 + n * step_ms for n in range(count)))


@settings(deadline=None, max_examples=200)
@given(steps=STEPS, keep=st.integers(1, 6), history_days=st.integers(0, 9))
def test_thinning_at_every_commit_ends_as_thinning_once_and_is_bounded(steps, keep, history_days):
    at_ms, every, store = 1_795_485_458_344, [], []
    for step in steps:
        at_ms += step
        every += names_at(at_ms)
        store = sorted(kept_of([*store, every[-1]], keep, history_days))
        assert store == sorted(kept_of(every, keep, history_days))
        assert store[-keep:] == every[-keep:]
        assert len(store) <= keep + 26
        assert history_days or len(store) <= keep


@settings(deadline=None, max_examples=20)
@given(count=st.integers(2_000, 12_000), age_minutes=st.integers(1, 7 * 24 * 60))
def test_there_is_one_from_before_a_problem_and_not_much_older(count, age_minutes):
    defaults = Snapshots()
    names = one_every(2 * MINUTE_MS, count)
    ages = [written_ms(names[-1]) - written_ms(name) for name in kept_of(names, defaults.keep, defaults.history_days)]
    problem = age_minutes * MINUTE_MS
    if problem > (count - 1) * 2 * MINUTE_MS:
        return  # it is older than the whole line
    before = min((age for age in ages if age >= problem), default=None)
    assert before is not None or max(ages) == (count - 1) * 2 * MINUTE_MS
    assert before is None or before < max(4 * problem, 10 * MINUTE_MS) + 2 * MINUTE_MS


def test_at_one_every_ten_seconds_a_day_back_is_there_with_some_twenty_of_them():
    kept = sorted(kept_of(one_every(10_000, 2 * 8_640), 5, 7))
    ages_s = [(written_ms(kept[-1]) - written_ms(name)) // 1_000 for name in kept]
    assert ages_s[-5:] == [40, 30, 20, 10, 0]
    assert any(300 <= age < 1_200 for age in ages_s)
    assert any(age >= 86_400 for age in ages_s)
    assert len(kept) <= 24


def test_the_retention_of_a_store_thins_and_leaves_a_pinned_one(tmp_path):
    store = FolderStore(tmp_path)
    retention = Retention(store, keep=2, history_days=1)
    for minute in range(26):
        name = names_at(minute * MINUTE_MS)[0]
        write_snapshot(store, msgspec.structs.replace(draft(), name=name), {"t": np.full(8, minute)}, {})
        if minute == 3:
            pin(store, name, 10**9)
        retention.run(name)
    kept = [written_ms(name) // MINUTE_MS for name in reversed(manifest_names(store))]
    assert kept == [0, 3, 10, 20, 24, 25]
