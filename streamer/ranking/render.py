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
from streamer.tables.text import WORD_BYTES, needs_escape, phrase, put, put_word, word_at

_TERMS = [phrase(f'["{name}",') for name in REASON_NAMES]
_TERM_WORDS = max(map(len, _TERMS)) - 1
_TERM_TW = np.array([np.append(term[:-1], np.zeros(_TERM_WORDS, np.uint64))[:_TERM_WORDS] for term in _TERMS])
_TERM_BYTES_T = np.array([term[-1] for term in _TERMS], np.int64)
_OPEN = phrase('{"version":"')
_USER = phrase('","user_id":"')
_ITEMS = phrase('","items":[')
_ITEM = phrase('{"item_id":"')
_SCORE = phrase('","score":')
_WHY = phrase(',"why":[')
_ABOUT_NOTHING = phrase(",null],")
_ABOUT = phrase(',"')
_END_REASON = phrase('"],')
_END_ITEM = phrase("]},")
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
_NUMBER_BYTES = len("0.0000")
_FIXED_BYTES_MAX = 512
"""Of a list, beside its entries, with what the last words overwrite behind it."""
_ENTRY_BYTES_MAX = 64 + REASONS * 64
"""Of an entry, beside its ids."""
_HUNDRED, _TEN = np.uint64(100), np.uint64(10)
_SCALE = _HUNDRED * _HUNDRED
"""Four decimals. Without a sign, for which Python's division would have to look."""
_ZEROS = np.uint64(int.from_bytes(b"0.0000\0\0", "little"))
_BYTE_2, _BYTE_3, _BYTE_4, _BYTE_5 = np.uint64(16), np.uint64(24), np.uint64(32), np.uint64(40)
_DIGIT = np.uint64(0x30)
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
    return Stamp(phrase(version), phrase(tail), reasons)


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


@kernel
def _put_id(buffer: Array, at: int, table: IdTable, row: int) -> int:
    start, size = table.start_R[row], int(table.size_R[row])
    if start + size + WORD_BYTES > len(table.text_B):  # whole words would reach beyond it
        return _put_escaped(buffer, at, table.text_B[start : start + size])
    for n in range(0, size, WORD_BYTES):
        word = word_at(table.text_B, start + n)
        left = size - n
        if needs_escape(word if left >= WORD_BYTES else _first_bytes(word, left)):
            return _put_escaped(buffer, at, table.text_B[start : start + size])
        put_word(buffer, at + n, word)
    return at + size


@leaf_kernel
def _first_bytes(word: np.uint64, count: int) -> np.uint64:
    """Fewer than eight of them, and nothing in the place of the others that would need an escape."""
    others = ~np.uint64(0) << np.uint64(8 * count)
    return word | others


@kernel
def _put_escaped(buffer: Array, at: int, text: Array) -> int:
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
    scaled = np.int64(np.floor(abs(value) * 10_000 + 0.5))
    if value < 0 and scaled > 0:
        buffer[at] = 0x2D
        at += 1
    whole, part = np.uint64(scaled) // _SCALE, np.uint64(scaled) % _SCALE
    if whole >= _TEN:
        at = _put_tens(buffer, at, whole // _TEN)
        whole %= _TEN
    first, last = part // _HUNDRED, part % _HUNDRED
    word = _ZEROS + whole + ((first // _TEN) << _BYTE_2) + ((first % _TEN) << _BYTE_3)
    put_word(buffer, at, word + ((last // _TEN) << _BYTE_4) + ((last % _TEN) << _BYTE_5))
    return at + _NUMBER_BYTES


@kernel
def _put_tens(buffer: Array, at: int, tens: np.uint64) -> int:
    digits, bound = 1, _TEN
    while tens >= bound:  # less than 10 ** 14: no bound overflows
        digits, bound = digits + 1, bound * _TEN
    for n in range(digits):
        buffer[at + digits - 1 - n] = _DIGIT + tens % _TEN
        tens //= _TEN
    return at + digits


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
        at = put(buffer, at, _OPEN)
        at = put(buffer, at, stamp.version)
        at = put(buffer, at, _USER)
        if lists.user_U[n] != NOBODY:
            at = _put_id(buffer, at, users, lists.user_U[n])
        at = put(buffer, at, _ITEMS)
        for k in range(lists.count_U[n]):
            at = _put_entry(buffer, at, lists, items, n, k, every + (k < more))
        at -= lists.count_U[n] > 0  # the last comma
        start_U1[n + 1] = put(buffer, at, stamp.tail)
    return len(lists.user_U)


@kernel
def _put_entry(buffer: Array, at: int, lists: Lists, items: IdTable, n: int, k: int, reasons: int) -> int:
    at = put(buffer, at, _ITEM)
    at = _put_id(buffer, at, items, lists.item_UK[n, k])
    at = put(buffer, at, _SCORE)
    at = _put_number(buffer, at, lists.score_UK[n, k])
    at = put(buffer, at, _WHY)
    told = 0
    for r in range(REASONS):
        term = lists.term_UKR[n, k, r]
        is_told = r < reasons or term == NEW  # that an entry explores is always told: its score is none of its own
        if term == NOBODY or not is_told:
            break
        at = _put_reason(buffer, at, items, term, lists.value_UKR[n, k, r], lists.about_UKR[n, k, r])
        told += 1
    return put(buffer, at - (told > 0), _END_ITEM)


@kernel
def _put_reason(buffer: Array, at: int, items: IdTable, term: int, value: float, about: int) -> int:
    for w in range(_TERM_WORDS):
        put_word(buffer, at + WORD_BYTES * w, _TERM_TW[term, w])
    at = _put_number(buffer, at + _TERM_BYTES_T[term], value)
    if about == NOBODY:
        return put(buffer, at, _ABOUT_NOTHING)
    at = put(buffer, at, _ABOUT)
    at = _put_id(buffer, at, items, about)
    return put(buffer, at, _END_REASON)
