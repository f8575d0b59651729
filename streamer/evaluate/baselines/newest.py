"""Leaving out the item that the user has just had, on streams where nobody has the same item twice in a row."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from streamer.evaluate.method import Method, Ranked

REPEATS_MIN = 0.02
"""Share of events that repeat the item before them, below which that item is left out: about what a place in a list is worth."""
_EVENTS_MIN = 100
"""Nothing is left out before so many events that could have been such a repeat."""


class NewestOut:
    """Ranks as the method within does, without the user's newest item while immediate repeats are rare in the stream so far.

    Recordings often drop reloads of the same page. Methods that score what a user has near, or has had, then put the one item
    first that cannot come: session neighbours lose a quarter by it. Whoever runs them leaves that item out; so does this, where
    the stream itself says so.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._newest: dict[int, int] = {}
        self._repeats = 0
        self._events = 0

    def rank(self, user: int, time_ms: int, excluded: AbstractSet[int]) -> Ranked:
        """As Method."""
        newest = self._newest.get(user)
        if newest is not None and newest not in excluded and self._repeats_are_rare():
            excluded = excluded | {newest}
        return self._method.rank(user, time_ms, excluded)

    def learn(self, user: int, item_G: Sequence[int], time_ms: int) -> None:
        """As Method."""
        for item in item_G:
            newest = self._newest.get(user)
            if newest is not None:
                self._events += 1
                self._repeats += newest == item
            self._newest[user] = item
        self._method.learn(user, item_G, time_ms)

    def _repeats_are_rare(self) -> bool:
        return self._events >= _EVENTS_MIN and self._repeats < REPEATS_MIN * self._events
