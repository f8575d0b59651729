"""The whole line: the owner on real adapters with shipped defaults, from the log's beginning to its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from benchmarks.cpu import CpuWatch
from benchmarks.world import World
from consumers.compose import open_admin, open_log, open_reader, open_snapshots, open_store, open_writer
from consumers.measurements import Measurements
from consumers.owner import Owner, Ports
from consumers.runtime import WallClock
from consumers.work import OWNER_TOPICS
from streamer.snapshots import Manifest, Override, list_snapshots

TIMEOUT_S = 600.0


class FirstSeen:
    """A log that notes when its first records came."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.first_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Any:
        polled = self._log.poll(timeout_ms, paused=paused)
        if polled.batches and not self.first_s:
            self.first_s = perf_counter()
        return polled


class LastWritten:
    """A store that notes when the last list was in it."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.last_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write_lists(
        self, user_ids: Sequence[bytes], payloads: Sequence[bytes], unseen_s: Sequence[int] = (), *, erases: bool = False
    ) -> list[bool]:
        accepted: list[bool] = self._store.write_lists(user_ids, payloads, unseen_s, erases=erases)
        self.last_s = perf_counter()
        return accepted


@dataclass(frozen=True)
class Run:
    """What one run of the whole line showed."""

    events_per_s: float
    wall_s: float
    measurements: Measurements
    cpu_s: dict[str, float]
    """CPU seconds by thread or process, over the run."""


def whole_line(world: World, namespace: str, *, applied_before: int = 0) -> Run:
    """Owner, engine, lists, snapshots: from the first records polled to the last list written.

    ``applied_before``: events that the snapshot has applied from which it starts.
    """
    config = world.config(namespace)
    measurements = Measurements()
    with contextlib.ExitStack() as stack:
        log = FirstSeen(open_log(config, group=config.group, topics=OWNER_TOPICS))
        stack.callback(log.close)
        admin = stack.enter_context(contextlib.closing(open_admin(config)))
        writer = stack.enter_context(contextlib.closing(open_writer(config)))
        redis = stack.enter_context(contextlib.closing(open_store(config, world.valkey.url)))
        store = LastWritten(redis)
        snapshots = open_snapshots(config)
        ports = Ports(log, admin, lambda: open_reader(config), writer, store, snapshots, WallClock())
        watch = stack.enter_context(CpuWatch())
        run_bounded(Owner(ports, config, measurements, Override(), bounded=True))
        cpu_s = watch.seconds()
        require_all_applied(list_snapshots(snapshots)[0], applied_before + world.events)
        redis.delete_namespace()
    wall_s = store.last_s - log.first_s
    return Run(world.events / wall_s, wall_s, measurements, cpu_s)


def run_bounded(owner: Owner) -> None:
    """Runs until the ends of the log are applied, published and committed."""
    stop = threading.Event()
    patience = threading.Timer(TIMEOUT_S, stop.set)
    patience.start()
    try:
        owner.run(stop)
    finally:
        patience.cancel()


def require_all_applied(last: Manifest, events: int) -> None:
    """Raises RuntimeError where the last snapshot has not seen so many events, each exactly once."""
    applied = last.counters["applied"]
    total = sum(applied.values()) if isinstance(applied, dict) else 0
    if total != events:
        raise RuntimeError(
            f"the last snapshot, {last.name}, has applied {total} of {events} events ({last.counters}): "
            f"a run that did not do all its work within {TIMEOUT_S:.0f} s has no speed"
        )
