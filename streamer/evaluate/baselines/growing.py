"""Arrays that grow with the stream: a vector an item or user, and a sparse matrix of counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_ROWS = 16


def grown(array_NX: NDArray[Any], rows: int) -> NDArray[Any]:
    """The array itself if it has so many rows, else a copy that has at least twice as many as before, the new ones zero."""
    if len(array_NX) >= rows:
        return array_NX
    larger = np.zeros((max(rows, 2 * len(array_NX), _FIRST_ROWS), *array_NX.shape[1:]), array_NX.dtype)
    larger[: len(array_NX)] = array_NX
    return larger


class Counts:
    """A number for each item seen so far, 0 for those never added to."""

    def __init__(self) -> None:
        self._value_R = np.zeros(0)
        self.size = 0
        """Items seen so far: N."""

    def reach(self, size: int) -> None:
        """Makes items up to ``size`` known."""
        if size > self.size:
            self._value_R = grown(self._value_R, size)
            self.size = size

    def add(self, item: int, value: float) -> None:
        """Adds to the number of one item."""
        self.reach(item + 1)
        self._value_R[item] += value

    @property
    def value_N(self) -> Floats:
        """A view of all numbers."""
        return self._value_R[: self.size]


class Row:
    """The entries of one row of a sparse matrix, in the order in which they came."""

    __slots__ = ("column_R", "place", "size", "value_R")

    def __init__(self) -> None:
        self.column_R = np.zeros(4, np.int64)
        self.value_R = np.zeros(4)
        self.place: dict[int, int] = {}
        self.size = 0

    def add(self, column: int, value: float) -> None:
        """Adds to one entry."""
        place = self.place.get(column)
        if place is None:
            place = self.place[column] = self.size
            self.column_R, self.value_R = grown(self.column_R, place + 1), grown(self.value_R, place + 1)
            self.column_R[place] = column
            self.size += 1
        self.value_R[place] += value


class PairCounts:
    """A sparse matrix of counts that grows."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}

    def add(self, row: int, column: int, value: float) -> None:
        """Adds to one entry."""
        if row not in self._rows:
            self._rows[row] = Row()
        self._rows[row].add(column, value)

    def add_row_to(self, score_N: Floats, row: int, factor: float) -> None:
        """Adds ``factor`` times a row to scores of all items; a row without entries adds nothing."""
        found = self._rows.get(row)
        if found is not None:
            score_N[found.column_R[: found.size]] += factor * found.value_R[: found.size]
