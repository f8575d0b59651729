"""Few of many rows, met by open addressing in a table whose size is that of the few: it can fit into a near cache however many rows there are."""

from __future__ import annotations

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import leaf_kernel

EMPTY = -1
_SPREAD, _KEPT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
"""2 ** 64 over the golden ratio: of the product's upper half, which depends on all bits of a row, as many bits count as there are slots (after Knuth 1973, 6.4)."""


def new_slots(size: int) -> Array:
    """Room for fewer than ``size`` rows, a power of two: with three times what is needed most rows lie where they are looked for first."""
    return np.full(size, EMPTY, np.int32)


@leaf_kernel
def slot_of(row_S: Array, row: int) -> np.uint64:
    """The slot that holds the row, or the EMPTY one where it belongs."""
    last = np.uint64(len(row_S) - 1)
    slot = ((np.uint64(row) * _SPREAD) >> _KEPT) & last
    while row_S[slot] != row and row_S[slot] != EMPTY:
        slot = (slot + np.uint64(1)) & last
    return slot
