"""Random numbers as a function of (seed, counter, purpose): no hidden state, the same on every run."""

from __future__ import annotations

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import kernel
from streamer.tables.ids import mix

NEGATIVES, INIT, EXPLORE, JUDGED_GROUPS, DROPOUT = range(1, 6)
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


@kernel
def draw_rows(row_RD: Array, first: int, stop: int, seed: int, occasion: int, scale: float) -> None:
    """Fills rows with even draws from [-scale, scale), a function of (seed, occasion + row)."""
    for row in range(first, stop):
        for d in range(row_RD.shape[1]):
            bits = random_u64(seed, INIT, occasion + row, d)
            row_RD[row, d] = np.float32((np.float64(bits >> np.uint64(11)) / 9007199254740992.0 * 2.0 - 1.0) * scale)
