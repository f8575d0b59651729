"""What safety costs: ``python -m benchmarks.recovery``. The snapshot's pause, writing and restoring at a million users and a million items,
and the whole line's speed with and without snapshots, turn about in one run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Self

from benchmarks import traffic
from benchmarks.million import draft, engine_of
from benchmarks.whole_line import whole_line
from benchmarks.world import world
from consumers.copies import Copies, touched
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.warm import warm
from streamer.snapshots import FolderStore, Manifest, read_snapshot, write_snapshot

NEVER_MS = 3_600_000
PAUSES = 15
POLL_S = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=400_000, help="of the runs of the whole line; 0: none of those")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    warm()
    with tempfile.TemporaryDirectory() as folder:
        for line in at_size(Path(folder), grown(wanted.users, wanted.items)).lines():
            say(line)
        if wanted.events:
            with_and_without(Path(folder), wanted.events, wanted.rounds)
    return 0


@dataclass(frozen=True)
class AtSize:
    """What a snapshot of a state costs."""

    table_bytes: int
    pauses_s: list[float]
    writes_s: list[float]
    restores_s: list[float]
    sizes: dict[str, int]
    turn_s: float
    """Longest wait for its turn of a thread that polls every ``POLL_S`` while a state is restored."""

    def lines(self) -> list[str]:
        """For people."""
        return [
            (
                f"tables {self.table_bytes / 2**20:.0f} MiB; copied in {median(self.pauses_s) * 1e3:.0f} ms (median), "
                f"{max(self.pauses_s) * 1e3:.0f} ms (max of {len(self.pauses_s)})"
            ),
            f"written in {median(self.writes_s):.1f} s",
            (
                f"restored in {median(self.restores_s):.1f} s: {self.sizes}; a thread that polls every {POLL_S * 1e3:.0f} ms had its "
                f"turn after {self.turn_s * 1e3:.0f} ms at the latest"
            ),
        ]


def grown(users: int, items: int) -> Engine:
    """A state that has seen every user and every item."""
    started_s = perf_counter()
    engine = engine_of(Config(), users, items)
    say(f"state of {engine.sizes()} folded in {perf_counter() - started_s:.0f} s")
    return engine


def at_size(root: Path, engine: Engine, rounds: int = 1) -> AtSize:
    """Copies, writes and restores a state: ``PAUSES`` times the one, ``rounds`` times the others, each into an empty folder.

    Raises RuntimeError where what was restored is not what was written.
    """
    pauses_s, copies = [], Copies()
    copies.take(touched(copies.lacking(engine.fold_tables() | engine.publisher_tables())))
    with ThreadPoolExecutor(1) as beside:
        for _ in range(PAUSES):
            began_s = perf_counter()
            tables, shown = engine.fold_tables(), engine.publisher_tables()
            copied = copies.of(tables | shown, beside)
            pauses_s.append(perf_counter() - began_s)
    fold, publisher = ({name: copied[name] for name in part} for part in (tables, shown))
    size = sum(table.nbytes for table in (*fold.values(), *publisher.values()))
    writes_s, restores_s, turns_s = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=root) as folder:
            store = FolderStore(Path(folder))
            began_s = perf_counter()
            manifest = write_snapshot(store, draft(Config(), engine, {}, {}), fold, publisher)
            writes_s.append(perf_counter() - began_s)
            restore_s, turn_s = restored(store, manifest, engine.sizes())
            restores_s.append(restore_s)
            turns_s.append(turn_s)
        os.sync()  # or the next round would share the disk with what this one wrote
    return AtSize(size, pauses_s, writes_s, restores_s, engine.sizes(), max(turns_s))


def restored(store: FolderStore, manifest: Manifest, sizes: dict[str, int]) -> tuple[float, float]:
    """Seconds until a snapshot is an engine again, and the longest wait of a polling thread meanwhile."""
    began_s = perf_counter()
    with Polling() as polling:
        _, fold, publisher = read_snapshot(store, manifest.name)
        engine = Engine(Config(), fold, publisher)
    took_s = perf_counter() - began_s
    if engine.sizes() != sizes:
        raise RuntimeError(f"restored {engine.sizes()}, written were {sizes}: what is restored must be what was written")
    return took_s, polling.longest_s


class Polling:
    """A thread that wants a turn every ``POLL_S`` seconds, as the one does that keeps the ownership while a state is restored."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        before_s = perf_counter()
        while not self._end.wait(POLL_S):
            self.longest_s = max(self.longest_s, perf_counter() - before_s)
            before_s = perf_counter()


def with_and_without(root: Path, events: int, rounds: int) -> None:
    """Prints the whole line's events/s with snapshots as shipped and with none but the last, and their ratio."""
    speeds: dict[str, list[float]] = {"with": [], "without": []}
    pauses_s: list[float] = []
    with contextlib.ExitStack() as stack:
        shipped = stack.enter_context(world(root, traffic.Shape(events)))
        never = replace(shipped, snapshots_interval_ms=NEVER_MS)
        for number in range(rounds):
            for name, here in (("with", shipped), ("without", never))[:: 1 if number % 2 else -1]:
                run = whole_line(here, f"{name}-{number}")
                speeds[name].append(run.events_per_s)
                if name == "with":
                    pauses_s.append(run.measurements.snapshot_pause.quantile(0.99))
                say(f"{name} snapshots: {run.events_per_s:,.0f} events/s, {run.measurements.snapshots} committed")
    ratio = median(speeds["with"]) / median(speeds["without"])
    say(
        f"with / without: {ratio:.3f}; pause p99 {max(pauses_s) * 1e3:.0f} ms (upper of {rounds} runs, within a histogram's bucket)"
    )


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
