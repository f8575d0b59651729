"""What an event and a list cost by the number of items and of users."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from benchmarks import traffic
from benchmarks.bounds import COST_RATIO_MAX
from benchmarks.measured import Curve, Measured, label, word
from benchmarks.million import columns_now, engine_of
from benchmarks.parts import AT_ONCE
from streamer.config.tree import Config
from streamer.engine.engine import Engine

FOLD, RANK = "fold: state and learning", "a list ranked"
APPLIED_AT_ONCE = 2_000
CROWD = 5
"""Seed of who is active in the traffic that is timed."""

Size = tuple[int, int]
"""Users and items."""


def by_size(found: Measured, sizes: list[int], beside: int, *, events: int, lists: int, rounds: int) -> None:
    """Measures each size in turns.

    Args:
        found: Takes in the figures.
        sizes: Numbers of items beside a fixed number of users, and of users beside a fixed number of items, ascending.
        beside: The fixed number.
        events: Folded of each state and round, after one round that is not counted. Before, beside every user and every item once, all states
            have seen equally many, ten times as many and no fewer than the largest size: they differ in size, not in age.
        lists: Ranked of each state and round.
        rounds: How often.
    """
    axes: dict[str, dict[int, Size]] = {
        "items": {size: (beside, size) for size in sizes},
        "users": {size: (size, beside) for size in sizes},
    }
    wanted = dict.fromkeys(size for axis in axes.values() for size in axis.values())
    before = max(10 * events, *sizes)
    states = {size: engine_of(Config(), *size, events=before) for size in wanted}
    for n in range(rounds + 1):
        for size, engine in states.items():
            fold_us, rank_us = _fold(engine, size, events, seed=n), _rank(engine, lists, seed=n)
            names = [f"{word(number)}_{axis}" for axis, by in axes.items() for number, one in by.items() if one == size]
            for name in names if n else []:
                found.figures.add(f"fold_{name}", "us/event", fold_us)
                found.figures.add(f"rank_{name}", "us/list", rank_us)
    for axis in axes:
        _tell(found, axis, sizes, beside)


def _fold(engine: Engine, size: Size, events: int, seed: int) -> float:
    """Microseconds an event of traffic that goes on from where the state stands."""
    shape = traffic.Shape(events, *size, seed=1_000 + seed, first_ms=engine.event_ms + 1, crowd=CROWD)
    values = [value for _, value in traffic.events(shape)]
    pieces = [columns_now(values[first : first + APPLIED_AT_ONCE]) for first in range(0, events, APPLIED_AT_ONCE)]
    started_s = perf_counter()
    for columns in pieces:
        engine.apply(columns)
    return (perf_counter() - started_s) / events * 1e6


def _rank(engine: Engine, lists: int, seed: int) -> float:
    """Microseconds a list of users drawn at random."""
    user_T = np.random.default_rng(seed).integers(engine.user_rows, size=lists).astype(np.int32)
    entries = Config().ranking.list_items
    started_s = perf_counter()
    for first in range(0, lists, AT_ONCE):
        engine.rank(user_T[first : first + AT_ONCE], entries=entries)
    return (perf_counter() - started_s) / lists * 1e6


def _tell(found: Measured, axis: str, sizes: list[int], beside: int) -> None:
    names = [f"{word(size)}_{axis}" for size in sizes]
    found.ratio(
        f"cost_{word(sizes[-1])}_to_{word(sizes[0])}_{axis}", f"fold_{names[-1]}", f"fold_{names[0]}", most=COST_RATIO_MAX
    )
    other = "users" if axis == "items" else "items"
    series = {
        FOLD: found.medians([f"fold_{name}" for name in names]),
        RANK: found.medians([f"rank_{name}" for name in names]),
    }
    found.curves[f"cost_by_{axis}"] = Curve(
        f"Cost of an event and a list, {label(beside)} {other}",
        f"{axis} (log)",
        "microseconds",
        [label(size) for size in sizes],
        series,
    )
