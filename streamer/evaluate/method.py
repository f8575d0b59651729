"""What the backtest asks of every method that it compares: rank, then learn."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

DEPTH = 50
"""Entries of a ranking at most."""


class Ranked(NamedTuple):
    """A ranking, best first. Shapes: K entries, at most ``DEPTH``."""

    item_K: NDArray[np.int64]
    """Item numbers, no duplicates."""
    score_K: NDArray[np.float64]
    """Never rising; equal scores are ties, whose order means nothing."""


class Method(Protocol):
    """A recommender that is judged event group by event group, each ranked before it is learned.

    Users and items are consecutive integers from 0, in the order of their first appearance in the stream.
    """

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """Ranks the catalogue seen so far for one user, without any effect on what this method answers later.

        Args:
            user: User number; one never seen is answered too.
            time_ms: The moment asked for, event time in epoch milliseconds.
            excluded: Items that the user must not get.
        """
        ...

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """Learns one group: all events of one user at one time, in their order.

        Args:
            user: User number.
            item_G: The items of the group's G events.
            time_ms: When they happened, epoch milliseconds; never falls from group to group.
        """
        ...
