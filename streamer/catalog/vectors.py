"""Frozen content vectors of items, float16, as the encoder wrote them. Kernels never read them; the learner multiplies blocks of them."""

from __future__ import annotations

import numpy as np

from streamer.catalog.items import Items
from streamer.tables.arrays import Array, capacity_for, grown, resized


class ContentVectors:
    """One row an item with content; the width is set by the first vector that arrives."""

    def __init__(self, rows_VE: Array | None = None) -> None:
        self._rows_VE = resized(rows_VE, len(rows_VE)) if rows_VE is not None else np.zeros((0, 0), np.float16)
        self._used = len(self._rows_VE)

    @property
    def width(self) -> int:
        """Dimensions of a vector, 0 before the first."""
        return int(self._rows_VE.shape[1])

    @property
    def live_VE(self) -> Array:
        """The rows in use, for a snapshot."""
        return self._rows_VE[: self._used]

    def set(self, items: Items, row: int, vector_E: Array) -> None:
        """Keeps the vector of an item; raises ValueError where its width is not that of the others."""
        if self.width != len(vector_E):
            if self._used:
                msg = (
                    f"a content vector has {len(vector_E)} dimensions, those before it have {self.width}: one encoder at a time"
                )
                raise ValueError(msg)
            self._rows_VE = np.zeros((64, len(vector_E)), np.float16)
        place = int(items.vector_I[row])
        if place < 0:
            place = self._used
            self._rows_VE = grown(self._rows_VE, capacity_for(place + 1, len(self._rows_VE)))
            self._used += 1
            items.vector_I[row] = place
        self._rows_VE[place] = vector_E

    def drop(self, items: Items, row_T: Array) -> None:
        """Forgets the vectors of item rows; those of the others move together."""
        items.vector_I[row_T] = -1
        row_I = np.flatnonzero(items.vector_I >= 0)
        row_I = row_I[np.argsort(items.vector_I[row_I], kind="stable")]
        self._rows_VE[: len(row_I)] = self._rows_VE[items.vector_I[row_I]]
        items.vector_I[row_I] = np.arange(len(row_I))
        self._used = len(row_I)

    def of_rows(self, items: Items, row_T: Array) -> Array:
        """float32 [T, E] vectors of item rows, zero where there is no content."""
        if not self._used:
            return np.zeros((len(row_T), self.width), np.float32)
        place_T = items.vector_I[row_T]
        vector_TE = self._rows_VE[np.maximum(place_T, 0)].astype(np.float32)
        vector_TE[place_T < 0] = 0.0
        return vector_TE
