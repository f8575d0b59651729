"""Arithmetic of short rows.

The lengths are the arrays' own: a loop of a length known when it is compiled is unrolled number by number and does not vectorize.
"""

from __future__ import annotations

import numpy as np

from streamer.tables.arrays import Array
from streamer.tables.compile import inner_kernel, kernel


@inner_kernel
def dot(left_D: Array, right_D: Array) -> np.float32:
    """The inner product of two float32 rows of one length."""
    total = np.float32(0.0)
    for d in range(len(left_D)):
        total += left_D[d] * right_D[d]
    return total


@kernel
def add_scaled(into_D: Array, factor: np.float32, row_D: Array) -> None:
    """``into += factor * row``."""
    for d in range(len(into_D)):
        into_D[d] += factor * row_D[d]
