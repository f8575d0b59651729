"""The benchmark at size: ``make bench-full``, stages one by one by ``python -m benchmarks.full --only STAGE``. docs/benchmarks.md tells
what each stage measures."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter

from benchmarks.bounds import MILLION, RESTORE_S_MAX, Bound
from benchmarks.by_partitions import by_partitions
from benchmarks.by_size import by_size
from benchmarks.documents import encoders
from benchmarks.kept import RESULTS, Kept
from benchmarks.long_run import long_run
from benchmarks.machine import machine, versions
from benchmarks.measured import Measured, word
from benchmarks.memory import memory
from benchmarks.recovery import at_size, grown
from benchmarks.start import start
from benchmarks.world import World, servers
from streamer.engine.engine import Engine
from streamer.engine.warm import warm


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    sizes: tuple[int, ...] = (1_000, 10_000, 100_000, MILLION)
    """Of users and of items, for what an event costs."""
    beside: int = 10_000
    """Users beside those items, items beside those users."""
    size_events: int = 20_000
    size_lists: int = 1_024
    partitions: tuple[int, ...] = (1, 2, 4, 8, 16)
    partition_events: int = 100_000
    long_events: int = 10 * MILLION
    long_part: int = MILLION
    encoded_items: int = 100
    entities: int = MILLION
    """Users, and items, of the state that is snapshotted, started from, and weighed."""
    stored_lists: int = 200_000
    rounds: int = 5
    large_rounds: int = 3
    """Starts from the large state, each of which ends with a snapshot."""


QUICK = Plan(
    sizes=(200, 1_000),
    beside=500,
    size_events=1_000,
    size_lists=256,
    partitions=(1, 2),
    partition_events=3_000,
    long_events=6_000,
    long_part=2_000,
    encoded_items=2,
    entities=2_000,
    stored_lists=1_000,
    rounds=1,
    large_rounds=1,
)


class Desk:
    """What stages share, made when the first of them asks for it."""

    def __init__(self, plan: Plan, root: Path, stack: contextlib.ExitStack) -> None:
        self.plan, self.root = plan, root
        self._stack = stack

    @cached_property
    def servers(self) -> World:
        """Kafka and Valkey."""
        return self._stack.enter_context(servers(self.root))

    @cached_property
    def state(self) -> Engine:
        """The large state."""
        return grown(self.plan.entities, self.plan.entities)


def main() -> int:
    """Runs the stages wanted; prints a table and keeps what was found."""
    options = _options()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    plan = QUICK if options.quick else Plan()
    if options.events:
        plan = dataclasses.replace(plan, long_events=options.events)
    kept = Kept(machine(), options.results or (None if options.quick else RESULTS))
    try:
        run(plan, options.only or list(STAGES), kept)
    except RuntimeError as error:
        _say(f"benchmarks: {error}")
        return 1
    print(kept.in_words())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full", description="Cost, memory and times at size.")
    parser.add_argument("--quick", action="store_true", help="everything small, once: shows that it runs, not how fast")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--events", type=int, help=f"of the long run ({Plan().long_events:,})")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="where the JSON and the plots go (benchmarks/results; with --quick none is kept)",
    )
    return parser.parse_args()


def run(plan: Plan, stages: list[str], kept: Kept) -> None:
    """Measures those stages; what was found is kept after each."""
    _say("kernels are compiled where that has not been done")
    warm()
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder, contextlib.ExitStack() as stack:
        desk = Desk(plan, Path(folder), stack)
        for name in stages:
            measured, load, started_s = Measured(), os.getloadavg()[0], perf_counter()
            STAGES[name](desk, measured)
            wall_s = round(perf_counter() - started_s, 1)
            kept.put(name, measured, {"wall_s": wall_s, "load_before": round(load, 2), "plan": dataclasses.asdict(plan)})
            kept.found["versions"] |= versions(desk.servers if "servers" in vars(desk) else None)
            written = kept.write()
            _say(f"{name}: {wall_s:.0f} s" + (f", kept in {written[0].name}" if written else ""))


def _cost(desk: Desk, found: Measured) -> None:
    plan = desk.plan
    by_size(found, list(plan.sizes), plan.beside, events=plan.size_events, lists=plan.size_lists, rounds=plan.rounds)


def _partitions(desk: Desk, found: Measured) -> None:
    plan = desk.plan
    by_partitions(found, desk.servers, list(plan.partitions), events=plan.partition_events, rounds=plan.rounds)


def _long(desk: Desk, found: Measured) -> None:
    long_run(found, events=desk.plan.long_events, part=desk.plan.long_part)


def _encoders(desk: Desk, found: Measured) -> None:
    encoders(found, items=desk.plan.encoded_items, rounds=desk.plan.rounds)


def _snapshot(desk: Desk, found: Measured) -> None:
    once = at_size(desk.root, desk.state, desk.plan.rounds)
    for name, unit, values in (
        ("snapshot_pause", "ms", [1e3 * pause_s for pause_s in once.pauses_s]),
        ("snapshot_write", "MB/s", [once.table_bytes / 1e6 / write_s for write_s in once.writes_s]),
        ("snapshot_restore", "s", once.restores_s),
        ("snapshot_size", "MB", [once.table_bytes / 1e6]),
        ("snapshot_restore_turn", "ms", [1e3 * once.turn_s]),
    ):
        for value in values:
            found.figures.add(f"{name}_{word(desk.plan.entities)}", unit, value)
    restore = f"snapshot_restore_{word(desk.plan.entities)}"
    found.bounds[f"{restore}_s"] = Bound(found.figures.median(restore), RESTORE_S_MAX)


def _start(desk: Desk, found: Measured) -> None:
    start(found, desk.servers, lambda: desk.state, rounds=desk.plan.rounds, large_rounds=desk.plan.large_rounds)


def _memory(desk: Desk, found: Measured) -> None:
    memory(found, desk.state, desk.servers.valkey.url, lists=desk.plan.stored_lists)


STAGES: dict[str, Callable[[Desk, Measured], None]] = {
    "cost": _cost,
    "partitions": _partitions,
    "long": _long,
    "encoders": _encoders,
    "snapshot": _snapshot,
    "start": _start,
    "memory": _memory,
}


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
