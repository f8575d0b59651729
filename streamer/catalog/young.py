"""The pool of young items: those with content that few have chosen, kept small, so that each can be asked whether it fits a user.

An item enters with its first vector. Whenever a block closes, those that have grown old (or are gone) leave, and the next young items
of the catalog take their places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import WITHDRAWN, Items
from streamer.tables.arrays import Array

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
    held_Y = young.item_Y[: int(young.tended[0])]
    stay_Y = _is_young(items, count_I, held_Y)
    items.flags_I[held_Y[~stay_Y]] &= ~IN_POOL
    kept = held_Y[stay_Y]
    room, cursor = YOUNG_MAX - len(kept), int(young.tended[1])
    looked_at = np.arange(cursor, min(cursor + LOOKED_AT, rows)) if room else np.arange(0)
    more = looked_at[_is_young(items, count_I, looked_at) & (items.flags_I[looked_at] & IN_POOL == 0)][:room]
    items.flags_I[more] |= IN_POOL
    all_Y = np.concatenate([kept, more]).astype(np.int32)
    young.item_Y[: len(all_Y)] = all_Y
    young.tended[0] = len(all_Y)
    if room:
        young.tended[1] = 0 if cursor + LOOKED_AT >= rows else cursor + LOOKED_AT


def _is_young(items: Items, count_I: Array, row_Y: Array) -> Array:
    there_Y = (items.ids.size_R[row_Y] > 0) & (items.vector_I[row_Y] >= 0) & (items.flags_I[row_Y] & WITHDRAWN == 0)
    young_Y: Array = there_Y & (count_I[row_Y] < OLD)
    return young_Y
