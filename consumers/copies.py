"""Copies of tables in room that is used again: memory that is touched for the first time costs several times the copying."""

from __future__ import annotations

from collections.abc import Mapping
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

    def of(self, tables: Mapping[str, NDArray[Any]]) -> Tables:
        """Copies, in C order; those of the last call are overwritten."""
        return {name: self._copy(name, table) for name, table in tables.items()}

    def _copy(self, name: str, table: NDArray[Any]) -> NDArray[Any]:
        room = self._room.get(name)
        if room is None or room.dtype != table.dtype or len(room) < table.size:
            room = self._room[name] = np.empty(int(table.size * HEADROOM), table.dtype)
        copy = room[: table.size].reshape(table.shape)
        np.copyto(copy, table)
        return copy
