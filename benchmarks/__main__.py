"""Measures this machine and keeps what it found: ``python -m benchmarks``, or with ``--quick`` only whether all of it still runs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from benchmarks import parts, stages, traffic
from benchmarks.figures import Figures, rounded
from benchmarks.machine import machine, short_name, versions
from benchmarks.quality import quality
from benchmarks.whole_line import Run, whole_line
from benchmarks.world import World, world
from streamer.engine.warm import warm

RESULTS = Path(__file__).resolve().parent / "results"
BASE, EVENTS_PER_S = "bare_poll", "events/s"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    events: int = 200_000
    rounds: int = 5
    whole_rounds: int = 5
    quality_events: int | None = None


QUICK = Plan(events=8_000, rounds=1, whole_rounds=1, quality_events=4_000)


def main() -> int:
    """Runs everything; prints a table and writes one file of results."""
    options = _options()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    plan = QUICK if options.quick else Plan()
    about = machine()
    _say("compiling kernels where that has not been done")
    warm()
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        _say(f"Kafka and Valkey are started, {plan.events:,} events are sent")
        with world(Path(folder), traffic.Shape(plan.events)) as opened:
            figures, lines = measure(opened, plan)
            found_versions = versions(opened)
    _say("quality on the recorded stream")
    found_quality = quality(plan.quality_events)
    result = report(figures, lines, about, found_versions, found_quality, opened)
    show(result, figures)
    if options.results or not options.quick:
        write(result, options.results or RESULTS, about)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small round of everything: shows that it runs, not how fast")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="where the JSON goes (default benchmarks/results; with --quick none is kept)",
    )
    return parser.parse_args()


def measure(opened: World, plan: Plan) -> tuple[Figures, list[Run]]:
    """Rounds of all measurements one after the other, so that whatever else the machine does falls on all of them alike."""
    figures = Figures()
    lines: list[Run] = []
    works = stages.decoded(opened, "decoded")
    for n in range(plan.rounds):
        started_s = perf_counter()
        figures.add(BASE, EVENTS_PER_S, stages.bare_poll(opened))
        figures.add("log_poll", EVENTS_PER_S, stages.log_poll(opened, f"poll-{n}"))
        figures.add("decode", EVENTS_PER_S, stages.poll_and_decode(opened, f"decode-{n}"))
        if n < plan.whole_rounds:
            lines.append(whole_line(opened, f"line-{n}"))
            figures.add("whole_line", EVENTS_PER_S, lines[-1].events_per_s)
        events_per_s, engine = stages.fold(opened, works, f"fold-{n}")
        figures.add("fold", EVENTS_PER_S, events_per_s)
        parts.lists(opened, engine, f"lists-{n}", figures)
        parts.gather(engine, figures)
        parts.snapshot(opened, f"line-{n % plan.whole_rounds}", opened.root / f"copy-{n}", figures)
        _say(f"round {n + 1} of {plan.rounds}: {perf_counter() - started_s:.0f} s")
    return figures, lines


def report(
    figures: Figures,
    lines: list[Run],
    about: dict[str, object],
    found_versions: dict[str, str],
    found_quality: dict[str, dict[str, dict[str, float]]],
    opened: World,
) -> dict[str, object]:
    """Everything that was found, ready for JSON."""
    middle = sorted(lines, key=lambda run: run.events_per_s)[len(lines) // 2]
    measured = middle.measurements
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": about,
        "versions": found_versions,
        "traffic": {
            "events": opened.events,
            "event_bytes": rounded(opened.event_bytes_mean),
            "partitions": len(opened.ends),
            "sent_per_s": rounded(opened.produced_per_s),
        },
        "ratios": figures.ratios(BASE, EVENTS_PER_S),
        **figures.as_json(),
        "whole_line": {
            "wall_s": rounded(middle.wall_s),
            "lists_written": measured.lists_written,
            "snapshots": measured.snapshots,
            "snapshot_pause_ms_mean": rounded(
                1e3 * measured.snapshot_pause.sum_s / max(1, measured.snapshot_pause.count_B.sum())
            ),
            "stage_us_per_event": _per_event(measured.stage_s, opened.events),
            "cpu_us_per_event": _per_event(middle.cpu_s, opened.events),
        },
        "quality": found_quality,
    }


def _per_event(seconds: dict[str, float], events: int) -> dict[str, float]:
    return {name: rounded(value / events * 1e6) for name, value in seconds.items() if value / events >= 1e-8}


def show(result: dict[str, object], figures: Figures) -> None:
    """The table for people."""
    ratios = figures.ratios(BASE, EVENTS_PER_S)
    for name in ("machine", "versions", "traffic"):
        print(f"{name:10}", ", ".join(f"{key} {value}" for key, value in result[name].items()))
    print()
    print(figures.table(ratios))
    print("\nwhole line, the run in the middle")
    for name, value in result["whole_line"].items():
        print(f"  {name:24}", ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value)
    for name, methods in result["quality"].items():
        print(f"\nquality, {name}")
        for method, sums in methods.items():
            print(f"  {method:12}", ", ".join(f"{key} {value:g}" for key, value in sums.items()))


def write(result: dict[str, object], folder: Path, about: dict[str, object]) -> None:
    """One file a day and machine: a later run of the same day replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['date']}-{short_name(about)}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\nkept in {path.name}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
