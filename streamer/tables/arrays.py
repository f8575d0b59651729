"""Growth of tables of flat arrays: a named tuple of arrays that share their first axis."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

LINE_BYTES = 64
"""Of memory, what comes into a cache together."""


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of zeros that begins where a line does: a row of half a line or of several would otherwise lie in one line more than it needs."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw_B = np.zeros(size + LINE_BYTES, np.uint8)  # pages that nothing is written to cost nothing yet
    first = -raw_B.ctypes.data % LINE_BYTES
    return raw_B[first : first + size].view(dtype).reshape(shape)


def grown(array: Array, rows: int, fill: float = 0) -> Array:
    """The array with at least ``rows`` rows, the new ones filled; the same object where it is long enough."""
    if len(array) >= rows:
        return array
    return _copied(array, rows, fill)


def _copied(array: Array, rows: int, fill: float) -> Array:
    copy = zeros((rows, *array.shape[1:]), array.dtype)
    copy[: len(array)] = array
    if fill:
        copy[len(array) :] = fill
    return copy


def capacity_for(needed: int, present: int) -> int:
    """The next capacity: half as much again as ``present``, or what is needed, whichever is more."""
    return present if needed <= present else max(needed, present + present // 2)


def with_headroom(live: int) -> int:
    """Room for a restored table of so many rows: an eighth more, lest the first new row after a restart cost a copy of all."""
    return live + live // 8


def resized(array: Array, rows: int, fill: float = 0) -> Array:
    """A restored array (exactly its live rows) given room for ``rows`` rows, C-contiguous and writable."""
    return _copied(array, max(rows, len(array)), fill)
