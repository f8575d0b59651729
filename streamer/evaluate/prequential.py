"""Test, then learn: every group of a stream is ranked for its user before any of it is learned.

What a method may know when it ranks: the user, the time, and all groups before this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.evaluate.exposure import Exposure
from streamer.evaluate.method import Method
from streamer.evaluate.metrics import mid_rank
from streamer.evaluate.stream import Stream
from streamer.events.model import EventType

Floats = NDArray[np.float64]
Progress = Callable[[int], None]
"""Told how many events are done."""

BINS = 50
"""Equal parts of the stream in which quality and gates are shown over time."""


@dataclass
class Run:
    """What one method did over a stream of G groups and M item references."""

    name: str
    rank_M: Floats
    """Of each target; infinite where it was not listed, NaN for what is no target."""
    answered_G: NDArray[np.bool_]
    """Whether the list had any entry."""
    leaves_out_G: NDArray[np.bool_]
    """Whether items that the user has had were left out."""
    item_GK: NDArray[np.int32] | None = None
    """Item numbers of the lists, best first, -1 after their ends; where they were asked for."""
    exposure_I: Floats | None = None
    """What each item got of the lists' attention, behind the part of the stream that only teaches."""
    likeness: dict[str, float] = field(default_factory=dict)
    """How alike the entries of a list are, by what they are compared by; of the same part of the stream."""
    served: dict[str, Floats] = field(default_factory=dict)
    """Ranks in the lists as served, by period of the sweep; shaped as ``rank_M``."""
    gate_BF: Floats | None = None
    """Mean weights of the signals in each part of the stream, NaN where nothing was ranked."""
    signals: tuple[str, ...] = ()
    candidates: tuple[float, float] | None = None
    """Targets that the method judged itself, and those of them that were among its candidates."""
    tables: dict[str, str] = field(default_factory=dict)
    """The hash of each table of the engine's state at the end of the stream."""
    seconds: float = 0.0


def new_run(name: str, stream: Stream) -> Run:
    """Nothing ranked yet."""
    rank_M = np.full(len(stream.item_M), np.nan)
    return Run(name, rank_M, np.zeros(stream.groups, np.bool_), np.zeros(stream.groups, np.bool_))


class Visit(NamedTuple):
    """One group in plain values, with its targets: the references that no impression only showed."""

    group: int
    events: int
    """Of the stream before this group."""
    user: int
    time_ms: int
    places: list[int]
    """Which item references the targets are."""
    items: list[int]


def visits(stream: Stream) -> Iterator[Visit]:
    """The groups in order."""
    first_G1, item_first_N1 = stream.first_G1.tolist(), stream.item_first_N1
    for group in range(stream.groups):
        first, stop = first_G1[group], first_G1[group + 1]
        places: list[int] = []
        for event in range(first, stop):
            if stream.type_N[event] != EventType.IMPRESSION:
                places += range(int(item_first_N1[event]), int(item_first_N1[event + 1]))
        items = [int(stream.item_M[place]) for place in places]
        yield Visit(group, first, int(stream.user_N[first]), int(stream.time_N[first]), places, items)


TEACHES = 0.1
"""Part of the stream that only teaches: lists of then are not judged."""


def run_method(name: str, method: Method, stream: Stream, leaves_out_G: NDArray[np.bool_], progress: Progress) -> Run:
    """Runs a baseline; ``leaves_out_G`` says at which groups the user must not get what he has had."""
    run = new_run(name, stream)
    run.leaves_out_G = leaves_out_G
    seen: list[set[int]] = [set() for _ in stream.user_ids]
    withdrawn, exposure = Withdrawn(stream), Exposure(len(stream.item_ids))
    run.exposure_I = exposure.exposure_I
    for visit in visits(stream):
        gone = withdrawn.at(visit.time_ms)
        had = seen[visit.user]
        excluded: AbstractSet[int] = (had | gone if gone else had) if leaves_out_G[visit.group] else gone
        ranked = method.rank(visit.user, visit.time_ms, excluded)
        run.answered_G[visit.group] = len(ranked.item_K) > 0
        if visit.events >= TEACHES * stream.events:
            exposure.note(ranked.item_K.tolist())
        if visit.items:
            _note_ranks(run.rank_M, visit, ranked.item_K.tolist(), ranked.score_K)
            method.learn(visit.user, visit.items, visit.time_ms)
            had.update(visit.items)
        progress(visit.events)
    progress(stream.events)
    return run


def _note_ranks(rank_M: Floats, visit: Visit, listed: list[int], score_K: Floats) -> None:
    for place, item in zip(visit.places, visit.items, strict=True):
        rank_M[place] = mid_rank(score_K, listed.index(item)) if item in listed else np.inf


def note_listed(rank_M: Floats, visit: Visit, listed: Sequence[int]) -> None:
    """Notes where the targets of a group stand in a list whose order is strict."""
    for place, item in zip(visit.places, visit.items, strict=True):
        rank_M[place] = listed.index(item) + 1.0 if item in listed else np.inf


class Withdrawn:
    """Items that must not be listed at a time, as the documents say; asked in the order of time."""

    def __init__(self, stream: Stream) -> None:
        number = {item_id: n for n, item_id in enumerate(stream.item_ids)}
        self._changes = [(one.time_ms, number[one.document.item_id], one.document.available) for one in stream.documents]
        self._next = 0
        self._gone: set[int] = set()

    def at(self, time_ms: int) -> AbstractSet[int]:
        """The items withdrawn up to that time."""
        while self._next < len(self._changes) and self._changes[self._next][0] <= time_ms:
            _, item, available = self._changes[self._next]
            (self._gone.discard if available else self._gone.add)(item)
            self._next += 1
        return self._gone
