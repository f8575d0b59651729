"""A recorded stream in memory, coded to numbers and cut into groups: what every method of a backtest runs over.

Users and items are numbers from 0, in the order of their first appearance in time; an item known only by its document comes
after all that have events. A group is a run of adjacent events of one user and one timestamp.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.engine.columns import Columns, columns_of
from streamer.events.model import DecodedEvents, EventType, ItemDocument

Ints = NDArray[np.int64]

CHUNK_EVENTS = 1_024
"""Events turned into the engine's columns at once: bounds what a run holds beside the stream."""


class Document(NamedTuple):
    """An item document with the vectors of its text and image, applied before the first event at ``time_ms`` or later."""

    time_ms: int
    document: ItemDocument
    text: bytes | None
    """float16 numbers, little endian; None where it has no text."""
    image: bytes | None = None


class Stream(NamedTuple):
    """N events in the order of their times, with M item references, in G groups.

    The items of event n are references ``item_first_N1[n]`` to ``item_first_N1[n + 1]``; the events of group g are
    ``first_G1[g]`` to ``first_G1[g + 1]``.
    """

    type_N: NDArray[np.int8]
    time_N: Ints
    line_N: Ints
    """Which record of the file, from 0."""
    user_N: NDArray[np.int32]
    item_first_N1: Ints
    item_M: NDArray[np.int32]
    first_G1: Ints
    user_ids: list[str]
    item_ids: list[str]
    items_in_events: int
    """The first so many of ``item_ids`` have events."""
    documents: list[Document]
    """In the order of their times."""

    @property
    def events(self) -> int:
        """N."""
        return len(self.type_N)

    @property
    def groups(self) -> int:
        """G."""
        return len(self.first_G1) - 1

    @property
    def event_M(self) -> Ints:
        """The event of each item reference."""
        return np.repeat(np.arange(self.events), np.diff(self.item_first_N1))

    @property
    def group_N(self) -> Ints:
        """The group of each event."""
        return np.repeat(np.arange(self.groups), np.diff(self.first_G1))

    @property
    def target_M(self) -> NDArray[np.bool_]:
        """Whether a reference is a target: what is only shown by an impression is none."""
        return np.asarray(self.type_N[self.event_M] != EventType.IMPRESSION)


class StreamBuilder:
    """Codes decoded events, in whatever order they come, and sorts them at the end by (time, line)."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._items: dict[str, int] = {}
        self._ids: set[int] = set()
        self._type, self._time, self._line = array("b"), array("q"), array("q")
        self._user, self._item, self._count = array("i"), array("i"), array("i")
        self.repeated_ids = 0
        """Events that bear the event id of one before them; they stay in the stream."""

    def add(self, decoded: DecodedEvents, line_N: Sequence[int]) -> None:
        """Adds events; ``line_N`` numbers the records of all values that were decoded."""
        users, items = self._users, self._items
        self._type.extend(decoded.types)
        self._time.extend(decoded.timestamps_ms)
        self._line.extend(line_N[place] for place in decoded.positions)
        self._user.extend(users.setdefault(user_id, len(users)) for user_id in decoded.user_ids)
        self._item.extend(items.setdefault(item_id, len(items)) for item_id in decoded.item_ids)
        self._count.extend(decoded.item_counts)
        for user_id, event_id in zip(decoded.user_ids, decoded.event_ids, strict=True):
            if event_id:
                key = hash((user_id, event_id))
                self.repeated_ids += key in self._ids
                self._ids.add(key)

    def finish(self, documents: Sequence[Document] = ()) -> Stream:
        """The stream; ``documents`` in any order."""
        time_N, line_N = np.array(self._time, np.int64), np.array(self._line, np.int64)
        order_N = np.lexsort((line_N, time_N))
        count_N = np.array(self._count, np.int64)
        user_N, user_ids = _renumbered(np.array(self._user, np.int32)[order_N], list(self._users))
        item_M = np.array(self._item, np.int32)[_references(count_N, order_N)]
        item_M, item_ids = _renumbered(item_M, list(self._items))
        known = set(item_ids)
        more = dict.fromkeys(one.document.item_id for one in documents if one.document.item_id not in known)
        time_N = time_N[order_N]
        return Stream(
            type_N=np.array(self._type, np.int8)[order_N],
            time_N=time_N,
            line_N=line_N[order_N],
            user_N=user_N,
            item_first_N1=np.concatenate(([0], np.cumsum(count_N[order_N]))),
            item_M=item_M,
            first_G1=group_edges(user_N, time_N),
            user_ids=user_ids,
            item_ids=item_ids + list(more),
            items_in_events=len(item_ids),
            documents=sorted(documents, key=lambda one: one.time_ms),
        )


def group_edges(user_N: NDArray[np.int32], time_N: Ints) -> Ints:
    """Where each group begins, and N.

    >>> group_edges(np.array([0, 0, 1, 0], np.int32), np.array([5, 5, 5, 5])).tolist()
    [0, 2, 3, 4]
    """
    if not len(user_N):
        return np.zeros(1, np.int64)
    changes = (user_N[1:] != user_N[:-1]) | (time_N[1:] != time_N[:-1])
    return np.concatenate(([0], np.flatnonzero(changes) + 1, [len(user_N)]))


def _references(count_N: Ints, order_N: Ints) -> Ints:
    """The item references of the events in another order."""
    start_N = np.cumsum(count_N) - count_N
    moved_N = count_N[order_N]
    within_M = np.arange(int(moved_N.sum())) - np.repeat(np.cumsum(moved_N) - moved_N, moved_N)
    return np.repeat(start_N[order_N], moved_N) + within_M


def _renumbered(code_N: NDArray[np.int32], ids: list[str]) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers in the order of first appearance, and the ids in that order."""
    code_C, first_C = np.unique(code_N, return_index=True)
    code_C = code_C[np.argsort(first_C)]
    new = np.zeros(len(ids), np.int32)
    new[code_C] = np.arange(len(code_C))
    return new[code_N], [ids[code] for code in code_C.tolist()]


class Batch(NamedTuple):
    """One group as the engine takes it."""

    group: int
    columns: Columns


def engine_batches(stream: Stream) -> Iterator[Batch]:
    """The groups one by one as micro-batches, in order. Events bear no id here: a backtest drops nothing."""
    group = 0
    while group < stream.groups:
        wanted = stream.first_G1[group] + CHUNK_EVENTS
        stop = max(group + 1, int(np.searchsorted(stream.first_G1, wanted, "right")) - 1)
        first = int(stream.first_G1[group])
        columns = _columns(stream, first, int(stream.first_G1[stop]))
        for one in range(group, stop):
            yield Batch(one, _part(columns, int(stream.first_G1[one]) - first, int(stream.first_G1[one + 1]) - first))
        group = stop


def _columns(stream: Stream, first: int, stop: int) -> Columns:
    item_first, item_stop = int(stream.item_first_N1[first]), int(stream.item_first_N1[stop])
    times = stream.time_N[first:stop].tolist()
    decoded = DecodedEvents(
        positions=list(range(stop - first)),
        types=stream.type_N[first:stop].tolist(),
        timestamps_ms=times,
        event_ids=[""] * (stop - first),
        user_ids=[stream.user_ids[user] for user in stream.user_N[first:stop].tolist()],
        item_ids=[stream.item_ids[item] for item in stream.item_M[item_first:item_stop].tolist()],
        item_counts=np.diff(stream.item_first_N1[first : stop + 1]).tolist(),
        rejects=[],
    )
    return columns_of(decoded, times, 0)


def _part(columns: Columns, first: int, stop: int) -> Columns:
    """Events ``first`` to ``stop`` of the columns: views; item references keep their numbers."""
    return columns._replace(
        type_N=columns.type_N[first:stop],
        time_N=columns.time_N[first:stop],
        append_N=columns.append_N[first:stop],
        partition_N=columns.partition_N[first:stop],
        event_N=columns.event_N[first:stop],
        user_N=columns.user_N[first:stop],
        user_start_N1=columns.user_start_N1[first : stop + 1],
        item_first_N1=columns.item_first_N1[first : stop + 1],
    )
