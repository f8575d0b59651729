"""What is asked of sizes and times, in one place for the benchmark at size and for the tests."""

from __future__ import annotations

from typing import NamedTuple

MILLION = 1_000_000
COST_RATIO_MAX = 2.0
"""Of the cost of an event with a million users or items to that with a thousand."""
RESTORE_S_MAX = 30.0
"""Until the state of a million users and a million items is an engine again."""
START_S_MAX = 5.0
"""From the start of a process, kernels compiled before and no state to restore, until it owns the log."""
TABLES_BYTES_MAX = 2**30
"""Of all live tables with a million users and a million items, without content."""
USER_BYTES_MAX, ITEM_BYTES_MAX = 518, 497
"""Of a user's and an item's share of them: items without categories, ids of 13 and 11 bytes, two events each."""
LISTS_BYTES_MAX = 1.4 * 2**30
"""Of the store's memory for lists of 20 for a million users."""


class Bound(NamedTuple):
    """A figure beside the most that it may be."""

    measured: float
    bound: float

    @property
    def ok(self) -> bool:
        return self.measured <= self.bound
