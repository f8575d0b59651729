"""Serving in event time: what a reader would have got from the store, whose lists are as old as their last rendering.

A user's list is rendered right after each of his visits (a group of events in which he chose something: an impression touches no
list), and expires a time to live after the last of them. A
sweep with the period T renders it again T, 2 T, ... after the visit, from the state of that moment, as long as it has not expired. Where more users live than
the sweep may render within T, the period is as long as it takes to render them all. Who has no list gets the popular one.

The recording tells when each user comes again, so only renderings that will be read are made: the last one before each visit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.config.tree import Config
from streamer.evaluate.stream import Ints, Stream

NOBODY = -1
Render = Callable[[list[int]], list[list[int]]]
"""The lists of these users (NOBODY: someone unknown) from the state as it is, item numbers best first."""


class Shelf(NamedTuple):
    """When the list was rendered that each group's user reads at his next visit, for one period of the sweep."""

    name: str
    at_G: Ints
    """Epoch ms of the rendering: the visit itself, or a sweep after it."""
    swept_G: NDArray[np.bool_]
    """Whether it is a sweep's."""
    read_G: NDArray[np.bool_]
    """Whether the list is read at all: the user comes again, and before the list expires."""


def is_visit(stream: Stream) -> NDArray[np.bool_]:
    """Whether each group has a target."""
    visit_G = np.zeros(stream.groups, np.bool_)
    visit_G[stream.group_N[stream.event_M[stream.target_M]]] = True
    return visit_G


def next_visits(stream: Stream) -> Ints:
    """The next visit of each visit's user, -1 where there is none, and for groups that are no visits."""
    visit_V = np.flatnonzero(is_visit(stream))
    user_V = stream.user_N[stream.first_G1[visit_V]]
    order_V = np.argsort(user_V, kind="stable")
    same = user_V[order_V[1:]] == user_V[order_V[:-1]]
    next_G = np.full(stream.groups, -1, np.int64)
    next_G[visit_V[order_V[:-1][same]]] = visit_V[order_V[1:][same]]
    return next_G


def shelf(stream: Stream, config: Config, period_ms: int | None) -> Shelf:
    """The renderings that are read, with a sweep every ``period_ms`` of event time; None: without a sweep."""
    time_G = stream.time_N[stream.first_G1[:-1]]
    next_G = next_visits(stream)
    again_G = next_G >= 0
    gap_G = np.where(again_G, time_G[next_G] - time_G, 0)
    ttl_ms = config.redis.ttl_s * 1_000
    sweeps_G = np.zeros(stream.groups, np.int64)
    period_G = np.ones(stream.groups, np.int64)
    if period_ms is not None:
        visit_G = is_visit(stream)
        end_G = np.where(again_G, np.minimum(gap_G, ttl_ms), ttl_ms) + time_G
        living_G = np.cumsum(visit_G) - np.searchsorted(np.sort(end_G[visit_G]), time_G, "right")
        period_G = np.maximum(period_ms, living_G * 1_000 // config.ranking.sweep_users_per_s)
        sweeps_G = np.minimum(gap_G, ttl_ms) // period_G
    at_G = time_G + sweeps_G * period_G
    return Shelf(
        name="off" if period_ms is None else f"{period_ms / 1_000:g}",
        at_G=at_G,
        swept_G=sweeps_G > 0,
        read_G=again_G & (gap_G <= ttl_ms),
    )


class Serving:
    """The store in event time, one shelf a period: told of every visit in order, it says what each reader gets."""

    def __init__(self, stream: Stream, config: Config, periods_ms: tuple[int | None, ...]) -> None:
        self.shelves = [shelf(stream, config, period_ms) for period_ms in periods_ms]
        self._time_G = stream.time_N[stream.first_G1[:-1]]
        self._user_G = stream.user_N[stream.first_G1[:-1]]
        self._previous_G = np.full(stream.groups, -1, np.int64)
        next_G = next_visits(stream)
        self._previous_G[next_G[next_G >= 0]] = np.flatnonzero(next_G >= 0)
        self._lists: list[dict[int, list[int]]] = [{} for _ in self.shelves]
        self._due = [_due(one) for one in self.shelves]
        self._next = [0] * len(self.shelves)

    def come_to(self, group: int, render: Render) -> None:
        """Renders what the sweeps did since the group before, all from the state that stood in between."""
        for n in range(len(self.shelves)):
            self._sweep(n, int(self._time_G[group]), render)

    def read(self, group: int, render: Render) -> list[list[int]]:
        """What the user gets from each shelf whose visit this group is; call after ``come_to``, before anything of the group is known to the state."""
        user, previous = int(self._user_G[group]), int(self._previous_G[group])
        found = [lists.pop(user, None) for lists in self._lists]
        if previous < 0 or any(not one.read_G[previous] for one in self.shelves):
            popular = render([NOBODY])[0]
            return [popular if items is None else items for items in found]
        return [items or [] for items in found]

    def visited(self, group: int, render: Render) -> None:
        """Renders the user's list after his visit, where no sweep will before it is read; call once the group is applied."""
        kept = [n for n, one in enumerate(self.shelves) if one.read_G[group] and not one.swept_G[group]]
        if kept:
            user = int(self._user_G[group])
            items = render([user])[0]
            for n in kept:
                self._lists[n][user] = items

    def _sweep(self, n: int, until_ms: int, render: Render) -> None:
        due_S, at_G = self._due[n], self.shelves[n].at_G
        first = stop = self._next[n]
        while stop < len(due_S) and at_G[due_S[stop]] <= until_ms:
            stop += 1
        if stop > first:
            users = self._user_G[due_S[first:stop]].tolist()
            self._lists[n].update(zip(users, render(users), strict=True))
            self._next[n] = stop


def _due(one: Shelf) -> Ints:
    """The groups after which a sweep's rendering is read, in the order of those renderings."""
    group_S = np.flatnonzero(one.read_G & one.swept_G)
    return group_S[np.argsort(one.at_G[group_S], kind="stable")]
