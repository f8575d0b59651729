"""Lists as served in event time, for a slice of a stream behind a line that takes a while to bring an event into a list.

The model of ``streamer backtest --served``, with one thing more: whoever reads at t finds the list that was the newest at
t - delay. For lists that are made at once (delay 0) and a slice that begins with the stream both say the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.evaluate.metrics import LIST
from streamer.evaluate.stream import Ints, Stream, engine_batches
from streamer.ranking.lists import NOBODY
from streamer.tables.ids import row_of_text, text_of_row


class Slice(NamedTuple):
    """What is judged: the groups from ``start`` to ``stop``, by a reader whose store was filled at ``start_ms``."""

    start: int
    stop: int
    start_ms: int


class Model(NamedTuple):
    """A sweep every ``period_ms`` (None: no sweep), and how old the world is that a reader finds; event time, in ms."""

    period_ms: int | None
    delay_ms: int = 0
    popular_delay_ms: int = 0
    """The same of the popular list, which a line writes less often."""


def slice_of(stream: Stream, first_day: float, days: float) -> Slice:
    """The groups of so many days; days count from the first event."""
    time_G = times_of(stream)
    edges_ms = time_G[0] + (np.array([first_day, first_day + days]) * 86_400_000).astype(np.int64)
    start, stop = np.searchsorted(time_G, edges_ms, "left").tolist()
    if start == stop:
        raise ValueError(
            f"no event lies in the {days} days from day {first_day}: the recording has {np.ptp(time_G) / 86_400_000:.0f}"
        )
    return Slice(start, stop, int(edges_ms[0]))


def times_of(stream: Stream) -> Ints:
    """When each group happened, epoch ms."""
    return stream.time_N[stream.first_G1[:-1]]


def as_served(stream: Stream, config: Config, judged: Slice, models: list[Model]) -> list[NDArray[np.float64]]:
    """The rank of every event's item in the list that its user found, by model; infinite where it was not in it. [events of the slice]"""
    jobs = [_renderings(stream, judged, model) for model in models]
    lists: list[dict[int, list[str]]] = [{} for _ in models]
    engine = Engine(config)
    for group, columns in engine_batches(stream):
        if group >= judged.stop:
            break
        _render_due(engine, stream, jobs, group, lists)
        engine.apply(columns)
    _render_due(engine, stream, jobs, judged.stop, lists)
    return [_ranks(stream, judged, found) for found in lists]


class _Rendering(NamedTuple):
    """The list that the user of ``group`` finds: of whom (NOBODY: the popular one), from the state after so many groups."""

    user: int
    group: int


def _renderings(stream: Stream, judged: Slice, model: Model) -> dict[int, list[_Rendering]]:
    """What is to be rendered, by the number of groups that the state has seen."""
    time_G, user_G = times_of(stream), stream.user_N[stream.first_G1[:-1]]
    visits: dict[int, list[int]] = {}
    due: dict[int, list[_Rendering]] = {}
    for group in range(judged.stop):
        user, seen_at_ms = int(user_G[group]), int(time_G[group]) - model.delay_ms
        if group >= judged.start:
            known = [visit for visit in visits.get(user, ()) if visit < judged.start or time_G[visit] <= seen_at_ms]
            groups = int(np.searchsorted(time_G, time_G[group] - model.popular_delay_ms, "right"))
            if known:
                groups = known[-1] + 1
                since_ms = max(int(time_G[known[-1]]), judged.start_ms)
                if model.period_ms and seen_at_ms - since_ms >= model.period_ms:
                    swept_ms = since_ms + (seen_at_ms - since_ms) // model.period_ms * model.period_ms
                    groups = max(groups, int(np.searchsorted(time_G, swept_ms, "left")))
            due.setdefault(min(groups, group), []).append(_Rendering(user if known else NOBODY, group))
        visits.setdefault(user, []).append(group)
    return due


def _render_due(
    engine: Engine, stream: Stream, jobs: list[dict[int, list[_Rendering]]], groups: int, lists: list[dict[int, list[str]]]
) -> None:
    for due, found in zip(jobs, lists, strict=True):
        wanted = due.get(groups, [])
        if wanted:
            users = [
                NOBODY if one.user == NOBODY else row_of_text(engine.state.users.ids, stream.user_ids[one.user])
                for one in wanted
            ]
            for one, items in zip(wanted, _ranked(engine, users), strict=True):
                found[one.group] = items


def _ranked(engine: Engine, users: list[int]) -> list[list[str]]:
    ranked = engine.rank(np.array(users), entries=LIST)
    ids = engine.state.items.ids
    return [
        [text_of_row(ids, int(row)) for row in item_K[:count]]
        for item_K, count in zip(ranked.item_UK, ranked.count_U, strict=True)
    ]


def _ranks(stream: Stream, judged: Slice, found: dict[int, list[str]]) -> NDArray[np.float64]:
    first_N1 = stream.item_first_N1
    ranks: list[float] = []
    for group in range(judged.start, judged.stop):
        events = slice(int(first_N1[stream.first_G1[group]]), int(first_N1[stream.first_G1[group + 1]]))
        ranks += [rank_in(found[group], stream.item_ids[item]) for item in stream.item_M[events]]
    return np.array(ranks)


def rank_in(listed: list[str], item: str) -> float:
    """From 1; infinite where it is not listed."""
    return listed.index(item) + 1.0 if item in listed else np.inf
