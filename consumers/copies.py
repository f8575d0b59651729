"""Copies of tables in room that is used again: memory that is touched for the first time costs ten times the copying."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADROOM = 1.25
"""Room made for a table, as a multiple of what it is now."""

Tables = dict[str, NDArray[Any]]


class Copies:
    """One set of copies at a time: the next takes the room of the one before."""

    def __init__(self) -> None:
        self._room: Tables = {}

    def lacking(self, tables: Mapping[str, NDArray[Any]]) -> Tables:
        """New room for those tables that have too little, not yet touched: ``take`` it after ``touched``."""
        return {
            name: np.empty(int(table.size * HEADROOM), table.dtype)
            for name, table in tables.items()
            if not self._fits(name, table)
        }

    def take(self, room: Tables) -> None:
        """Uses it from now on."""
        self._room |= room

    def of(self, tables: Mapping[str, NDArray[Any]], beside: Executor | None = None) -> Tables:
        """Copies, in C order; those of the last call are overwritten. ``beside`` makes some of them meanwhile, as soon as it can."""
        self.take(self.lacking(tables))
        # the small ones last, so that both are done at once
        left = deque(sorted(tables, key=lambda name: -tables[name].nbytes))
        other = None if beside is None else beside.submit(self._copy_left, tables, left)
        try:
            self._copy_left(tables, left)
        finally:
            left.clear()  # where this one failed
            if other is not None and not other.cancel():
                other.result()  # nobody may change the tables, or use the room, before
        return {name: self._copy_of(name, table) for name, table in tables.items()}

    def _fits(self, name: str, table: NDArray[Any]) -> bool:
        room = self._room.get(name)
        return room is not None and room.dtype == table.dtype and len(room) >= table.size

    def _copy_left(self, tables: Mapping[str, NDArray[Any]], left: deque[str]) -> None:
        while True:
            try:
                name = left.popleft()
            except IndexError:  # nothing is left
                return
            np.copyto(self._copy_of(name, tables[name]), tables[name])

    def _copy_of(self, name: str, table: NDArray[Any]) -> NDArray[Any]:
        return self._room[name][: table.size].reshape(table.shape)


def touched(room: Tables) -> Tables:
    """The same once every page of it is there: seconds a GiB, outside the interpreter's lock."""
    for table in room.values():
        table.fill(0)
    return room
