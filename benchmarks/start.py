"""From the start of a worker's process until it owns the log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.bounds import START_S_MAX, Bound
from benchmarks.measured import Measured, word
from benchmarks.million import keep, started_from_kept
from benchmarks.size import resident_bytes
from benchmarks.world import World
from consumers.compose import open_admin
from streamer.engine.engine import Engine

from line import Process  # isort: skip - found by benchmarks.world


def start(found: Measured, bare: World, state: Callable[[], Engine], *, rounds: int, large_rounds: int) -> None:
    """Starts on an empty log: without state, after one start that is not counted, then from a snapshot of a large state."""
    log = replace(bare, topic_prefix="start.")
    with contextlib.closing(open_admin(log.config("start"))) as admin:
        admin.create_topics()
    for n in range(rounds + 1):
        ready_s, owner_s, _ = _started(log, f"start-{n}")
        if n:
            found.figures.add("start_ready", "s", ready_s)
            found.figures.add("start_owner", "s", owner_s)
    found.bounds["start_owner_s"] = Bound(found.figures.median("start_owner"), START_S_MAX)
    engine = state()
    keep(log, engine)
    size = word(engine.sizes()["users"])
    for n in range(large_rounds):
        with started_from_kept(log, f"start-large-{n}"):
            _, owner_s, resident = _started(log, f"start-large-{n}")
        found.figures.add(f"start_owner_{size}", "s", owner_s)
        found.figures.add(f"start_resident_{size}", "bytes", resident)


def _started(log: World, namespace: str) -> tuple[float, float, int]:
    """Seconds until ``/readyz`` says 200 and until it is the owner, and the process's memory then."""
    worker = Process(["worker"], log.settings(namespace), log.root / f"{namespace}.log")
    try:
        worker.wait(lambda: worker.page("/readyz")[0] == 200, "ready")
        ready_s = time.monotonic() - worker.started
        worker.wait_role("owner")
        owner_s = time.monotonic() - worker.started
        resident = resident_bytes(worker.pid)
        worker.stop()
    finally:
        worker.close()
        log.forget(namespace)
    return ready_s, owner_s, resident
