"""Measures this machine and keeps what it found: ``python -m benchmarks``, or with ``--quick`` only whether all of it still runs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks import parts, stages, traffic
from benchmarks.bounds import MILLION
from benchmarks.figures import Figures
from benchmarks.kept import RESULTS
from benchmarks.latency import Phase, live
from benchmarks.machine import machine, versions
from benchmarks.million import large
from benchmarks.quality import quality
from benchmarks.report import BASE, EVENTS_PER_S, Found, of_traffic, of_whole_line
from benchmarks.whole_line import Run, whole_line
from benchmarks.world import World, world
from consumers.kafka_log import FETCH_MAX_WAIT_MS
from streamer.engine.warm import warm


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    events: int = 200_000
    rounds: int = 5
    quality_events: int | None = None
    """None: the whole recording."""
    large_events: int = 200_000
    large_entities: int = MILLION
    """Of users, and of items."""
    phase: Phase = field(default_factory=Phase)


QUICK = Plan(
    events=8_000,
    rounds=1,
    quality_events=4_000,
    large_events=4_000,
    large_entities=4_000,
    phase=Phase(seconds=2.0, rounds=1, settle_s=0.5, capacity_s=3.0, warm_s=0.5),
)


def main() -> int:
    """Runs everything; prints a table and writes one file of results."""
    options = _options()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    try:
        found = run(QUICK if options.quick else Plan())
    except RuntimeError as error:
        _say(f"benchmarks: {error}")
        return 1
    print(found.in_words())
    folder = options.results or (None if options.quick else RESULTS)
    if folder is not None:
        print(f"\nkept in {found.write(folder).name}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Throughput, latency and quality on this machine."
    )
    parser.add_argument("--quick", action="store_true", help="one small round of everything: shows that it runs, not how fast")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="where the JSON goes (benchmarks/results; with --quick none is kept)"
    )
    return parser.parse_args()


def run(plan: Plan) -> Found:
    """All measurements of a plan."""
    about = machine()
    _say("kernels are compiled where that has not been done")
    warm()
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        _say(f"Kafka and Valkey are started, {plan.events:,} events are sent")
        with world(Path(folder), traffic.Shape(plan.events)) as opened:
            figures, lines = measure(opened, plan)
            _say(f"{plan.large_entities:,} users and as many items")
            beside = large(opened, plan.large_events, plan.large_entities)
            for n in range(plan.rounds):
                figures.add("whole_line_1m", EVENTS_PER_S, beside.run(f"large-{n}").events_per_s)
            _say("lists of single events, at shares of what a worker takes in live")
            late = live(opened, "latency", figures.median("whole_line"), plan.phase)
            figures.add("live", EVENTS_PER_S, late.events_per_s)
            found_versions = versions(opened)
    _say("quality on the recorded stream")
    found_quality = quality(plan.quality_events)
    line = of_whole_line(lines, opened.events)
    return Found(about, found_versions, of_traffic(opened), figures, line, found_quality, late.by_share)


def measure(opened: World, plan: Plan) -> tuple[Figures, list[Run]]:
    """Rounds of all measurements one after the other, so that whatever else the machine does falls on all of them alike."""
    figures = Figures()
    lines: list[Run] = []
    works = stages.decoded(opened, "decoded")
    fast = opened.with_fast_client()
    for n in range(plan.rounds):
        started_s = perf_counter()
        figures.add(BASE, EVENTS_PER_S, stages.bare_poll(opened))
        short_wait = stages.bare_poll(opened, fetch_max_wait_ms=FETCH_MAX_WAIT_MS)
        figures.add("bare_poll_short_wait", EVENTS_PER_S, short_wait)
        figures.add("log_poll", EVENTS_PER_S, stages.log_poll(opened, f"poll-{n}"))
        figures.add("decode", EVENTS_PER_S, stages.poll_and_decode(opened, f"decode-{n}"))
        figures.add("state_only", EVENTS_PER_S, stages.state_only(opened, f"state-{n}"))
        figures.add(BASE, EVENTS_PER_S, stages.bare_poll(opened))  # again: everything is divided by it
        lines.append(whole_line(opened, f"line-{n}"))
        figures.add("whole_line", EVENTS_PER_S, lines[-1].events_per_s)
        if fast is not None:
            figures.add("log_poll_fast_client", EVENTS_PER_S, stages.log_poll(fast, f"fast-poll-{n}"))
            figures.add("whole_line_fast_client", EVENTS_PER_S, whole_line(fast, f"fast-line-{n}").events_per_s)
        events_per_s, engine = stages.fold(opened, works, f"fold-{n}")
        figures.add("fold", EVENTS_PER_S, events_per_s)
        parts.lists(opened, engine, f"lists-{n}", figures)
        parts.gather(engine, figures)
        parts.snapshot(opened, f"line-{n}", opened.root / f"copy-{n}", figures)
        os.sync()  # or the next round would share the disk with what this one wrote
        _say(f"round {n + 1} of {plan.rounds}: {perf_counter() - started_s:.0f} s")
    return figures, lines


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
