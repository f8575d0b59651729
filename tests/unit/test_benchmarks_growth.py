"""Whether a long run grew: what is compared, which lists count, what is let pass, when faults come."""

from __future__ import annotations

import doctest
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.growth import Sample, Third, bounds, curves, delays_between, thirds
from benchmarks.soak import FAULT_EVERY_S, MINUTES_MIN, SETTLED_S, STILL_S, schedule
from consumers.measurements import BUCKETS_S

WITHIN_100_MS, WITHIN_5_S = BUCKETS_S.index(0.1), BUCKETS_S.index(5.0)


def samples(count: int = 91, **growing: float) -> list[Sample]:
    """A run, a sample every five seconds and a hundred lists between two, of which those of faults are late; what grows each time, by how much."""
    written_B = np.zeros(len(BUCKETS_S) + 1, np.int64)
    found = []
    for n in range(count):
        calm = n % 10 != 5
        written_B[WITHIN_100_MS if calm else WITHIN_5_S] += 100
        memory_mib, files, threads = (
            start + growing.get(name, 0.0) * n for name, start in (("memory", 300), ("files", 20), ("threads", 16))
        )
        found.append(Sample(5.0 * n, memory_mib, 14.0, int(files), int(threads), written_B.copy(), calm))
    return found


def late_from(run: list[Sample], first: int) -> list[Sample]:
    """The same in which lists of calm times are later from a sample on."""
    moved_B = np.zeros(len(BUCKETS_S) + 1, np.int64)
    moved_B[[WITHIN_100_MS, WITHIN_100_MS + 2]] = -100, 100
    return [replace(one, written_B=one.written_B + max(0, n - first) * moved_B) for n, one in enumerate(run)]


def grown(run: list[Sample]) -> set[str]:
    _, before, after = thirds(run)
    return {name for name, bound in bounds(before, after).items() if not bound.ok}


def test_examples() -> None:
    assert doctest.testmod(soak).failed == 0


def test_a_run_that_stays_as_it_is_has_not_grown() -> None:
    assert grown(samples()) == set()


@pytest.mark.parametrize(
    ("growing", "named"), [({"memory": 1.0}, "memory_mib"), ({"files": 0.2}, "files"), ({"threads": 0.2}, "threads")]
)
def test_what_grows_is_named(growing: dict[str, float], named: str) -> None:
    assert grown(samples(**growing)) == {named}


def test_later_lists_are_named_and_those_of_faults_are_not() -> None:
    assert grown(late_from(samples(), 60)) == {"p99_ms"}


def test_a_third_is_medians_and_delays_between_faults() -> None:
    [_, second, _] = thirds(samples())
    assert second == Third(
        memory_mib=300.0, tables_mib=14.0, files=20, threads=16, lists=3_000, p50_ms=75.0, p99_ms=99.5, late=0.1
    )


def test_lists_of_faults_are_counted_where_all_are_asked_for() -> None:
    run = samples(11)
    assert delays_between(run, calm=True).count_B.sum() == 900
    assert delays_between(run, calm=False).count_B.sum() == 1_000
    assert not delays_between(run[4:6], calm=True).count_B.any()


def test_a_third_without_a_list_between_faults_is_named() -> None:
    run = samples()
    stopped = [replace(one, written_B=run[60].written_B) if n > 60 else one for n, one in enumerate(run)]
    assert grown(stopped) == {"thirds_without_lists"}


def test_curves_go_over_the_whole_run_and_have_gaps_where_no_list_was_written() -> None:
    found = curves([replace(one, calm=one.calm and one.at_s > 45) for one in samples()])
    memory, fresh = found["memory_over_time"], found["freshness_over_time"].as_json()["series"]
    assert memory.at[-1] == "7.5"
    assert memory.series["process"] == [300.0] * 30
    assert isinstance(fresh, dict)
    assert fresh["p99"][:3] == fresh["p50"][:3] == [None] * 3
    assert fresh["p99"][10:] == [99.5] * 20


@pytest.mark.parametrize("minutes", [MINUTES_MIN, 13.0, 28.0, 60.0, 240.0])
def test_each_third_has_each_fault_equally_often_with_time_between(minutes: float) -> None:
    seconds, names = 60 * minutes, ("a", "b", "c")
    due = schedule(seconds, names)
    parts = Counter((int(3 * at_s / seconds), name) for at_s, name in due)
    assert len(parts) == 9
    assert len(set(parts.values())) == 1
    apart_s = due[1][0] - due[0][0]
    assert STILL_S + SETTLED_S < apart_s < 2 * FAULT_EVERY_S
