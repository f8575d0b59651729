"""Who is shown: how much of the lists' attention items, providers and categories get, and how unequal that is.

The entry at place k of a list gets 1 / log2(1 + k), as in DCG: a list's attention is the same whatever is on it. An item of several
categories gives each an equal part (Singh and Joachims 2018 on exposure; Gini 1912).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.evaluate.metrics import LIST
from streamer.evaluate.stream import Stream

NAMED_MAX = 10
"""Providers and categories that a report names, those that are shown most."""

Floats = NDArray[np.float64]

PLACES_K: Floats = 1.0 / np.log2(2.0 + np.arange(LIST))
"""What each place of a list gets."""


def gini(exposure_X: Floats) -> float:
    """The Gini coefficient of exposures: 0 where all get the same, near 1 where one gets all; 0 where there is nothing to share.

    >>> gini(np.array([1.0, 1.0, 1.0])), gini(np.array([0.0, 0.0, 0.0, 1.0]))
    (0.0, 0.75)
    """
    rising_X, count, total = np.sort(exposure_X), len(exposure_X), float(exposure_X.sum())
    if total <= 0.0:
        return 0.0
    return float(2.0 * np.dot(np.arange(1, count + 1), rising_X) / (count * total) - (count + 1) / count)


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
    providers, categories = _names_of(stream)
    for kind, names_by_item in (("providers", providers), ("categories", categories)):
        if names_by_item:
            found[kind] = _of_names(exposure_I, names_by_item)
    return found


def _names_of(stream: Stream) -> tuple[dict[int, Sequence[str]], dict[int, Sequence[str]]]:
    """Providers and categories by item number, as the last document of each says."""
    number = {item_id: n for n, item_id in enumerate(stream.item_ids)}
    last = {number[one.document.item_id]: one.document for one in stream.documents}
    providers: dict[int, Sequence[str]] = {item: (document.provider,) for item, document in last.items() if document.provider}
    return providers, {item: document.categories for item, document in last.items() if document.categories}


def _of_names(exposure_I: Floats, names_by_item: Mapping[int, Sequence[str]]) -> dict[str, Any]:
    shares = dict.fromkeys(_all(names_by_item.values()), 0.0)
    for item, names in names_by_item.items():
        for name in names:
            shares[name] += float(exposure_I[item]) / len(names)
    total = sum(shares.values()) or 1.0
    most = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:NAMED_MAX]
    return {
        "gini": gini(np.array(list(shares.values()))),
        "known": len(shares),
        "shown": sum(share > 0.0 for share in shares.values()),
        "most": {name: share / total for name, share in most},
    }


def _all(groups: Iterable[Sequence[str]]) -> Iterable[str]:
    return (name for names in groups for name in names)
