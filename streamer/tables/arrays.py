"""Growth of tables of flat arrays: a named tuple of arrays that share their first axis."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def grown(array: Array, rows: int, fill: float = 0) -> Array:
    """The array with at least ``rows`` rows, the new ones filled; the same object where it is long enough."""
    if len(array) >= rows:
        return array
    bigger = np.zeros((rows, *array.shape[1:]), array.dtype)  # pages that nothing is written to cost nothing yet
    bigger[: len(array)] = array
    if fill:
        bigger[len(array) :] = fill
    return bigger


def capacity_for(needed: int, present: int) -> int:
    """The next capacity: half as much again as ``present``, or what is needed, whichever is more."""
    return present if needed <= present else max(needed, present + present // 2)


def with_headroom(live: int) -> int:
    """Room for a restored table of so many rows: an eighth more, lest the first new row after a restart cost a copy of all."""
    return live + live // 8


def resized(array: Array, rows: int, fill: float = 0) -> Array:
    """A restored array (exactly its live rows) given room for ``rows`` rows, C-contiguous and writable."""
    return grown(np.array(array, order="C", copy=True), rows, fill)
