"""Random numbers as a function of (seed, counter, purpose): no hidden state, the same on every run."""

from __future__ import annotations

import numpy as np

from streamer.tables.compile import kernel
from streamer.tables.ids import mix

NEGATIVES, INIT, EXPLORE, JUDGED_GROUPS = range(1, 5)
"""Purposes."""


@kernel
def random_u64(seed: int, purpose: int, counter: int, index: int) -> np.uint64:
    """64 random bits for the ``index``-th draw of the ``counter``-th occasion of a purpose."""
    state = mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(purpose + 1))
    state = mix(state + np.uint64(0x9E3779B97F4A7C15) * np.uint64(counter + 1))
    return mix(state + np.uint64(0x9E3779B97F4A7C15) * np.uint64(index + 1))


@kernel
def random_below(bits: np.uint64, bound: int) -> np.int64:
    """A number in [0, bound) from 64 random bits, by the high half of a product (Lemire 2019, without rejection)."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))
