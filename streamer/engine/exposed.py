"""Who was shown of late: the attention that lists gave to each provider and category, halved every so much of event time.

Publisher tables: kept in snapshots, never hashed, never read by the fold. What lists were rendered when is no function of the log.
"""

from __future__ import annotations

import numpy as np

from streamer.catalog.belonging import NONE, Belonging, Freed, Names
from streamer.ranking.exposure import Floats, Shares, places, shares
from streamer.ranking.lists import Lists
from streamer.tables.arrays import Array, grown, resized

PROVIDER, CATEGORY = "provider", "category"


class Exposed:
    """Exposure by row of a name, ``provider_P`` and ``category_C``, in units of a list's first place."""

    def __init__(self, half_life_ms: int, tables: dict[str, Array] | None = None) -> None:
        """Nothing shown yet, or from a snapshot's publisher tables, which may be of before this was kept."""
        tables = tables or {}
        nothing = np.zeros(0, np.float64)
        self._half_life_ms = half_life_ms
        self.provider_P: Floats = resized(tables.get("exposed.provider", nothing), 0)
        self.category_C: Floats = resized(tables.get("exposed.category", nothing), 0)
        self._at_ms = resized(tables.get("exposed.at_ms", np.zeros(0, np.int64)), 1)

    def of_providers(self, belonging: Belonging) -> Floats:
        """By row of a provider; not to be written to."""
        rows = belonging.providers.rows
        return grown(self.provider_P, rows)[:rows]

    def note(self, lists: Lists, belonging: Belonging, event_ms: int) -> None:
        """Adds lists rendered at that event time; what was shown before it has faded."""
        self.provider_P = grown(self.provider_P, belonging.providers.rows)
        self.category_C = grown(self.category_C, belonging.categories.rows)
        passed_ms = event_ms - int(self._at_ms[0])
        if passed_ms > 0:
            faded = 0.5 ** (passed_ms / self._half_life_ms)
            self.provider_P *= faded
            self.category_C *= faded
            self._at_ms[0] = event_ms
        if not belonging.providers.rows and not belonging.categories.rows:
            return
        used_UK = np.arange(lists.item_UK.shape[1]) < lists.count_U[:, None]
        item_N = lists.item_UK[used_UK]
        place_N = np.broadcast_to(places(lists.item_UK.shape[1]), used_UK.shape)[used_UK]
        _add(self.provider_P, belonging.provider_I[item_N], place_N)
        if belonging.categories.rows:
            category_NC = belonging.category_IC[item_N]
            part_N = place_N / np.maximum(np.count_nonzero(category_NC != NONE, axis=1), 1)
            _add(self.category_C, category_NC.ravel(), np.repeat(part_N, category_NC.shape[1]))

    def drop(self, freed: Freed) -> None:
        """Names that are gone; their rows will be others'."""
        for exposure_R, rows in ((self.provider_P, freed.providers), (self.category_C, freed.categories)):
            row_T = np.array(rows, np.int64)
            exposure_R[row_T[row_T < len(exposure_R)]] = 0.0

    def shares(self, belonging: Belonging) -> dict[str, Shares]:
        """What is told of providers and of categories, by kind, where items have any."""
        return {
            kind: _shares(names, grown(exposure_R, names.rows))
            for kind, names, exposure_R in (
                (PROVIDER, belonging.providers, self.provider_P),
                (CATEGORY, belonging.categories, self.category_C),
            )
            if len(names.known)
        }

    def tables(self) -> dict[str, Array]:
        """For a snapshot."""
        return {"exposed.provider": self.provider_P, "exposed.category": self.category_C, "exposed.at_ms": self._at_ms}


def _add(exposure_R: Floats, row_N: Array, weight_N: Floats) -> None:
    named_N = row_N != NONE
    exposure_R += np.bincount(row_N[named_N], weight_N[named_N], len(exposure_R))


def _shares(names: Names, exposure_R: Floats) -> Shares:
    known_N = names.known
    return shares(lambda n: names.name(int(known_N[n])), exposure_R[known_N], names.items_R[known_N])
