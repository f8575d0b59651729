"""Linear search in short unsorted rows, several entries at a time."""

from __future__ import annotations

from streamer.tables.arrays import Array
from streamer.tables.compile import leaf_kernel

STRIDE = 16


@leaf_kernel
def place_of(item_P: Array, start: int, stop: int, item: int) -> int:
    """The first place in [start, stop) that holds the item, ``stop`` where none does."""
    at = start
    while at + STRIDE <= stop:
        hits = 0
        for n in range(STRIDE):
            hits |= item_P[at + n] == item
        if hits:
            break
        at += STRIDE
    while at < stop and item_P[at] != item:
        at += 1
    return at
