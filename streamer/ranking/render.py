"""Lists as the JSON that readers get, written into one buffer. The version stands first, so that a store can compare it as text."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from streamer.ranking.lists import NOBODY, REASONS, Lists
from streamer.ranking.scratch import NEW, REASON_NAMES
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel, leaf_kernel
from streamer.tables.ids import IdTable


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8).copy()


_TERM_TEXT = _bytes("".join(REASON_NAMES))
_TERM_START = np.cumsum([0, *(len(term) for term in REASON_NAMES)])
_OPEN = _bytes('{"version":"')
_USER = _bytes('","user_id":"')
_ITEMS = _bytes('","items":[')
_ITEM = _bytes('{"item_id":"')
_SCORE = _bytes('","score":')
_WHY = _bytes(',"why":[')
_NULL = _bytes("null")
_END_ITEM = _bytes("]}")
_HEX = _bytes("0123456789abcdef")
_DECIMALS = 4
_FIXED_BYTES_MAX = 512
"""Of a list, beside its entries."""
_ENTRY_BYTES_MAX = 64 + REASONS * 64
"""Of an entry, beside its ids."""
_PAGE_BYTES = 1 << 19
"""Room for a portion of lists; twice as much whenever that is not enough."""
REASON_BYTES = 26
"""Of a reason in a store, in the mean (ids of about a dozen bytes)."""


class Stamp(NamedTuple):
    """What all lists of one rendering have: the version's text, the tail from ``],"head_step"`` on, and how many reasons a list tells at most, beside that an entry explores."""

    version: Array
    tail: Array
    reasons: int


def stamp_of(version: str, head_step: int, event_ms: int, written_ms: int, reasons: int) -> Stamp:
    """The stamp of lists ranked at one moment."""
    tail = f'],"head_step":{head_step},"event_ms":{event_ms},"written_ms":{written_ms}}}'
    return Stamp(_bytes(version), _bytes(tail), reasons)


def reasons_of_a_list(entries: int, reasons: int, users: int, bytes_max: int) -> int:
    """How many reasons a list tells, so that those of so many users' lists take about ``bytes_max`` of a store: ``reasons`` an entry if they do so.

    >>> [reasons_of_a_list(20, 3, users, 200_000_000) for users in (0, 100_000, 200_000, 1_000_000, 10_000_000)]
    [60, 60, 38, 7, 0]
    """
    return min(reasons * entries, bytes_max // (REASON_BYTES * max(users, 1)))


class Page:
    """Where lists are written, in memory that is used again: touching it for the first time costs more than writing them."""

    def __init__(self) -> None:
        self._buffer = np.empty(_PAGE_BYTES, np.uint8)

    def render(self, lists: Lists, users: IdTable, items: IdTable, stamp: Stamp) -> list[bytes]:
        """The JSON of each list."""
        count = len(lists.user_U)
        start_U1 = np.zeros(count + 1, np.int64)
        done = 0
        while (done := int(write_lists(lists, users, items, stamp, self._buffer, start_U1, done))) < count:
            bigger = np.empty(2 * len(self._buffer), np.uint8)
            bigger[: start_U1[done]] = self._buffer[: start_U1[done]]
            self._buffer = bigger
        return [self._buffer[start:stop].tobytes() for start, stop in pairwise(start_U1.tolist())]


@leaf_kernel
def _put(buffer: Array, at: int, text: Array) -> int:
    into = buffer[at : at + len(text)]  # its indices start at 0: none need be asked whether it counts from the end
    for n in range(len(text)):
        into[n] = text[n]
    return at + len(text)


@kernel
def _needs_escape(text: Array) -> bool:
    found = 0
    for n in range(len(text)):
        found |= (text[n] < 0x20) | (text[n] == 0x22) | (text[n] == 0x5C)
    return found != 0


@kernel
def _put_id(buffer: Array, at: int, table: IdTable, row: int) -> int:
    text = table.text_B[table.start_R[row] : table.start_R[row] + table.size_R[row]]
    if not _needs_escape(text):
        return _put(buffer, at, text)
    for byte in text:
        if byte in (0x22, 0x5C):
            buffer[at] = 0x5C
            buffer[at + 1] = byte
            at += 2
        elif byte < 0x20:
            buffer[at] = 0x5C
            buffer[at + 1] = 0x75
            buffer[at + 2] = buffer[at + 3] = 0x30
            buffer[at + 4] = _HEX[byte >> 4]
            buffer[at + 5] = _HEX[byte & 15]
            at += 6
        else:
            buffer[at] = byte
            at += 1
    return at


@kernel
def _put_number(buffer: Array, at: int, value: float) -> int:
    scaled = np.int64(np.floor(abs(value) * 10**_DECIMALS + 0.5))
    if value < 0 and scaled > 0:
        buffer[at] = 0x2D
        at += 1
    whole, part = scaled // 10**_DECIMALS, scaled % 10**_DECIMALS
    digits, bound = 1, 10
    while whole >= bound:
        digits, bound = digits + 1, bound * 10
    for n in range(digits):
        buffer[at + digits - 1 - n] = 0x30 + whole % 10
        whole //= 10
    at += digits
    buffer[at] = 0x2E
    for n in range(_DECIMALS):
        buffer[at + _DECIMALS - n] = 0x30 + part % 10
        part //= 10
    return at + 1 + _DECIMALS


@kernel
def _bytes_at_most(lists: Lists, users: IdTable, items: IdTable, n: int) -> int:
    total = _FIXED_BYTES_MAX
    if lists.user_U[n] != NOBODY:
        total += 6 * users.size_R[lists.user_U[n]]
    for k in range(lists.count_U[n]):
        total += _ENTRY_BYTES_MAX + 6 * items.size_R[lists.item_UK[n, k]]
        for r in range(REASONS):
            if lists.about_UKR[n, k, r] != NOBODY:
                total += 6 * items.size_R[lists.about_UKR[n, k, r]]
    return total


@kernel
def write_lists(lists: Lists, users: IdTable, items: IdTable, stamp: Stamp, buffer: Array, start_U1: Array, first: int) -> int:
    """Writes lists from ``first`` on while the buffer has room for their longest form; returns the next one."""
    every, more = divmod(stamp.reasons, lists.item_UK.shape[1])  # dealt in turns, the first entries first
    for n in range(first, len(lists.user_U)):
        at = start_U1[n]
        if at + _bytes_at_most(lists, users, items, n) > len(buffer):
            return n
        at = _put(buffer, at, _OPEN)
        at = _put(buffer, at, stamp.version)
        at = _put(buffer, at, _USER)
        if lists.user_U[n] != NOBODY:
            at = _put_id(buffer, at, users, lists.user_U[n])
        at = _put(buffer, at, _ITEMS)
        for k in range(lists.count_U[n]):
            if k > 0:
                buffer[at] = 0x2C
                at += 1
            at = _put_entry(buffer, at, lists, items, n, k, every + (k < more))
        start_U1[n + 1] = _put(buffer, at, stamp.tail)
    return len(lists.user_U)


@kernel
def _put_entry(buffer: Array, at: int, lists: Lists, items: IdTable, n: int, k: int, reasons: int) -> int:
    at = _put(buffer, at, _ITEM)
    at = _put_id(buffer, at, items, lists.item_UK[n, k])
    at = _put(buffer, at, _SCORE)
    at = _put_number(buffer, at, lists.score_UK[n, k])
    at = _put(buffer, at, _WHY)
    for r in range(REASONS):
        term = lists.term_UKR[n, k, r]
        told = r < reasons or term == NEW  # that an entry explores is always told: its score is none of its own
        if term == NOBODY or not told:
            break
        at = _put_reason(buffer, at, items, r, term, lists.value_UKR[n, k, r], lists.about_UKR[n, k, r])
    return _put(buffer, at, _END_ITEM)


@kernel
def _put_reason(buffer: Array, at: int, items: IdTable, r: int, term: int, value: float, about: int) -> int:
    if r > 0:
        buffer[at] = 0x2C
        at += 1
    buffer[at] = 0x5B
    buffer[at + 1] = 0x22
    at = _put(buffer, at + 2, _TERM_TEXT[_TERM_START[term] : _TERM_START[term + 1]])
    buffer[at] = 0x22
    buffer[at + 1] = 0x2C
    at = _put_number(buffer, at + 2, value)
    buffer[at] = 0x2C
    at += 1
    if about == NOBODY:
        at = _put(buffer, at, _NULL)
    else:
        buffer[at] = 0x22
        at = _put_id(buffer, at + 1, items, about)
        buffer[at] = 0x22
        at += 1
    buffer[at] = 0x5D
    return at + 1
