"""To whom items belong: the provider and the categories that documents name, as rows of two bounded tables of names.

A function of the topic ``items`` and of what the catalog evicts. An item that is not to be listed belongs to nobody, so a name has as
many items as lists can show. A name that no item bears any more leaves its row to the next. Kernels read ``provider_I`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, resized
from streamer.tables.ids import SEPARATOR

NAMES_MAX = 16_384
"""Distinct providers, and distinct categories; an item whose provider comes when there are so many has none."""
NAME_BYTES_MAX = 256
"""Of a name in UTF-8; what is beyond is cut off."""
CATEGORIES_COUNTED = 8
"""Of an item: the first ones that its document names."""
NONE = -1
KINDS = ("providers", "categories")
_END = bytes([SEPARATOR])


def counted_names(names: Iterable[str | None]) -> list[str]:
    """The names as they are counted: cut to NAME_BYTES_MAX, each once, empty ones left out.

    >>> counted_names(["a", None, "", "b", "a"])
    ['a', 'b']
    """
    return list(dict.fromkeys(cut for name in names if name and (cut := _cut(name))))


def _cut(name: str) -> str:
    return name.encode(errors="replace")[:NAME_BYTES_MAX].decode(errors="ignore")


class Freed(NamedTuple):
    """Rows of names that no item bears any more, by kind: what is known by row of them is to be dropped."""

    providers: Sequence[int]
    categories: Sequence[int]


class Names:
    """Names of one kind, each with a row; ``items_R`` is how many items bear it, 0 for a free row."""

    def __init__(self, kind: str, tables: dict[str, Array] | None = None) -> None:
        """Empty, or from a snapshot's tables, which may be of before there were names."""
        tables = tables or {}
        self._kind = kind
        text = bytes(tables.get(f"{kind}.text", np.zeros(0, np.uint8)))
        self._name_R: list[str] = [name.decode() for name in text.split(_END)[:-1]]
        self._free: list[int] = tables.get(f"{kind}.free", np.zeros(0, np.int32)).tolist()
        self.items_R: Array = resized(tables.get(f"{kind}.items", np.zeros(0, np.int32)), len(self._name_R))
        self._row_of = {name: row for row, name in enumerate(self._name_R) if name}
        self._text: Array | None = None

    @property
    def rows(self) -> int:
        """Rows in use or free."""
        return len(self._name_R)

    @property
    def known(self) -> Array:
        """Rows in use, ascending."""
        return np.flatnonzero(self.items_R[: self.rows] > 0)

    def name(self, row: int) -> str:
        """Of a row; empty where it is free."""
        return self._name_R[row]

    def take(self, name: str) -> int:
        """The row of a name that one item more bears; NONE where there are NAMES_MAX others."""
        row = self._row_of.get(name, NONE)
        if row == NONE:
            row = self._new_row(name)
        if row != NONE:
            self.items_R[row] += 1
        return row

    def give(self, row_N: Array) -> list[int]:
        """Each of these rows has one item fewer; returns those that have none left, ascending, which are free now."""
        used_N = row_N[row_N != NONE]
        if not len(used_N):
            return []
        row_U, count_U = np.unique(used_N, return_counts=True)
        self.items_R[row_U] -= count_U.astype(self.items_R.dtype)
        gone: list[int] = row_U[self.items_R[row_U] == 0].tolist()
        for row in gone:
            del self._row_of[self._name_R[row]]
            self._name_R[row] = ""
            self._free.append(row)
            self._text = None
        return gone

    def tables(self) -> dict[str, Array]:
        """For a snapshot: all names one after the other, each with SEPARATOR behind it."""
        if self._text is None:
            self._text = np.frombuffer(b"".join(name.encode() + _END for name in self._name_R), np.uint8)
        return {
            f"{self._kind}.text": self._text,
            f"{self._kind}.items": self.items_R[: self.rows],
            f"{self._kind}.free": np.array(self._free, np.int32),
        }

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self._name_R[row] = name
        elif self.rows < NAMES_MAX:
            row = self.rows
            self._name_R.append(name)
            self.items_R = grown(self.items_R, capacity_for(self.rows, len(self.items_R)))
        else:
            return NONE
        self._row_of[name] = row
        self._text = None
        return row


class Belonging:
    """By row of an item the rows of its names, NONE where it has none: ``provider_I``, and ``category_IC``, from the first column on.

    Until the first item has a category the latter has no rows; after that it keeps them.
    """

    def __init__(self, tables: dict[str, Array] | None = None) -> None:
        """Empty, or from a snapshot's tables; of one from before there were names each item waits for its next document."""
        tables = tables or {}
        none = np.zeros((0, CATEGORIES_COUNTED), np.int32)
        self.provider_I: Array = resized(tables.get("belonging.provider", none[:, 0]), 0)
        self.providers, self.categories = (Names(kind, tables) for kind in KINDS)
        self.category_IC: Array = resized(tables.get("belonging.category", none) if self.categories.rows else none, 0)

    def reserve(self, rows: int) -> None:
        """Room for that many rows of items."""
        if rows > len(self.provider_I):
            self.provider_I = grown(self.provider_I, rows, NONE)
            self._reserve_categories()

    def categories_of(self, item_N: Array) -> Array:
        """Rows of the items' categories [N, CATEGORIES_COUNTED]."""
        if not self.categories.rows:
            return np.full((*item_N.shape, CATEGORIES_COUNTED), NONE, np.int32)
        categories_NC: Array = self.category_IC[item_N]
        return categories_NC

    def set(self, row: int, provider: str | None, categories: Iterable[str]) -> Freed:
        """What an item's newest document says takes the place of what the one before said."""
        row_T = np.array([row])
        provider_T, category_TC = self.provider_I[row_T], self.categories_of(row_T)
        taken = [self.categories.take(name) for name in counted_names(categories)[:CATEGORIES_COUNTED]]
        self._reserve_categories()
        self._clear(row_T)
        self.provider_I[row] = next(map(self.providers.take, counted_names([provider])), NONE)
        if taken:
            self.category_IC[row, : len(taken)] = taken
        return Freed(self.providers.give(provider_T), self.categories.give(category_TC))

    def drop(self, row_T: Array) -> Freed:
        """Rows of items that are freed."""
        freed = Freed(self.providers.give(self.provider_I[row_T]), self.categories.give(self.categories_of(row_T)))
        self._clear(row_T)
        return freed

    def _reserve_categories(self) -> None:
        if self.categories.rows:
            self.category_IC = grown(self.category_IC, len(self.provider_I), NONE)

    def _clear(self, row_T: Array) -> None:
        self.provider_I[row_T] = NONE
        if self.categories.rows:
            self.category_IC[row_T] = NONE

    def tables(self, rows: int) -> dict[str, Array]:
        """For a snapshot: views of the first ``rows`` rows of items, and the names."""
        return {
            "belonging.provider": self.provider_I[:rows],
            "belonging.category": self.category_IC[:rows],
            **self.providers.tables(),
            **self.categories.tables(),
        }
