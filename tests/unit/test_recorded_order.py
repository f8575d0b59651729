"""The recorded order: whole while it is short, given up and bounded where it is not."""

from __future__ import annotations

import pytest

from consumers import recorded_order
from consumers.recorded_order import RecordedOrder


def test_adjacent_runs_are_one_and_each_is_taken_once() -> None:
    order = RecordedOrder()
    for run in (("events", 0, 3), ("events", 0, 4), ("events", 1, 5)):
        order.note(*run)
    assert order.take() == (("events", 0, 7), ("events", 1, 5))
    assert order.take() == ()


def test_many_records_of_one_partition_are_one_run_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_order, "RUNS_MAX", 10)
    order = RecordedOrder()
    for _ in range(1_000):
        order.note("events", 0, 1)
    assert order.take() == (("events", 0, 1_000),)


def test_what_grows_beyond_its_bound_is_given_up_and_the_next_one_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_order, "RUNS_MAX", 10)
    order = RecordedOrder()
    for n in range(1_000):
        order.note("events", n % 2, 1)
    assert 10 < len(order.take()) <= 20  # the snapshot that takes it sees that it is too long to be whole
    order.note("events", 0, 1)
    assert order.take() == (("events", 0, 1),)
