"""Rings: rows that take entries in at one end and lose them at the other, cut from one pool in pieces of 1, 2, 4 places and so on.

A row's entries are numbered as they come. Number k lies at place k modulo the room of the row's piece, so that what follows one another lies
side by side, and nothing moves but when a row's room changes: it doubles when the row is full, and halves when three quarters are empty and
another row has left a piece of that size. Pieces are not joined again, so a pool is as large as its rows of every size ever were at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import LINE_BYTES, Array, capacity_for, grown, zeros
from streamer.tables.compile import kernel, leaf_kernel, uncompiled
from streamer.tables.prefetch import prefetch

START, ROOM, LENGTH, NEXT = range(4)
NUMBERS = (1 << 32) - 1
"""Numbers of entries are told apart by as many low bits."""
CLASSES = 32
NO_PIECE = -1
PLACES, LARGEST, ROOM_MAX = range(3)
PLACES_MAX = (1 << 31) - 1
LINE = LINE_BYTES // 4
"""Places in a cache line."""


class Rings(NamedTuple):
    """An entry of a row is two numbers, ``first_P`` and ``second_P``.

    ``row_RF`` [R, 4] has where a row's piece begins, its room (0: no piece), how many entries it has, and the number of the next one. A row of
    ROOM_MAX entries loses its oldest with every new one.
    """

    row_RF: Array
    first_P: Array
    """At the first place of a free piece: the next free one of its size."""
    second_P: Array
    free_C: Array
    """First free piece by the binary logarithm of its room, NO_PIECE where there is none."""
    pool: Array
    """[places used, the largest room so far, the largest room allowed (a power of two)]."""


def new_rings(rows: int, places: int, room_max: int) -> Rings:
    """Empty rows, and a pool of so many places."""
    return Rings(
        row_RF=zeros((rows, 4), np.int32),
        first_P=np.zeros(places, np.int32),
        second_P=np.zeros(places, np.int32),
        free_C=np.full(CLASSES, NO_PIECE, np.int64),
        pool=np.array([0, 1, room_max], np.int64),
    )


def reserve_rings(rings: Rings, rows: int, entries: int, spread: int) -> Rings:
    """Room for ``rows`` rows in all, and for so many more entries of ``spread`` rows; the same object where there is room already."""
    needed = int(rings.pool[PLACES]) + int(uncompiled(places_for)(rings, entries, spread))
    if rows <= len(rings.row_RF) and needed <= len(rings.first_P):
        return rings
    if needed > PLACES_MAX:
        raise MemoryError(f"a pool needs {needed:,} places, {PLACES_MAX:,} at most: lower signals.journal_interactions_max")
    places = min(capacity_for(needed, len(rings.first_P)), PLACES_MAX)
    return rings._replace(
        row_RF=grown(rings.row_RF, rows), first_P=grown(rings.first_P, places), second_P=grown(rings.second_P, places)
    )


@kernel
def has_room(rings: Rings, entries: int, spread: int) -> bool:
    """Whether the pool takes so many more entries of ``spread`` rows, whichever rows these are."""
    return rings.pool[PLACES] + places_for(rings, entries, spread) <= len(rings.first_P)


@kernel
def places_for(rings: Rings, entries: int, spread: int) -> int:
    """Places that these entries can take at their dearest: every row is full, as large as any, and doubles as often as they fill it.

    What is dropped meanwhile takes none.
    """
    return spread * min(2 * rings.pool[LARGEST], rings.pool[ROOM_MAX]) + 4 * entries


@leaf_kernel
def place_of_number(rings: Rings, row: int, number: int) -> int:
    """Where the entry of that number lies; the row keeps it."""
    return rings.row_RF[row, START] + (number & (rings.row_RF[row, ROOM] - 1))


@leaf_kernel
def ask_for_newest(rings: Rings, row: int, entries: int) -> None:
    """Asks for the lines of so many of a row's newest entries."""
    row_F = rings.row_RF[row]
    for back in range(1, min(row_F[LENGTH], entries) + LINE, LINE):
        place = row_F[START] + ((row_F[NEXT] - back) & (row_F[ROOM] - 1))
        prefetch(rings.first_P, place)
        prefetch(rings.second_P, place)


@leaf_kernel
def ask_for_next(rings: Rings, row: int) -> None:
    """Asks for the line into which a row's next entry goes, if it need not move."""
    place = place_of_number(rings, row, rings.row_RF[row, NEXT])
    prefetch(rings.first_P, place)
    prefetch(rings.second_P, place)


@kernel
def put(rings: Rings, row: int, first: int, second: int) -> int:
    """Adds an entry to a row and returns its number; the caller has reserved room."""
    row_F = rings.row_RF[row]
    if row_F[LENGTH] == row_F[ROOM] and row_F[ROOM] < rings.pool[ROOM_MAX]:
        _move(rings, row, max(2 * row_F[ROOM], 1))
    number = row_F[NEXT]
    place = place_of_number(rings, row, number)
    rings.first_P[place] = first
    rings.second_P[place] = second
    row_F[NEXT] = number + 1
    row_F[LENGTH] = min(row_F[LENGTH] + 1, rings.pool[ROOM_MAX])
    return number


@kernel
def drop_oldest(rings: Rings, row: int) -> None:
    """The row loses its oldest entry. Takes no place that is not free already: what was reserved is for entries."""
    row_F = rings.row_RF[row]
    if row_F[LENGTH] == 1:
        empty_row(rings, row)
        return
    row_F[LENGTH] -= 1
    half = row_F[ROOM] >> 1
    if row_F[LENGTH] <= half >> 1 and rings.free_C[_class_of(half)] != NO_PIECE:
        _move(rings, row, half)


@kernel
def take_out(rings: Rings, row: int, first: int) -> None:
    """The row loses all entries of that first number; the others close up."""
    row_F = rings.row_RF[row]
    into = np.int64(row_F[NEXT])
    for back in range(1, row_F[LENGTH] + 1):
        place = place_of_number(rings, row, row_F[NEXT] - back)
        if rings.first_P[place] != first:
            into -= 1
            to = place_of_number(rings, row, int(into))
            rings.first_P[to], rings.second_P[to] = rings.first_P[place], rings.second_P[place]
    kept = row_F[NEXT] - into
    for number in range(row_F[NEXT] - row_F[LENGTH], into):
        place = place_of_number(rings, row, number)
        rings.first_P[place] = rings.second_P[place] = 0
    row_F[LENGTH] = kept
    if kept == 0:
        empty_row(rings, row)


@kernel
def empty_row(rings: Rings, row: int) -> None:
    """The row loses all its entries, and nothing of them stays in the pool."""
    row_F = rings.row_RF[row]
    if row_F[ROOM] > 0:
        _give(rings, row_F[START], row_F[ROOM])
    row_F[:] = 0


@kernel
def _move(rings: Rings, row: int, room: int) -> None:
    row_F = rings.row_RF[row]
    start, had = row_F[START], row_F[ROOM]
    piece = _take(rings, room)
    following = np.int64(row_F[NEXT])
    for number in range(following - row_F[LENGTH], following):
        place, old = piece + (number & (room - 1)), start + (number & (had - 1))
        rings.first_P[place] = rings.first_P[old]
        rings.second_P[place] = rings.second_P[old]
    if had > 0:
        _give(rings, start, had)
    row_F[START] = piece
    row_F[ROOM] = room


@leaf_kernel
def _class_of(room: int) -> int:
    size_class = 0
    while 1 << size_class < room:
        size_class += 1
    return size_class


@kernel
def _take(rings: Rings, room: int) -> int:
    size_class = _class_of(room)
    piece = rings.free_C[size_class]
    if piece != NO_PIECE:
        rings.free_C[size_class] = rings.first_P[piece]
        return piece
    piece = rings.pool[PLACES]
    rings.pool[PLACES] = piece + room
    rings.pool[LARGEST] = max(rings.pool[LARGEST], room)
    return piece


@kernel
def _give(rings: Rings, piece: int, room: int) -> None:
    rings.first_P[piece : piece + room] = 0
    rings.second_P[piece : piece + room] = 0
    size_class = _class_of(room)
    rings.first_P[piece] = rings.free_C[size_class]
    rings.free_C[size_class] = piece
