"""What several phases of one share say together, and when that is fast enough."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency import PATIENCE_S, Latency, middle


def phases(*most_ms: float) -> Latency:
    """Phases of a thousand lists each, of which twenty take the most."""
    return middle(1_000.0, [np.append(np.full(980, 0.04), np.full(20, ms / 1e3)) for ms in most_ms])


def test_one_phase_that_was_disturbed_does_not_decide() -> None:
    found = phases(80.0, 700.0, 90.0)
    assert found.p50_ms == pytest.approx(40.0)
    assert found.p99_ms == found.max_ms == pytest.approx(90.0)
    assert found.p99_ms_range == pytest.approx((80.0, 700.0))
    assert found.max_ms_ever == pytest.approx(700.0)
    assert found.is_ok


@pytest.mark.parametrize("most_ms", [(101.0, 101.0, 90.0), (PATIENCE_S * 1e3, 40.0, 40.0)])
def test_what_most_phases_show_and_a_list_that_never_came_do(most_ms: tuple[float, ...]) -> None:
    assert not phases(*most_ms).is_ok


def test_a_single_stall_that_most_phases_have_is_too_long() -> None:
    stalled = np.append(np.full(999, 0.04), 0.3)
    found = middle(1_000.0, [stalled] * 3)
    assert found.p99_ms < 100.0
    assert not found.is_ok


def test_ranges_are_kept_as_numbers() -> None:
    assert phases(80.0, 70.0).as_json()["p99_ms_range"] == [70.0, 80.0]
