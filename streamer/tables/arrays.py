"""Growth of tables of flat arrays: a named tuple of arrays that share their first axis.

A large table grows where it lies: behind it address space is kept free, which costs no memory before something is written to it. To copy it
would hold the fold up, and not for the copying: memory that is touched for the first time costs some twenty times as much, a fifth of a second
for 64 MiB where a virtual machine has to ask its host for it.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

LINE_BYTES = 64
"""Of memory, what comes into a cache together."""
LARGE_BYTES = 1 << 20
"""A table as large as this grows where it lies; a copy of a smaller one is a matter of milliseconds."""
SPACE, SPACE_BYTES_MIN = 16, 1 << 27
"""Address space for a large table: a multiple of what it has now, but no less than this."""
STAGGER_BYTES, STAGGER_BYTES_MAX = 67 * LINE_BYTES, 1 << 18
"""From where one table begins in its space to where the next one does: rows of the same number would otherwise all lie in the same few sets of a cache."""
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
"""Linux' MAP_NORESERVE: space that is not used yet is not to count as memory, or the largest tables would get none."""


class _Space(mmap.mmap):
    """Address space of which one table uses ``used_bytes`` from ``first`` on; beyond them it is zeros that nobody has touched."""

    first = used_bytes = 0


_made = itertools.count()


def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of zeros that begins where a line does: a row of half a line or of several would otherwise lie in one line more than it needs.

    Pages of it that nothing is written to cost nothing yet.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size >= LARGE_BYTES:
        with contextlib.suppress(OSError):  # address space is limited here: it grows by copies
            return _in_space(_space_for(size), shape, dtype)
    raw_B = np.zeros(size + LINE_BYTES, np.uint8)
    first = -raw_B.ctypes.data % LINE_BYTES
    return raw_B[first : first + size].view(dtype).reshape(shape)


def _space_for(size: int) -> _Space:
    space = _Space(-1, max(SPACE * size, SPACE_BYTES_MIN), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
    space.first = next(_made) * STAGGER_BYTES % STAGGER_BYTES_MAX
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel without large pages
            space.madvise(mmap.MADV_HUGEPAGE)
    return space


def _in_space(space: _Space, shape: tuple[int, ...], dtype: Any) -> Array:
    """The table that uses the space from now on."""
    count = int(np.prod(shape))
    space.used_bytes = count * np.dtype(dtype).itemsize
    return np.frombuffer(space, dtype, count, space.first).reshape(shape)


def _space_of(array: Array) -> _Space | None:
    """The space of a table, None where it has none or is not all of what uses it."""
    base: object = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    space = base.obj if isinstance(base, memoryview) else None
    if not isinstance(space, _Space) or not array.flags.c_contiguous or array.nbytes != space.used_bytes:
        return None
    return space  # as long as all of it, so it begins where that does


def grown(array: Array, rows: int, fill: float = 0) -> Array:
    """The array with at least ``rows`` rows, the new ones filled; the same object where it is long enough.

    A large one shares its memory with the one before, which is to be used no more.
    """
    if len(array) >= rows:
        return array
    space, shape = _space_of(array), (rows, *array.shape[1:])
    if space is None or rows * (array.nbytes // len(array)) > len(space) - space.first:
        return _copied(array, rows, fill)
    longer = _in_space(space, shape, array.dtype)
    if fill:
        longer[len(array) :] = fill
    return longer


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
