"""Millions of events through the fold, one after the other: does an event cost more, and does memory grow?"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

from benchmarks import traffic
from benchmarks.by_size import APPLIED_AT_ONCE
from benchmarks.measured import Curve, Measured
from benchmarks.million import PIECE, columns_now
from benchmarks.report import EVENTS_PER_S
from benchmarks.size import MIB, resident_bytes
from streamer.config.tree import Config
from streamer.engine.engine import Engine

CROWD = 5
WARM_UP = 1
"""Parts at the start that are not the base of the ratio: the first groups of a stream are all scored, and tables grow."""


class Part(NamedTuple):
    """A part of the stream."""

    events_per_s: float
    resident_bytes: int
    """Of the process after it."""
    table_bytes: int
    longest_s: float
    """That a micro-batch took."""


def long_run(found: Measured, *, events: int, part: int) -> None:
    """Folds so many events, as parts of one stream, in a process of its own, so that nothing else is in its memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        parts = pool.apply(folded, (events, part))
    for one in parts:
        found.figures.add("long_run", EVENTS_PER_S, one.events_per_s)
    found.figures.add("long_run_resident", "bytes", parts[-1].resident_bytes)
    found.figures.add("long_run_tables", "bytes", parts[-1].table_bytes)
    for one in parts[WARM_UP:] or parts:
        found.figures.add("long_run_longest", "ms", 1e3 * one.longest_s)
    base, last = parts[min(WARM_UP, len(parts) - 1)], parts[-1]
    found.ratios["cost_last_to_first_million"] = round(base.events_per_s / last.events_per_s, 4)
    found.ratios["memory_last_to_first_million"] = round(last.resident_bytes / base.resident_bytes, 4)
    at = [f"{(n + 1) * part / 1e6:g}" for n in range(len(parts))]
    series = {"fold": [one.events_per_s for one in parts]}
    found.curves["events_by_million"] = Curve("Fold without Kafka", "million events so far", EVENTS_PER_S, at, series)
    memory = {
        "process": [one.resident_bytes / MIB for one in parts],
        "live tables": [one.table_bytes / MIB for one in parts],
    }
    found.curves["memory_by_million"] = Curve("Memory of the fold's process", "million events so far", "MiB", at, memory)


def folded(events: int, part: int) -> list[Part]:
    """The parts in their order. Raises RuntimeError where not every event was applied."""
    engine, parts = Engine(Config()), []
    for first in range(0, events, part):
        wanted, took_s, longest_s = min(part, events - first), 0.0, 0.0
        for values in pieces(first, wanted, engine):
            columns = [columns_now(values[n : n + APPLIED_AT_ONCE]) for n in range(0, len(values), APPLIED_AT_ONCE)]
            for one in columns:
                started_s = perf_counter()
                engine.apply(one)
                one_s = perf_counter() - started_s
                took_s, longest_s = took_s + one_s, max(longest_s, one_s)
        tables = engine.fold_tables() | engine.publisher_tables()
        parts.append(Part(wanted / took_s, resident_bytes(), sum(table.nbytes for table in tables.values()), longest_s))
        told = f"{(first + wanted) / 1e6:g} million events: {parts[-1].events_per_s:,.0f} a second"
        print(told, file=sys.stderr, flush=True)
    applied = sum(engine.counters()["applied"].values())
    if applied != events:
        raise RuntimeError(f"the state took in {applied} of {events} events ({engine.counters()})")
    return parts


def pieces(first: int, events: int, engine: Engine) -> Iterator[list[bytes]]:
    """Events in portions, so that the memory they take is bounded; each goes on in time from where the state stands."""
    for at in range(first, first + events, PIECE):
        first_ms = max(traffic.FIRST_MS, engine.event_ms + 1)
        shape = traffic.Shape(min(PIECE, first + events - at), seed=at, first_ms=first_ms, crowd=CROWD)
        yield [value for _, value in traffic.events(shape)]
