"""Whether a long run grew: what is compared, which lists count, what is let pass."""

from __future__ import annotations

import doctest
import math

import pytest

from benchmarks import growth
from benchmarks.growth import Sample, bounds, curves, quantile, thirds, written


def samples(count: int, *, memory: float = 0.0, files: float = 0.0, late_from: float = math.inf) -> list[Sample]:
    """A run, a sample every five seconds, and a hundred lists between two; by how much things grow each time, from where on lists are late."""
    return [
        Sample(
            at_s=5.0 * n,
            memory_mib=300.0 + memory * n,
            tables_mib=14.0,
            files=int(20 + files * n),
            threads=16,
            fresh={0.1: 100.0 * min(n, late_from), 1.0: 100.0 * n, math.inf: 100.0 * n},
            calm=n % 10 != 5,
        )
        for n in range(count)
    ]


def grown(run: list[Sample]) -> set[str]:
    _, before, after = thirds(run)
    return {name for name, bound in bounds(before, after).items() if not bound.ok}


def test_examples() -> None:
    assert doctest.testmod(growth).failed == 0


def test_a_run_that_stays_as_it_is_has_not_grown() -> None:
    assert grown(samples(90)) == set()


@pytest.mark.parametrize(
    ("growing", "named"), [({"memory": 1.0}, "memory_mib"), ({"files": 0.2}, "files"), ({"late_from": 60}, "p99_ms")]
)
def test_what_grows_is_named(growing: dict[str, float], named: str) -> None:
    assert grown(samples(90, **growing)) == {named}


def test_lists_of_faults_are_counted_but_not_among_those_of_calm_times() -> None:
    calm = Sample(0.0, 300.0, 14.0, 20, 16, {0.1: 0.0, math.inf: 0.0}, calm=True)
    faulty = Sample(5.0, 300.0, 14.0, 20, 16, {0.1: 10.0, math.inf: 50.0}, calm=False)
    after = Sample(10.0, 300.0, 14.0, 20, 16, {0.1: 110.0, math.inf: 150.0}, calm=True)
    assert written([calm, faulty, after], calm=True) == {0.1: 100.0, math.inf: 100.0}
    assert written([calm, faulty, after], calm=False) == {0.1: 110.0, math.inf: 150.0}
    assert written([calm, faulty], calm=True) == {}


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile({0.1: 1.0, 5.0: 2.0, math.inf: 100.0}, 0.99) == 5.0


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="run it for longer"):
        thirds(samples(5))


def test_a_run_without_calm_is_refused() -> None:
    with pytest.raises(ValueError, match="run it for longer"):
        thirds([Sample(**vars(one) | {"calm": False}) for one in samples(90)])


def test_curves_go_over_the_whole_run() -> None:
    found = curves(samples(91))
    assert found["memory_over_time"].at[-1] == "7.5"
    assert len(found["memory_over_time"].series["process"]) == 91
    fresh = found["freshness_over_time"].series
    assert len(fresh["p99"]) == len(fresh["p50"]) == 30
    assert all(slow > middle for slow, middle in zip(fresh["p99"], fresh["p50"], strict=True))
