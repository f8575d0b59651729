"""Drift: silent while a stream stays as it is, loud when it changes, and it forgets what it can't compare."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from consumers.drift import EVENTS_MIN, JUDGED_MIN, STREAMS, AdaptiveWindowing, Drift, DriftWatch, Totals, shares
from streamer.events.model import EVENT_TYPE_NAMES

NONE = dict.fromkeys(EVENT_TYPE_NAMES, 0)


class Stream:
    """Events drawn from a seed, a portion a look; shares may change from one portion to the next."""

    def __init__(self, seed: int) -> None:
        self.found: dict[str, Drift] = {}
        self.watch = DriftWatch(self.found)
        self.now_ms = 0
        self._rng = np.random.default_rng(seed)
        self.totals = Totals(dict(NONE), 0, 0, 0.0, 0.0, 0.0, 0.0)
        self.watch.look(self.totals, 0)

    def go(self, looks: int, *, purchases: float = 0.1, new_items: float = 0.02, ndcg: float = 0.3, events: int = 200) -> None:
        for _ in range(looks):
            bought = int(self._rng.binomial(events, purchases))
            applied = self.totals.applied
            self.totals = Totals(
                applied=dict(applied) | {"click": applied["click"] + events - bought, "purchase": applied["purchase"] + bought},
                items_admitted=self.totals.items_admitted + int(self._rng.binomial(events, new_items)),
                users=self.totals.users + int(self._rng.binomial(events, 0.05)),
                fresh_judged=self.totals.fresh_judged + events,
                fresh_ndcg=self.totals.fresh_ndcg + float(self._rng.binomial(events, ndcg)),
                served_judged=self.totals.served_judged + events / 2,
                served_ndcg=self.totals.served_ndcg + float(self._rng.binomial(events // 2, ndcg)),
            )
            self.now_ms += 1_000
            self.watch.look(self.totals, self.now_ms)

    @property
    def alarms(self) -> dict[str, int]:
        return {name: drift.alarms for name, drift in self.found.items() if drift.alarms}


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_that_stays_as_it_is_raises_no_alarm(seed: int) -> None:
    stream = Stream(seed)
    stream.go(3_000)
    assert stream.alarms == {}
    assert set(stream.found) == set(STREAMS)
    assert stream.found["purchase"].mean == pytest.approx(0.1, abs=0.005)
    assert stream.found["new_items"].mean == pytest.approx(0.02, abs=0.005)
    assert stream.found["quality_fresh"].mean == pytest.approx(0.3, abs=0.01)


def test_a_change_of_types_is_told_within_two_minutes_with_what_was_before_and_when() -> None:
    stream = Stream(1)
    stream.go(600)
    stream.go(120, purchases=0.3)
    assert set(stream.alarms) == {"click", "purchase"}
    drift = stream.found["purchase"]
    assert drift.before == pytest.approx(0.1, abs=0.02)
    assert 0.2 < drift.mean < 0.32  # the window lets go of what was before bucket by bucket
    assert drift.alarm_ms is not None
    assert 600_000 < drift.alarm_ms <= 720_000


def test_a_fall_in_quality_and_a_flood_of_new_items_are_told_apart() -> None:
    stream = Stream(2)
    stream.go(600)
    stream.go(200, ndcg=0.15, new_items=0.2)
    assert set(stream.alarms) == {"quality_fresh", "quality_served", "new_items"}


def test_little_is_gathered_until_a_sample_can_be_taken_of_it() -> None:
    stream = Stream(3)
    stream.go(EVENTS_MIN // 10 - 1, events=10)
    assert "click" not in stream.found
    assert stream.found["quality_fresh"].samples == (EVENTS_MIN - 10) // JUDGED_MIN
    stream.go(1, events=10)
    assert stream.found["click"].samples == 1


def test_a_state_that_went_back_is_a_new_beginning_and_no_change() -> None:
    stream = Stream(4)
    stream.go(100)
    before, stream.totals = stream.found["purchase"], Totals(dict(NONE), 0, 0, 0.0, 0.0, 0.0, 0.0)
    stream.watch.look(stream.totals, stream.now_ms)
    assert stream.found["purchase"] == before
    stream.go(1)
    assert stream.found["purchase"].samples == before.samples + 1


def test_users_who_were_evicted_are_no_share_of_new_ones_and_documents_count_once_at_most() -> None:
    since = Totals(NONE | {"click": 100}, 10, 50, 0.0, 0.0, 0.0, 0.0)
    now = Totals(NONE | {"click": 300}, 1_000, 40, 0.0, 0.0, 0.0, 0.0)
    found = dict(shares(since, now))
    assert "new_users" not in found
    assert found["new_items"] == 1.0


def test_alarms_of_an_earlier_tenure_are_kept_and_its_window_is_not() -> None:
    stream = Stream(5)
    stream.go(600)
    stream.go(200, purchases=0.3)
    alarms = stream.alarms["purchase"]
    stream.watch = DriftWatch(stream.found)
    stream.watch.look(stream.totals, stream.now_ms)
    stream.go(1)
    assert stream.found["purchase"].alarms == alarms
    assert stream.found["purchase"].samples == 1


def test_the_window_is_that_of_river() -> None:
    rng = np.random.default_rng(7)
    ours, theirs = AdaptiveWindowing(0.002, 4, 5, 5, 10), ADWIN(clock=4)
    for value in [*rng.normal(0.2, 0.03, 300), *rng.normal(0.4, 0.03, 100)]:
        changed = ours.update(value)
        theirs.update(value)
        assert changed == theirs.drift_detected
        if changed:
            return
    pytest.fail("no change was found")
