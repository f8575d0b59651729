"""The catalog: one row an item, from its first event or document on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import kernel
from streamer.tables.ids import IdTable, id_table_in, id_tables_out, new_id_table, reserve_ids

HAS_DOCUMENT, WITHDRAWN = np.uint8(1), np.uint8(2)
"""Flags. A withdrawn item (deleted, or ``available`` false) is learned from, never listed."""


NEWEST = 256
"""Items remembered as the newest."""


class Items(NamedTuple):
    """``vector_I`` is the item's row in the content vectors, -1 without content; ``newest_N`` is a ring of rows, ``admitted`` = [how many ever]."""

    ids: IdTable
    flags_I: Array
    vector_I: Array
    newest_N: Array
    admitted: Array


def new_items(rows: int) -> Items:
    """An empty catalog with room for ``rows`` items."""
    return Items(
        ids=new_id_table(rows),
        flags_I=np.zeros(rows, np.uint8),
        vector_I=np.full(rows, -1, np.int32),
        newest_N=np.zeros(NEWEST, np.int32),
        admitted=np.zeros(1, np.int64),
    )


def reserve_items(items: Items, rows: int, text_bytes: int) -> Items:
    """Room for ``rows`` more items; the same object where there is room already."""
    ids = reserve_ids(items.ids, rows, text_bytes)
    if ids is items.ids:
        return items
    capacity = len(ids.hash_R)
    return items._replace(ids=ids, flags_I=grown(items.flags_I, capacity), vector_I=grown(items.vector_I, capacity, -1))


def items_out(items: Items) -> dict[str, Array]:
    """Live rows, for a snapshot."""
    rows = int(items.ids.used[0])
    return id_tables_out(items.ids, "items.ids") | {
        "items.flags": items.flags_I[:rows],
        "items.vector": items.vector_I[:rows],
        "items.newest": items.newest_N,
        "items.admitted": items.admitted,
    }


def items_in(tables: dict[str, Array]) -> Items:
    """From a snapshot."""
    ids = id_table_in(tables, "items.ids", 64)
    rows = len(ids.hash_R)
    return Items(
        ids=ids,
        flags_I=resized(tables["items.flags"], rows),
        vector_I=resized(tables["items.vector"], rows, -1),
        newest_N=resized(tables["items.newest"], NEWEST),
        admitted=resized(tables["items.admitted"], 1),
    )


@kernel
def note_new_item(items: Items, row: int) -> None:
    """Puts an item that was just admitted among the newest."""
    items.newest_N[items.admitted[0] % NEWEST] = row
    items.admitted[0] += 1
