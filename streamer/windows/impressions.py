"""Impressions that wait for a click: a ring of what was shown to whom and when, oldest first.

What is not chosen within ``windows.click_wait_ms`` of event time becomes a negative example of the head (Google's and Facebook's click
models wait in the same way: He et al. 2014). Whether it was chosen is read from the user's window when the wait is over.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, resized
from streamer.tables.compile import kernel
from streamer.windows.users import WINDOW, Users

IMPRESSIONS_MAX = 65_536
"""Impressions that wait at once; the oldest gives way."""
SHOWN_MAX = 20
"""Items of one impression event that are noted, the first ones: more than a screen shows is seldom seen."""
FREED = -1
FIRST, NEXT = 0, 1


class Impressions(NamedTuple):
    """By place (number modulo IMPRESSIONS_MAX): rows of user and item (FREED where one is gone), event time; ``ends`` = [first, next]."""

    user_M: Array
    item_M: Array
    time_M: Array
    ends: Array


def new_impressions() -> Impressions:
    """None waits."""
    size = IMPRESSIONS_MAX
    return Impressions(np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int64), np.zeros(2, np.int64))


def impressions_out(impressions: Impressions) -> dict[str, Array]:
    """For a snapshot: those that wait, oldest first."""
    place_M = np.arange(int(impressions.ends[FIRST]), int(impressions.ends[NEXT])) % IMPRESSIONS_MAX
    return {f"impressions.{name}": getattr(impressions, name)[place_M] for name in ("user_M", "item_M", "time_M")}


def impressions_in(tables: dict[str, Array]) -> Impressions:
    """From a snapshot."""
    return Impressions(
        user_M=resized(tables["impressions.user_M"], IMPRESSIONS_MAX),
        item_M=resized(tables["impressions.item_M"], IMPRESSIONS_MAX),
        time_M=resized(tables["impressions.time_M"], IMPRESSIONS_MAX),
        ends=np.array([0, len(tables["impressions.user_M"])], np.int64),
    )


@kernel
def note_impression(impressions: Impressions, user: int, item: int, time_ms: int) -> None:
    """Adds one; where too many wait, the oldest is forgotten."""
    ends = impressions.ends
    if ends[NEXT] - ends[FIRST] == IMPRESSIONS_MAX:
        ends[FIRST] += 1
    at = ends[NEXT] % IMPRESSIONS_MAX
    impressions.user_M[at] = user
    impressions.item_M[at] = item
    impressions.time_M[at] = time_ms
    ends[NEXT] += 1


@kernel
def take_ignored(impressions: Impressions, users: Users, time_ms: int, wait_ms: int) -> int:
    """Takes out the oldest one whose wait is over; returns its place if it was ignored, -1 if not, -2 where none's wait is over."""
    ends = impressions.ends
    if ends[FIRST] == ends[NEXT]:
        return -2
    at = ends[FIRST] % IMPRESSIONS_MAX
    if impressions.time_M[at] + wait_ms > time_ms:
        return -2
    ends[FIRST] += 1
    user, item = impressions.user_M[at], impressions.item_M[at]
    if FREED in (user, item):
        return -1
    for n in range(min(users.pushed_U[user], WINDOW)):
        place = (users.pushed_U[user] - 1 - n) % WINDOW
        if users.item_UW[user, place] == item and users.time_UW[user, place] >= impressions.time_M[at]:
            return -1
    return at


def drop_from_impressions(impressions: Impressions, *, users: Array | None = None, items: Array | None = None) -> None:
    """Those of freed or forgotten rows teach nothing."""
    for gone_T, column in ((users, impressions.user_M), (items, impressions.item_M)):
        if gone_T is not None:
            gone_M = np.isin(column, gone_T)
            impressions.user_M[gone_M] = FREED
            impressions.item_M[gone_M] = FREED
