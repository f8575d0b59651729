"""Who is shown in a backtest: how much of the lists' attention items, providers and categories get, and how unequal that is.

Counted as a worker counts it (``streamer/ranking/exposure.py``), without fading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from streamer.catalog.belonging import CATEGORIES_COUNTED, counted_names
from streamer.evaluate.metrics import LIST
from streamer.evaluate.stream import Stream
from streamer.events.model import ItemDocument
from streamer.ranking.exposure import Floats, gini, places, shares

PLACES_K: Floats = places(LIST)
"""What each place of a list gets."""


class Exposure:
    """Counts over lists, by item number."""

    def __init__(self, items: int) -> None:
        self.exposure_I: Floats = np.zeros(items)

    def note(self, listed: Sequence[int]) -> None:
        """One list, best first; what stands beyond ``LIST`` entries is not shown."""
        shown = listed[:LIST]
        self.exposure_I[shown] += PLACES_K[: len(shown)]  # no item stands twice on a list


def exposure_figures(exposure_I: Floats, stream: Stream) -> dict[str, Any]:
    """What a report says of a method: of items, and of providers and categories where documents name any."""
    found: dict[str, Any] = {
        "items": {
            "gini": gini(exposure_I),
            "known": len(exposure_I),
            "shown": int(np.count_nonzero(exposure_I)),
        }
    }
    for kind, names_by_item in (("providers", providers_of(stream)), ("categories", categories_of(stream))):
        if names_by_item:
            found[kind] = _of_names(exposure_I, names_by_item)
    return found


def providers_of(stream: Stream) -> dict[int, Sequence[str]]:
    """By item number, as the last document of each says; absent where it names none."""
    named = ((item, counted_names([document.provider])) for item, document in _last_documents(stream))
    return {item: names for item, names in named if names}


def categories_of(stream: Stream) -> dict[int, Sequence[str]]:
    """The same of its first categories."""
    named = ((item, counted_names(document.categories)[:CATEGORIES_COUNTED]) for item, document in _last_documents(stream))
    return {item: names for item, names in named if names}


def _last_documents(stream: Stream) -> Iterable[tuple[int, ItemDocument]]:
    number = {item_id: n for n, item_id in enumerate(stream.item_ids)}
    return {number[one.document.item_id]: one.document for one in stream.documents}.items()


def _of_names(exposure_I: Floats, names_by_item: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    """``parity``: of the names' shares of attention over their shares of the catalogue the least, the lowest tenth's, the median."""
    number = {name: n for n, name in enumerate(dict.fromkeys(name for names in names_by_item.values() for name in names))}
    exposure_N, items_N = np.zeros(len(number)), np.zeros(len(number))
    for item, names in names_by_item.items():
        row_T = [number[name] for name in names]
        exposure_N[row_T] += exposure_I[item] / len(names)
        items_N[row_T] += 1.0 / len(names)
    told = shares(list(number).__getitem__, exposure_N, items_N)
    parity_N = exposure_N / (exposure_N.sum() or 1.0) / (items_N / items_N.sum())
    least, tenth, half = np.quantile(parity_N, (0.0, 0.1, 0.5)).tolist()
    return {
        "gini": told.gini,
        "catalogue_gini": told.catalogue_gini,
        "known": told.known,
        "shown": told.shown,
        "most": told.most,
        "parity": {"least": least, "tenth": tenth, "median": half},
    }
