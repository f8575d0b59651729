"""Exploration: the last place of a list goes to an item that is new or rarely chosen, so that it can be learned about at all.

Of several that are drawn it is the one whose content fits the user best, where there is content; else the first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.catalog.items import NEWEST, WITHDRAWN, Items
from streamer.catalog.likeness import Likeness
from streamer.ranking.liking import fit_of
from streamer.ranking.scratch import EXCLUDED, Scratch, find_candidate
from streamer.signals.trends import FOR_EVER, Trends
from streamer.tables.arrays import Array
from streamer.tables.compile import kernel
from streamer.tables.random import EXPLORE, random_below, random_u64
from streamer.tables.search import place_of

DRAWS = 8
RARE = 5.0
"""An item with more (weighted) interactions than this needs no exploring."""
NONE = -1


class Explore(NamedTuple):
    """Where draws come from: the catalog, the seed, and whether there are any."""

    items: Items
    seed: int
    on: bool


@kernel
def drawn_item(
    explore: Explore,
    trends: Trends,
    likeness: Likeness,
    block: int,
    user: int,
    listed_K: Array,
    listed: int,
    scratch: Scratch,
) -> int:
    """An item for ``user`` drawn from the newest ones, NONE where no draw finds one that may be listed; a function of (seed, block, user)."""
    items = explore.items
    newest = min(items.admitted[0], NEWEST)
    if not explore.on or newest == 0:
        return NONE
    best, most = NONE, np.float32(0.0)
    for n in range(DRAWS):
        item = items.newest_N[random_below(random_u64(explore.seed, EXPLORE, block, (user + 1) * DRAWS + n), newest)]
        if items.ids.size_R[item] == 0 or items.flags_I[item] & WITHDRAWN or trends.value_IH[item, FOR_EVER] > RARE:
            continue
        if find_candidate(scratch, item) != EXCLUDED and place_of(listed_K, 0, listed, item) == listed:
            if user < 0 or len(likeness.axis_EL) == 0:
                return item
            fits = fit_of(likeness, scratch.liked_L, item)
            if best == NONE or fits > most:
                best, most = item, fits
    return best
