"""Selection of the largest values without sorting them."""

from __future__ import annotations

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel

_INFINITY = 0x7F800000
"""As bits of a float32; numbers beyond are no numbers."""
_BITS = 31
"""Of a float32 without its sign."""


@kernel
def kth_largest(value_N: Array, count: int, k: int, work_1: Array) -> float:
    """The k-th largest of the first ``count`` float32 values (the smallest, where there are fewer), none of which is NaN.

    Its bits are found one by one, the highest first, each by counting what is at least as large: passes without a branch that
    depends on the values, where quickselect would guess wrong at every other value. ``work_1`` is working memory.
    """
    bits_1 = work_1[:1].view(np.int32)
    wanted = np.float32(min(k, count))
    if count_at_least(value_N, count, np.float32(0.0)) >= wanted:
        found = 0
        for bit in range(_BITS - 1, -1, -1):
            bits_1[0] = found | (1 << bit)
            if count_at_least(value_N, count, work_1[0]) >= wanted:
                found |= 1 << bit
        bits_1[0] = found
        return work_1[0]
    short = 0  # the largest magnitude of a negative number that fewer than k values reach
    for bit in range(_BITS - 1, -1, -1):
        more = short | (1 << bit)
        bits_1[0] = more
        if more < _INFINITY and count_at_least(value_N, count, -work_1[0]) < wanted:
            short = more
    bits_1[0] = short + 1
    return -work_1[0]


@inner_kernel
def count_at_least(value_N: Array, count: int, bound: np.float32) -> np.float32:
    """How many of the first ``count`` values are at least ``bound``, as a float32 so that eight are counted at once: below 2^24 of them."""
    total = np.float32(0.0)
    for n in range(count):
        total += np.float32(1.0) if value_N[n] >= bound else np.float32(0.0)
    return total
