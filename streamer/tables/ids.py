"""Id tables: text id <-> dense row, as flat arrays.

A row is found by the 64-bit hash of the id's UTF-8 bytes through open addressing with linear probing; the bytes themselves are
compared, so two ids with one hash stay two rows. The index is derived from the rows and is not part of a snapshot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized, with_headroom, zeros
from streamer.tables.compile import kernel, leaf_kernel

SEPARATOR = 0xFF
"""Between ids joined into one buffer: a byte that UTF-8 never contains."""

ROWS_USED, TEXT_USED, FREE_USED = 0, 1, 2
HOLES_MAX = 65_536
"""Bytes that single ids may leave behind before the text is moved together, if those of the living are fewer."""


class IdTable(NamedTuple):
    """Rows [0, used[ROWS_USED]) are in use but for those on the stack ``free``; a freed row has size 0."""

    hash_R: Array
    start_R: Array
    size_R: Array
    text_B: Array
    free_R: Array
    used: Array
    slot_S: Array
    """Derived: row in each slot, -1 where empty."""


def new_id_table(rows: int) -> IdTable:
    """An empty table with room for ``rows`` ids of 16 bytes on average."""
    return IdTable(
        hash_R=np.zeros(rows, np.uint64),
        start_R=np.zeros(rows, np.int64),
        size_R=np.zeros(rows, np.int32),
        text_B=np.zeros(rows * 16 + 512, np.uint8),
        free_R=np.zeros(rows, np.int32),
        used=np.zeros(3, np.int64),
        slot_S=np.full(_slots_for(rows), -1, np.int32),
    )


def _slots_for(rows: int) -> int:
    return 1 << max(6, (2 * rows - 1).bit_length())


def reserve_ids(table: IdTable, rows: int, text_bytes: int) -> IdTable:
    """The table with room for ``rows`` and ``text_bytes`` more; the same object where there is room already."""
    rows_needed = int(table.used[ROWS_USED]) + rows
    text_needed = int(table.used[TEXT_USED]) + text_bytes
    if rows_needed <= len(table.hash_R) and text_needed <= len(table.text_B):
        return table
    capacity = capacity_for(rows_needed, len(table.hash_R))
    longer = table._replace(
        hash_R=grown(table.hash_R, capacity),
        start_R=grown(table.start_R, capacity),
        size_R=grown(table.size_R, capacity),
        free_R=grown(table.free_R, capacity),
        text_B=grown(table.text_B, capacity_for(text_needed, len(table.text_B))),
    )
    return longer if _slots_for(capacity) == len(table.slot_S) else reindexed(longer)


def reindexed(table: IdTable) -> IdTable:
    """The table with its index built anew from its rows."""
    slots = np.full(_slots_for(len(table.hash_R)), -1, np.int32)
    fill_index(table.hash_R, table.size_R, int(table.used[ROWS_USED]), slots)
    return table._replace(slot_S=slots)


def id_tables_out(table: IdTable, prefix: str) -> dict[str, Array]:
    """Live rows, for a snapshot."""
    rows, text, free = (int(n) for n in table.used)
    return {
        f"{prefix}.hash": table.hash_R[:rows],
        f"{prefix}.start": table.start_R[:rows],
        f"{prefix}.size": table.size_R[:rows],
        f"{prefix}.text": table.text_B[:text],
        f"{prefix}.free": table.free_R[:free],
    }


def id_table_in(tables: dict[str, Array], prefix: str, rows: int) -> IdTable:
    """The table of a snapshot, with room for at least ``rows`` rows."""
    live, text, free = (tables[f"{prefix}.{part}"] for part in ("hash", "text", "free"))
    rows = max(rows, with_headroom(len(live)))
    return reindexed(
        IdTable(
            hash_R=resized(live, rows),
            start_R=resized(tables[f"{prefix}.start"], rows),
            size_R=resized(tables[f"{prefix}.size"], rows),
            text_B=resized(text, max(rows * 16 + 512, with_headroom(len(text)))),
            free_R=resized(free, rows),
            used=np.array([len(live), len(text), len(free)], np.int64),
            slot_S=np.zeros(0, np.int32),
        )
    )


def text_of_row(table: IdTable, row: int) -> str:
    """The id of a row."""
    start = int(table.start_R[row])
    return bytes(table.text_B[start : start + int(table.size_R[row])]).decode()


def bytes_and_hash(text: str) -> tuple[Array, np.uint64]:
    """An id's UTF-8 bytes and their hash."""
    raw = np.frombuffer(text.encode(), np.uint8)
    return raw, np.uint64(hash_bytes(raw, 0, len(raw)))


def row_of_text(table: IdTable, text: str) -> int:
    """The row of an id, -1 where it is unknown; stores nothing."""
    raw, hashed = bytes_and_hash(text)
    return int(find_id(table, hashed, raw, 0, len(raw)))


def row_of_bytes(table: IdTable, raw: bytes) -> int:
    """The same of an id's UTF-8 bytes."""
    text_B = np.frombuffer(raw, np.uint8)
    return int(find_id(table, np.uint64(hash_bytes(text_B, 0, len(raw))), text_B, 0, len(raw)))


def live_rows(table: IdTable) -> int:
    """How many ids the table holds."""
    return int(table.used[ROWS_USED] - table.used[FREE_USED])


def free_rows(table: IdTable, row_T: Array) -> IdTable:
    """The table without the ids of those rows, which new ids will get; the text of the others is moved together."""
    rows, freed = int(table.used[ROWS_USED]), int(table.used[FREE_USED])
    table.size_R[row_T] = 0
    table.hash_R[row_T] = 0
    table.free_R[freed : freed + len(row_T)] = row_T[::-1]
    text_B = zeros(table.text_B.shape, np.uint8)
    table.used[TEXT_USED] = move_text(table.text_B, table.start_R, table.size_R, rows, text_B)
    table.used[FREE_USED] = freed + len(row_T)
    return reindexed(table._replace(text_B=text_B))


def without_row(table: IdTable, row: int) -> IdTable:
    """The table without one id, whose bytes are gone at once; now and then the others' text is moved together.

    When that is depends on the ids alone, so that it is the same however a log is cut.
    """
    drop_row(table, row)
    used = int(table.used[TEXT_USED])
    live = int(table.size_R[: int(table.used[ROWS_USED])].sum())
    return free_rows(table, np.zeros(0, np.int64)) if used - live > max(HOLES_MAX, live) else table


@kernel
def drop_row(table: IdTable, row: int) -> None:
    """Frees a row: its bytes become zeros, and the index closes up behind it, as linear probing wants it (Knuth 6.4, algorithm R)."""
    mask = np.uint64(len(table.slot_S) - 1)
    hole = table.hash_R[row] & mask
    while table.slot_S[hole] != row:
        hole = (hole + np.uint64(1)) & mask
    slot = hole
    while True:
        slot = (slot + np.uint64(1)) & mask
        other = table.slot_S[slot]
        if other < 0:
            break
        wanted = table.hash_R[other] & mask
        if ((slot - wanted) & mask) >= ((slot - hole) & mask):
            table.slot_S[hole] = other
            hole = slot
    table.slot_S[hole] = -1
    for at in range(table.start_R[row], table.start_R[row] + table.size_R[row]):
        table.text_B[at] = 0
    table.hash_R[row] = 0
    table.start_R[row] = 0
    table.size_R[row] = 0
    table.free_R[table.used[FREE_USED]] = row
    table.used[FREE_USED] += 1


@kernel
def move_text(from_B: Array, start_R: Array, size_R: Array, rows: int, into_B: Array) -> int:
    """Copies the ids of live rows one after the other; returns the bytes used."""
    used = 0
    for row in range(rows):
        start = start_R[row]
        start_R[row] = used
        for at in range(size_R[row]):
            into_B[used + at] = from_B[start + at]
        used += size_R[row]
    return used


@leaf_kernel
def mix(x: np.uint64) -> np.uint64:
    """Finalizer of splitmix64 (Steele, Lea, Flood 2014)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def hash_bytes(text_B: Array, start: int, stop: int) -> np.uint64:
    """FNV-1a over the bytes, then ``mix``; never 0, which means "no id"."""
    state = np.uint64(0xCBF29CE484222325)
    for at in range(start, stop):
        state = (state ^ np.uint64(text_B[at])) * np.uint64(0x100000001B3)
    state = mix(state)
    return state if state != np.uint64(0) else np.uint64(1)


@kernel
def split_and_hash(text_B: Array, start_N1: Array, hash_N: Array) -> None:
    """Finds where each of N ids begins in a buffer of ids joined by SEPARATOR and hashes it (0 for an empty one).

    Id n is ``text_B[start_N1[n] : start_N1[n + 1] - 1]``.
    """
    at = 0
    for n in range(len(hash_N)):
        start_N1[n] = at
        stop = at
        while stop < len(text_B) and text_B[stop] != SEPARATOR:
            stop += 1
        hash_N[n] = hash_bytes(text_B, at, stop) if stop > at else np.uint64(0)
        at = stop + 1
    start_N1[len(hash_N)] = at


@kernel
def fill_index(hash_R: Array, size_R: Array, rows: int, slot_S: Array) -> None:
    """Puts every row in use into an empty index."""
    mask = np.uint64(len(slot_S) - 1)
    for row in range(rows):
        if size_R[row] == 0:
            continue
        slot = hash_R[row] & mask
        while slot_S[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slot_S[slot] = row


@kernel
def find_id(table: IdTable, hashed: np.uint64, text_B: Array, start: int, stop: int) -> int:
    """The row of the id ``text_B[start:stop]``, -1 where it is unknown."""
    mask = np.uint64(len(table.slot_S) - 1)
    slot = hashed & mask
    while True:
        row = table.slot_S[slot]
        if row < 0:
            return -1
        if table.hash_R[row] == hashed and table.size_R[row] == stop - start:
            begin = table.start_R[row]
            same = True
            for at in range(stop - start):
                if table.text_B[begin + at] != text_B[start + at]:
                    same = False
                    break
            if same:
                return row
        slot = (slot + np.uint64(1)) & mask


@kernel
def find_or_add_id(table: IdTable, hashed: np.uint64, text_B: Array, start: int, stop: int) -> int:
    """The row of the id, a new one where it is unknown; the caller has reserved room."""
    row = find_id(table, hashed, text_B, start, stop)
    if row >= 0:
        return row
    if table.used[FREE_USED] > 0:
        table.used[FREE_USED] -= 1
        row = table.free_R[table.used[FREE_USED]]
    else:
        row = table.used[ROWS_USED]
        table.used[ROWS_USED] += 1
    begin = table.used[TEXT_USED]
    for at in range(stop - start):
        table.text_B[begin + at] = text_B[start + at]
    table.used[TEXT_USED] = begin + stop - start
    table.hash_R[row] = hashed
    table.start_R[row] = begin
    table.size_R[row] = stop - start
    mask = np.uint64(len(table.slot_S) - 1)
    slot = hashed & mask
    while table.slot_S[slot] >= 0:
        slot = (slot + np.uint64(1)) & mask
    table.slot_S[slot] = row
    return row
