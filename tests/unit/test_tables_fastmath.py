"""The fast logarithm and power of two beside numpy, within the bounds that their module states."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tables.fastmath import exp2_in_place, log2_1p_scaled

SCALES = (1.0, 8.0, 500.0, 5_000.0)
LOG2_ERROR_MAX, EXP2_ERROR_MAX = 2e-6, 1e-5


def fast_log2(value_C, scale):
    out_C = value_C.copy()
    log2_1p_scaled(out_C, scale)
    return out_C


def fast_exp2(value_C):
    out_C = value_C.copy()
    exp2_in_place(out_C)
    return out_C


@pytest.mark.parametrize("scale", SCALES)
def test_log2_is_within_its_bound_over_the_whole_range(scale):
    value_C = np.concatenate([np.zeros(1), np.geomspace(1e-9, 2.0**20, 400_001)]).astype(np.float32) / np.float32(scale)
    argument_C = np.float32(1.0) + np.float32(scale) * value_C
    error_C = np.abs(fast_log2(value_C, scale) - np.log2(argument_C.astype(np.float64)))
    assert error_C.max() < LOG2_ERROR_MAX


def test_exp2_is_within_its_bound_over_the_whole_range():
    value_C = -np.concatenate([np.linspace(0.0, 126.0, 400_001), np.geomspace(1e-12, 1.0, 1_001)]).astype(np.float32)
    exact_C = np.exp2(value_C.astype(np.float64))
    assert (np.abs(fast_exp2(value_C) - exact_C) / exact_C).max() < EXP2_ERROR_MAX


def test_nothing_stays_nothing_and_one_stays_one():
    assert fast_log2(np.zeros(3, np.float32), 500.0) == pytest.approx(np.zeros(3), abs=LOG2_ERROR_MAX)
    assert fast_exp2(np.array([0.0, -0.0, -1.0], np.float32)).tolist() == [1.0, 1.0, 0.5]


@settings(deadline=None)
@given(low=st.floats(126.5, 2.0**100, width=32))
def test_exp2_is_zero_below_its_range(low):
    assert fast_exp2(np.array([-low, -1.0], np.float32)).tolist() == [0.0, 0.5]
