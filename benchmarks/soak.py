"""Mixed load with faults for as long as wanted, and whether anything grows: ``python -m benchmarks.soak [--minutes 60]``.

One worker with shipped defaults, but for bounds on its state so small that it is full soon: from then on nothing should grow. ``tables_mib``
tells what the state itself grew by. ``streamer traffic`` sends to it (sessions, impressions, bots, broken, late and doubled records, items that
come and go). Every two minutes the broker or Valkey stands still for some seconds, or Valkey loses all it has.

The run is cut into thirds. The first is left out: state fills. Then the process's memory, open files and threads,
and the freshness of lists, must be in the last third what they were in the one before. Exit status 1 where they are not, or the worker ended.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from redis import Redis

from benchmarks.machine import machine
from benchmarks.world import KafkaServer
from consumers.compose import open_admin
from streamer.config.tree import Config, Kafka
from streamer.embedded import ValkeyProcess

from line import Process  # isort: skip - found by benchmarks.world

SAMPLE_S = 5.0
FAULT_EVERY_S = 120.0
STILL_S = 5.0
USERS_MAX, ITEMS_MAX = 2_000, 10_000
TURNOVER = 1.0
"""Of all items that there are at a time, the share that goes within a day: four hundred of them in an hour, and as many come."""
STATE = {
    "STREAMER_WINDOWS__USERS_MAX": USERS_MAX,
    "STREAMER_WINDOWS__HISTORY_ITEMS_MAX": 128,
    "STREAMER_WINDOWS__DEDUP_IDS_MIN": 100_000,
    "STREAMER_CATALOG__ITEMS_MAX": ITEMS_MAX,
    "STREAMER_SIGNALS__NEIGHBOURS_MAX": 16,
    "STREAMER_SIGNALS__JOURNAL_INTERACTIONS_MAX": 100_000,
}
"""Bounds that traffic of half a million records fills."""
MEMORY_GROWTH_MAX, MEMORY_SLACK_MIB = 0.03, 16.0
HANDLES_SLACK = 3
LATENCY_GROWTH_MAX = 2.0
"""Of the 99th percentile, which is known by its bucket: about half as much again from one to the next."""
_TABLE = re.compile(r"^streamer_table_bytes\{[^}]*\} (\S+)", re.MULTILINE)
_BUCKET = re.compile(r'^streamer_freshness_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """The worker at one moment; ``fresh`` are lists ever written by the bound of their delay in seconds."""

    at_s: float
    memory_mib: float
    tables_mib: float
    files: int
    threads: int
    fresh: dict[float, float]


@dataclass(frozen=True)
class Third:
    """A part of the run: medians, and of delays the bucket in which a quantile lies."""

    memory_mib: float
    tables_mib: float
    """Of it, what the state's tables hold; a copy for snapshots and the room that they grow into are beside it."""
    files: float
    threads: float
    lists: int
    p50_s: float
    p99_s: float


def main() -> int:
    """Runs it, prints what was found as JSON, and what grew."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=1_000.0, help="records a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamer-soak-") as folder:
        samples, faults = soak(Path(folder), 60.0 * options.minutes, options.rate)
    thirds = [third(list(part)) for part in _cut(samples)]
    grown = growth(thirds[1], thirds[2])
    found = {"machine": machine(), "minutes": options.minutes, "rate": options.rate, "faults": faults}
    print(json.dumps(found | {"thirds": [vars(one) for one in thirds], "grown": grown}, indent=2))
    return 1 if grown else 0


def soak(folder: Path, seconds: float, rate: float) -> tuple[list[Sample], dict[str, int]]:
    """Samples of the worker, and how often each fault was caused. Raises RuntimeError where the worker or the traffic ends before."""
    kafka = KafkaServer(folder / "kafka")
    kafka.start()
    with contextlib.ExitStack() as stack:
        stack.callback(kafka.stop)
        valkey = stack.enter_context(contextlib.closing(ValkeyProcess(folder / "valkey")))
        with contextlib.closing(open_admin(Config(kafka=Kafka(bootstrap_servers=kafka.bootstrap)))) as admin:
            admin.create_topics()
        settings = {
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "STREAMER_REDIS__URL": valkey.url,
            "STREAMER_SNAPSHOTS__ROOT": str(folder / "snapshots"),
            "STREAMER_HTTP__PORT": "0",
            **{name: str(bound) for name, bound in STATE.items()},
        }
        worker = stack.enter_context(contextlib.closing(Process(["worker"], settings, folder / "worker.log")))
        worker.wait_role("owner")
        arguments = ["traffic", "--configured", "--rate", str(rate), "--users", str(2 * USERS_MAX)]
        arguments += ["--items", str(ITEMS_MAX), "--turnover", str(TURNOVER)]
        traffic = stack.enter_context(contextlib.closing(Process(arguments, settings, folder / "traffic.log")))
        faults = itertools.cycle(
            {
                "broker still": lambda: _still(kafka.suspend, kafka.resume),
                "store still": lambda: _still(*(partial(os.kill, valkey.pid, one) for one in (signal.SIGSTOP, signal.SIGCONT))),
                "store emptied": lambda: _emptied(valkey.url),
            }.items()
        )
        return _sampled(worker, traffic, faults, seconds)


def _sampled(
    worker: Process, traffic: Process, faults: Iterator[tuple[str, Callable[[], None]]], seconds: float
) -> tuple[list[Sample], dict[str, int]]:
    samples: list[Sample] = []
    caused: dict[str, int] = {}
    began_s = fault_s = monotonic()
    while monotonic() - began_s < seconds:
        sleep(SAMPLE_S)
        for process in (worker, traffic):
            if not process.alive:
                raise RuntimeError(f"a process ended after {monotonic() - began_s:.0f} s:\n{process.text[-4_000:]}")
        samples.append(sample(worker, monotonic() - began_s))
        if monotonic() - fault_s >= FAULT_EVERY_S:
            name, cause = next(faults)
            cause()
            caused[name] = caused.get(name, 0) + 1
            fault_s = monotonic()
    return samples, caused


def _still(suspend: Callable[[], None], resume: Callable[[], None]) -> None:
    suspend()
    try:
        sleep(STILL_S)
    finally:
        resume()


def _emptied(url: str) -> None:
    with contextlib.closing(Redis.from_url(url)) as client:
        client.flushall()


def sample(worker: Process, at_s: float) -> Sample:
    """The process as the system sees it, and its own histogram of freshness."""
    process = Path(f"/proc/{worker.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    answered, page = worker.page("/metrics")
    if answered != 200:
        raise RuntimeError(f"the worker answered {answered} for its metrics after {at_s:.0f} s:\n{worker.text[-4_000:]}")
    return Sample(
        at_s=at_s,
        memory_mib=int(status["VmRSS"].split()[0]) / 1_024,
        tables_mib=sum(map(float, _TABLE.findall(page))) / 2**20,
        files=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
        fresh={float(bound): float(count) for bound, count in _BUCKET.findall(page)},
    )


def _cut(samples: list[Sample]) -> Iterator[list[Sample]]:
    size = len(samples) // 3
    if size < 2:
        raise RuntimeError(f"{len(samples)} samples are too few to compare thirds: run it for longer")
    for n in range(3):
        yield samples[n * size : (n + 1) * size]


def third(samples: list[Sample]) -> Third:
    """What a part of the run was like."""
    first, last = samples[0].fresh, samples[-1].fresh
    written = {bound: last[bound] - first.get(bound, 0.0) for bound in sorted(last)}
    return Third(
        memory_mib=round(statistics.median(one.memory_mib for one in samples), 1),
        tables_mib=round(statistics.median(one.tables_mib for one in samples), 1),
        files=statistics.median(one.files for one in samples),
        threads=statistics.median(one.threads for one in samples),
        lists=int(written[float("inf")]),
        p50_s=_quantile(written, 0.5),
        p99_s=_quantile(written, 0.99),
    )


def _quantile(written: dict[float, float], share: float) -> float:
    wanted = share * written[float("inf")]
    return next((bound for bound, count in written.items() if count >= wanted), float("inf"))


def growth(before: Third, after: Third) -> list[str]:
    """What grew from one part to the next beyond what chance explains, in words."""
    found = []
    if after.memory_mib > before.memory_mib * (1.0 + MEMORY_GROWTH_MAX) + MEMORY_SLACK_MIB:
        found.append(f"memory: {before.memory_mib} MiB, then {after.memory_mib}")
    for name in ("files", "threads"):
        had, has = getattr(before, name), getattr(after, name)
        if has > had + HANDLES_SLACK:
            found.append(f"{name}: {had:.0f}, then {has:.0f}")
    if after.p99_s > LATENCY_GROWTH_MAX * before.p99_s:
        found.append(f"99th percentile of freshness: {before.p99_s} s, then {after.p99_s}")
    if not after.lists:
        found.append("no list was written in the last third")
    return found


if __name__ == "__main__":
    sys.exit(main())
