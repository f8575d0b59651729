"""What several rounds of one share say together, and when that is fast enough."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.latency import PATIENCE_S, Latency, of_rounds


def rounds(*most_ms: float) -> Latency:
    """Rounds of a thousand lists each, of which twenty take the most."""
    return of_rounds(1_000.0, [np.append(np.full(980, 0.04), np.full(20, ms / 1e3)) for ms in most_ms])


def test_one_round_that_was_disturbed_does_not_decide() -> None:
    found = rounds(80.0, 700.0, 90.0)
    assert found.p50_ms == pytest.approx(40.0)
    assert found.p99_ms == found.max_ms == pytest.approx(90.0)
    assert found.p99_ms_range == pytest.approx((80.0, 700.0))
    assert found.max_ms_ever == pytest.approx(700.0)
    assert found.is_ok


@pytest.mark.parametrize("most_ms", [(101.0, 101.0, 90.0), (PATIENCE_S * 1e3, 40.0, 40.0)])
def test_what_most_rounds_show_and_a_list_that_never_came_do(most_ms: tuple[float, ...]) -> None:
    assert not rounds(*most_ms).is_ok


@pytest.mark.parametrize(("stalls", "ok"), [(0, True), (1, True), (2, False)])
def test_a_stall_of_one_list_may_be_in_one_round(stalls: int, ok: bool) -> None:
    calm, stalled = np.full(1_000, 0.04), np.append(np.full(999, 0.04), 0.3)
    found = of_rounds(1_000.0, [stalled] * stalls + [calm] * (5 - stalls))
    assert found.p99_ms < 100.0
    assert found.is_ok is ok


def test_a_share_of_one_round_is_as_that_is() -> None:
    assert rounds(80.0).max_ms == rounds(80.0).max_ms_ever == pytest.approx(80.0)


def test_a_round_without_lists_is_refused() -> None:
    with pytest.raises(RuntimeError, match="send for longer"):
        of_rounds(10.0, [np.array([0.04]), np.zeros(0)])


def test_ranges_are_kept_as_numbers() -> None:
    assert rounds(80.0, 70.0).as_json()["p99_ms_range"] == [70.0, 80.0]
