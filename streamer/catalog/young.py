"""The pool of young items: those with content that few have chosen, kept small, so that each can be asked whether it fits a user.

An item enters with its first vector. Whenever a block closes, those that have grown old (or are gone) leave, and the next young items
of the catalog take their places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import WITHDRAWN, Items
from streamer.tables.arrays import Array
from streamer.tables.compile import brief_kernel

YOUNG_MAX = 1_024
OLD = 40.0
"""Weighted interactions after which an item is no longer young."""
LOOKED_AT = 1_024
"""Rows of the catalog that are looked at for young items when a block closes and the pool has room."""
IN_POOL = np.uint8(4)
"""Flag of an item."""


class Young(NamedTuple):
    """Rows of items, ``tended`` = [how many, row of the catalog to look at next]."""

    item_Y: Array
    tended: Array


def new_young() -> Young:
    """An empty pool."""
    return Young(np.zeros(YOUNG_MAX, np.int32), np.zeros(2, np.int64))


def young_out(young: Young) -> dict[str, Array]:
    """For a snapshot."""
    return {"young.items": young.item_Y[: int(young.tended[0])], "young.tended": young.tended}


def young_in(tables: dict[str, Array]) -> Young:
    """From a snapshot."""
    young = new_young()
    young.item_Y[: len(tables["young.items"])] = tables["young.items"]
    young.tended[:] = tables["young.tended"]
    return young


def note_young(young: Young, items: Items, row: int) -> None:
    """Takes an item that has got its first vector into the pool; the one that is longest in it makes room."""
    if items.flags_I[row] & IN_POOL:
        return
    count = int(young.tended[0])
    if count == YOUNG_MAX:
        items.flags_I[young.item_Y[0]] &= ~IN_POOL
        young.item_Y[:-1] = young.item_Y[1:].copy()
        count -= 1
    young.item_Y[count] = row
    young.tended[0] = count + 1
    items.flags_I[row] |= IN_POOL


def tend_young(young: Young, items: Items, count_I: Array, rows: int) -> None:
    """Takes out what is old, withdrawn or without content, and fills up from the catalog; ``count_I``: weighted interactions."""
    _tend(young.item_Y, young.tended, items.ids.size_R, items.vector_I, items.flags_I, count_I, rows)


@brief_kernel
def _tend(item_Y: Array, tended: Array, size_I: Array, vector_I: Array, flags_I: Array, count_I: Array, rows: int) -> None:
    kept = 0
    for n in range(tended[0]):
        row = item_Y[n]
        if _is_young(row, size_I, vector_I, flags_I, count_I):
            item_Y[kept] = row
            kept += 1
        else:
            flags_I[row] &= ~IN_POOL
    if kept < YOUNG_MAX:
        stop = min(tended[1] + LOOKED_AT, rows)
        for row in range(tended[1], stop):
            if kept < YOUNG_MAX and _is_young(row, size_I, vector_I, flags_I, count_I) and flags_I[row] & IN_POOL == 0:
                flags_I[row] |= IN_POOL
                item_Y[kept] = row
                kept += 1
        tended[1] = 0 if stop == rows else stop
    tended[0] = kept


@brief_kernel
def _is_young(row: int, size_I: Array, vector_I: Array, flags_I: Array, count_I: Array) -> bool:
    return vector_I[row] >= 0 and size_I[row] > 0 and flags_I[row] & WITHDRAWN == 0 and count_I[row] < OLD
