"""Rows of two states brought together by what they are of: users and items by their ids, entries of pools by both.

Two states seldom have the same rows in the same places: a user who came first in one may have come second in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.tables.arrays import Array

Keys = NDArray[np.uint64]
Tables = Mapping[str, Array]
Names = Callable[[int], str]
"""What a row is of, for people."""

ODD = np.uint64(0x9E3779B97F4A7C15)
"""Sets a pair's first apart from its second: 2^64 divided by the golden ratio."""
SHIFT = np.uint64(29)


class Aligned(NamedTuple):
    """Rows that both have, in the same order, and those of one alone."""

    row_a: NDArray[np.int64]
    row_b: NDArray[np.int64]
    only_a: NDArray[np.int64]
    only_b: NDArray[np.int64]


def aligned(a: Keys, b: Keys) -> Aligned:
    """Rows by their keys; 0 is the key of a row that is of nobody.

    >>> aligned(np.array([5, 0, 7], np.uint64), np.array([7, 9], np.uint64))
    Aligned(row_a=array([2]), row_b=array([0]), only_a=array([0]), only_b=array([1]))
    """
    live_a, live_b = np.flatnonzero(a), np.flatnonzero(b)
    _, at_a, at_b = np.intersect1d(a[live_a], b[live_b], return_indices=True)
    row_a, row_b = live_a[at_a], live_b[at_b]
    order = np.argsort(row_a)
    return Aligned(row_a[order], row_b[order], np.setdiff1d(live_a, row_a), np.setdiff1d(live_b, row_b))


class Ids(NamedTuple):
    """An id table of a snapshot."""

    hash_R: Keys
    start_R: Array
    size_R: Array
    text_B: Array

    def name(self, row: int) -> str:
        """The id of a row."""
        start = int(self.start_R[row])
        return bytes(self.text_B[start : start + int(self.size_R[row])]).decode(errors="replace")


def ids_of(tables: Tables, kind: str) -> Ids:
    """The ids of ``users`` or ``items``."""
    return Ids(*(tables[f"{kind}.ids.{part}"] for part in ("hash", "start", "size", "text")))


class Entries(NamedTuple):
    """The entries in use of a pool: their keys, where they lie, whose row and which item they are."""

    key_E: Keys
    place_E: NDArray[np.int64]
    owner_E: NDArray[np.int64]
    item_E: NDArray[np.int64]


def entries_of(tables: Tables, pool: str, owners: Ids, items: Ids) -> Entries:
    """The entries of a pool, an entry a pair of its row's owner and its item."""
    length_R = tables[f"{pool}.length"].astype(np.int64)
    owner_E = np.repeat(np.arange(len(length_R)), length_R)
    within_E = np.arange(len(owner_E)) - np.repeat(np.cumsum(length_R) - length_R, length_R)
    place_E = tables[f"{pool}.start"].astype(np.int64)[owner_E] + within_E
    item_E = tables[f"{pool}.item"].astype(np.int64)[place_E]
    return Entries(pair_keys(owners.hash_R[owner_E], items.hash_R[item_E]), place_E, owner_E, item_E)


def pair_keys(first_E: Keys, second_E: Keys) -> Keys:
    """One key a pair of keys, in whose order they matter; never 0."""
    mixed_E = first_E * ODD
    mixed_E ^= mixed_E >> SHIFT
    mixed_E = (mixed_E + second_E) * ODD
    mixed_E ^= mixed_E >> SHIFT
    return np.asarray(np.maximum(mixed_E, np.uint64(1)), np.uint64)


def differing(a: Array, b: Array) -> NDArray[np.bool_]:
    """In which rows two arrays of one shape differ; what is not a number equals itself."""
    unequal = a != b
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        unequal &= ~(np.isnan(a) & np.isnan(b))
    return np.asarray(unequal.reshape(len(a), -1).any(axis=1) if a.size else np.zeros(len(a), np.bool_))


def largest(a: Array, b: Array) -> float | None:
    """The largest absolute difference of two arrays of numbers of one shape, of what is finite; None where there is none."""
    if not a.size:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
    apart = apart[np.isfinite(apart)]
    return float(apart.max()) if apart.size else None


def plain(value: Any) -> Any:
    """A number of numpy as Python has it."""
    return value.item() if isinstance(value, np.generic) else value
