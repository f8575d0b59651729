"""Users who asked to be forgotten: the hash of each and until when, so that older events of theirs are dropped whenever they come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized
from streamer.tables.compile import leaf_kernel

SLOTS_MIN = 64


class Forgotten(NamedTuple):
    """``hash_F`` of users, sorted, and ``until_ms_F`` of each; ``used`` = [rows]."""

    hash_F: Array
    until_ms_F: Array
    used: Array


def new_forgotten() -> Forgotten:
    """Nobody."""
    return Forgotten(np.zeros(SLOTS_MIN, np.uint64), np.zeros(SLOTS_MIN, np.int64), np.zeros(1, np.int64))


def with_forgotten(forgotten: Forgotten, hashed: np.uint64, until_ms: int) -> Forgotten:
    """With one more request; of two for one user the later time holds."""
    used = int(forgotten.used[0])
    at = int(np.searchsorted(forgotten.hash_F[:used], hashed))
    if at < used and forgotten.hash_F[at] == hashed:
        forgotten.until_ms_F[at] = max(int(forgotten.until_ms_F[at]), until_ms)
        return forgotten
    capacity = capacity_for(used + 1, len(forgotten.hash_F))
    hash_F, until_ms_F = grown(forgotten.hash_F, capacity), grown(forgotten.until_ms_F, capacity)
    hash_F[at + 1 : used + 1] = hash_F[at:used].copy()
    until_ms_F[at + 1 : used + 1] = until_ms_F[at:used].copy()
    hash_F[at], until_ms_F[at] = hashed, until_ms
    forgotten.used[0] = used + 1
    return Forgotten(hash_F, until_ms_F, forgotten.used)


def forgotten_out(forgotten: Forgotten) -> dict[str, Array]:
    """For a snapshot."""
    used = int(forgotten.used[0])
    return {"forgotten.hash": forgotten.hash_F[:used], "forgotten.until_ms": forgotten.until_ms_F[:used]}


def forgotten_in(tables: dict[str, Array]) -> Forgotten:
    """From a snapshot."""
    hash_F = tables["forgotten.hash"]
    rows = max(SLOTS_MIN, len(hash_F))
    used = np.array([len(hash_F)], np.int64)
    return Forgotten(resized(hash_F, rows), resized(tables["forgotten.until_ms"], rows), used)


@leaf_kernel
def is_forgotten(forgotten: Forgotten, hashed: np.uint64, time_ms: int) -> bool:
    """Whether the user asked, at that time or later, to be forgotten."""
    low, high = 0, forgotten.used[0]
    while low < high:
        middle = (low + high) // 2
        if forgotten.hash_F[middle] < hashed:
            low = middle + 1
        else:
            high = middle
    return low < forgotten.used[0] and forgotten.hash_F[low] == hashed and time_ms <= forgotten.until_ms_F[low]
