"""Pools: rows of variable length cut from flat arrays, in size classes of 4, 8, 16 and so on.

A row that outgrows its class moves to the next one; what it leaves goes on the free list of its class, a chain whose next
pointer stands in the first entry of each free piece. Only places are kept here; the entries' arrays belong to the caller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, grown, resized
from streamer.tables.compile import kernel, leaf_kernel

CLASSES = 16
CLASS_SIZE_MIN = 4


class Rows(NamedTuple):
    """Where each of R rows lies in the pool: ``start_R``, entries used ``length_R``, size class ``class_R`` (-1: none yet)."""

    start_R: Array
    length_R: Array
    class_R: Array
    next_P: Array
    """Next pointer of free pieces, valid at a free piece's first place."""
    free_C: Array
    """First free piece a class, -1 where there is none."""
    top: Array
    """Places used of the pool."""


def new_rows(rows: int, places: int) -> Rows:
    """No row has a place yet; the pool has room for ``places`` entries."""
    return Rows(
        start_R=np.zeros(rows, np.int64),
        length_R=np.zeros(rows, np.int32),
        class_R=np.full(rows, -1, np.int8),
        next_P=np.zeros(places // CLASS_SIZE_MIN + 1, np.int64),
        free_C=np.full(CLASSES, -1, np.int64),
        top=np.zeros(1, np.int64),
    )


def grown_rows(rows: Rows, count: int, places: int) -> Rows:
    """With room for ``count`` rows and ``places`` entries."""
    return rows._replace(
        start_R=grown(rows.start_R, count),
        length_R=grown(rows.length_R, count),
        class_R=grown(rows.class_R, count, -1),
        next_P=grown(rows.next_P, places // CLASS_SIZE_MIN + 1),
    )


def rows_out(rows: Rows, prefix: str, live: int) -> dict[str, Array]:
    """For a snapshot."""
    return {
        f"{prefix}.start": rows.start_R[:live],
        f"{prefix}.length": rows.length_R[:live],
        f"{prefix}.class": rows.class_R[:live],
        f"{prefix}.next": rows.next_P[: int(rows.top[0]) // CLASS_SIZE_MIN],
        f"{prefix}.free": rows.free_C,
        f"{prefix}.top": rows.top,
    }


def rows_in(tables: dict[str, Array], prefix: str, count: int, places: int) -> Rows:
    """From a snapshot, with room for ``count`` rows and ``places`` entries."""
    return Rows(
        start_R=resized(tables[f"{prefix}.start"], count),
        length_R=resized(tables[f"{prefix}.length"], count),
        class_R=resized(tables[f"{prefix}.class"], count, -1),
        next_P=resized(tables[f"{prefix}.next"], places // CLASS_SIZE_MIN + 1),
        free_C=resized(tables[f"{prefix}.free"], CLASSES),
        top=resized(tables[f"{prefix}.top"], 1),
    )


@leaf_kernel
def take_piece(rows: Rows, size_class: int) -> int:
    """The first place of a piece of that class; the caller has reserved room."""
    piece = rows.free_C[size_class]
    if piece >= 0:
        rows.free_C[size_class] = rows.next_P[piece // CLASS_SIZE_MIN]
        return piece
    piece = rows.top[0]
    rows.top[0] = piece + (CLASS_SIZE_MIN << size_class)
    return piece


@leaf_kernel
def give_piece(rows: Rows, row: int) -> None:
    """Puts the row's piece on the free list; the row is then empty and has no place."""
    size_class = rows.class_R[row]
    if size_class >= 0:
        rows.next_P[rows.start_R[row] // CLASS_SIZE_MIN] = rows.free_C[size_class]
        rows.free_C[size_class] = rows.start_R[row]
        rows.class_R[row] = -1
        rows.length_R[row] = 0
        rows.start_R[row] = 0


@leaf_kernel
def room_of(rows: Rows, row: int) -> int:
    """Entries that the row's piece can hold."""
    return 0 if rows.class_R[row] < 0 else CLASS_SIZE_MIN << rows.class_R[row]


@kernel
def give_pieces(rows: Rows, row_T: Array) -> None:
    """``give_piece`` for several rows."""
    for n in range(len(row_T)):
        give_piece(rows, row_T[n])
