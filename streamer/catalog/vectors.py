"""Frozen content vectors of items, text and image, float16. Kernels never read them; the learner multiplies blocks of them.

A vector wider than WIDTH_MAX is brought to PROJECTED dimensions by a fixed random projection, which keeps angles (Johnson and
Lindenstrauss 1984) and bounds what an item costs in memory and in learning. What all vectors of a modality share says nothing of
an item: their mean is taken out, and what is left brought back to length one. The mean is that of the first 16, 32, ... MEAN_OF.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import Items
from streamer.tables.arrays import Array, capacity_for, grown
from streamer.tables.random import draw_rows

MODALITIES = ("text", "image")
WIDTH_MAX = 384
PROJECTED = 256
MEAN_FROM, MEAN_OF = 16, 4_096
PROJECTION_OCCASION = 1 << 42
"""Of the random numbers of the projections: one a modality."""


class Widths(NamedTuple):
    """Columns of each modality in a row, 0 before its first vector: text first, image after it."""

    text: int
    image: int

    @property
    def total(self) -> int:
        """Columns of a row."""
        return self.text + self.image


class ContentVectors:
    """One row an item with content; the width of a modality is set by its first vector."""

    def __init__(self, seed: int, tables: dict[str, Array] | None = None) -> None:
        """Empty, or from a snapshot's tables. ``seed``: of the projections."""
        self._seed = seed
        self._projection: dict[tuple[int, int], Array] = {}
        if tables is None:
            self._rows_VE, self._has_VM = np.zeros((0, 0), np.float16), np.zeros((0, 2), np.bool_)
            self._shape, self._mean_E = np.zeros(6, np.int64), np.zeros(0, np.float32)
        else:
            self._rows_VE, self._has_VM, self._shape, self._mean_E = (
                np.array(tables[f"items.{name}"], copy=True)
                for name in ("vectors", "vector_has", "vector_shape", "vector_mean")
            )
        self._used = len(self._rows_VE)

    @property
    def widths(self) -> Widths:
        """Of the modalities as they are kept."""
        return Widths(int(self._shape[0]), int(self._shape[1]))

    @property
    def live_VE(self) -> Array:
        """The rows in use."""
        return self._rows_VE[: self._used]

    def tables(self) -> dict[str, Array]:
        """For a snapshot; ``vector_shape`` = columns kept, columns given, vectors of the mean, of either modality."""
        return {
            "items.vectors": self.live_VE,
            "items.vector_has": self._has_VM[: self._used],
            "items.vector_shape": self._shape,
            "items.vector_mean": self._mean_E,
        }

    def set(self, items: Items, row: int, text_E: Array | None, image_E: Array | None) -> bool:
        """Keeps the vectors of an item in the place of those before; returns whether a mean moved, and with it every vector.

        Raises:
            ValueError: a width is not that of the others; nothing is changed.
        """
        given = (text_E, image_E)
        self._check(given)
        kept = [None if vector is None else self._kept(m, vector) for m, vector in enumerate(given)]
        self._widen(
            [0 if vector is None else len(vector) for vector in kept], [0 if one is None else len(one) for one in given]
        )
        place = int(items.vector_I[row])
        if place < 0:
            place = self._used
            rows = capacity_for(place + 1, len(self._rows_VE))
            self._rows_VE, self._has_VM = grown(self._rows_VE, rows), grown(self._has_VM, rows)
            self._used += 1
            items.vector_I[row] = place
        for m, vector in enumerate(kept):
            self._rows_VE[place, self._columns(m)] = 0 if vector is None else vector
            self._has_VM[place, m] = vector is not None
        return any(self._recentre(m) for m in range(len(MODALITIES)) if kept[m] is not None)

    def drop(self, items: Items, row_T: Array) -> None:
        """Forgets the vectors of item rows; those of the others move together."""
        items.vector_I[row_T] = -1
        row_I = np.flatnonzero(items.vector_I >= 0)
        row_I = row_I[np.argsort(items.vector_I[row_I], kind="stable")]
        for table in (self._rows_VE, self._has_VM):
            table[: len(row_I)] = table[items.vector_I[row_I]]
        items.vector_I[row_I] = np.arange(len(row_I))
        self._used = len(row_I)

    def of_rows(self, items: Items, row_T: Array) -> Array:
        """float32 [T, E] vectors of item rows: each modality centred and of length one, zero where there is none."""
        if not self._used:
            return np.zeros((len(row_T), self.widths.total), np.float32)
        place_T = items.vector_I[row_T]
        vector_TE = self._rows_VE[np.maximum(place_T, 0)].astype(np.float32)
        has_TM = self.has(items, row_T)
        for m in range(len(MODALITIES)):
            part_TE = vector_TE[:, self._columns(m)]
            part_TE -= self._mean_E[self._columns(m)]
            length_T = np.sqrt(np.einsum("te,te->t", part_TE, part_TE))
            part_TE *= (has_TM[:, m] / np.maximum(length_T, np.float32(1e-6)))[:, None].astype(np.float32)
        return vector_TE

    def has(self, items: Items, row_T: Array) -> Array:
        """Bool [T, 2]: which modalities item rows have."""
        if not self._used:
            return np.zeros((len(row_T), 2), np.bool_)
        place_T = items.vector_I[row_T]
        has_TM: Array = self._has_VM[np.maximum(place_T, 0)] & (place_T >= 0)[:, None]
        return has_TM

    def _columns(self, m: int) -> slice:
        text = int(self._shape[0])
        return slice(0, text) if m == 0 else slice(text, text + int(self._shape[1]))

    def _check(self, given: tuple[Array | None, ...]) -> None:
        for m, vector in enumerate(given):
            expected = int(self._shape[2 + m])
            if vector is not None and expected not in {0, len(vector)}:
                msg = f"the {MODALITIES[m]} vector has {len(vector)} dimensions, those before it have {expected}: one encoder at a time"
                raise ValueError(msg)

    def _kept(self, m: int, vector_E: Array) -> Array:
        if len(vector_E) <= WIDTH_MAX:
            return vector_E
        key = (m, len(vector_E))
        if key not in self._projection:
            self._projection[key] = np.zeros((len(vector_E), PROJECTED), np.float32)
            occasion = PROJECTION_OCCASION + (m << 32)
            draw_rows(self._projection[key], 0, len(vector_E), self._seed, occasion, float(np.sqrt(3.0 / PROJECTED)))
        kept: Array = vector_E.astype(np.float32) @ self._projection[key]
        return kept

    def _widen(self, kept: list[int], given: list[int]) -> None:
        """Makes room for a modality whose first vector has come."""
        for m in range(len(MODALITIES)):
            if kept[m] and not self._shape[m]:
                at = self._columns(m).start
                self._rows_VE = np.insert(self._rows_VE, [at] * kept[m], 0, axis=1)
                self._mean_E = np.insert(self._mean_E, [at] * kept[m], 0).astype(np.float32)
                self._shape[m], self._shape[2 + m] = kept[m], given[m]

    def _recentre(self, m: int) -> bool:
        """Takes the mean anew when there are twice as many vectors as it was taken of."""
        count = int(self._has_VM[: self._used, m].sum()) if self._shape[4 + m] < MEAN_OF else 0
        due = max(MEAN_FROM, 2 * int(self._shape[4 + m]))
        if count < due:
            return False
        self._shape[4 + m] = due
        rows_VE = self._rows_VE[: self._used, self._columns(m)][self._has_VM[: self._used, m]]
        self._mean_E[self._columns(m)] = rows_VE.astype(np.float64).mean(axis=0)
        return True
