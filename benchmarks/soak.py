"""Mixed load with faults for as long as wanted, and whether anything grows: ``python -m benchmarks.soak [--minutes 60]``.

One worker with shipped defaults, but for bounds on its state so small that it is full soon: from then on nothing should grow.
``streamer traffic`` sends to it (sessions, impressions, bots, broken, late and doubled records, items that
come and go). Every two minutes or so the broker or Valkey stands still for some seconds, or Valkey loses all it has.

The run is cut into thirds, each with the same faults. The first is left out: state fills. Then the process's memory, open files and threads,
and the freshness of lists between faults, must be in the last third what they were in the one before. Exit status 1 where they are not, or the
worker ended.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from redis import Redis

from benchmarks.growth import Sample, bounds, curves, thirds
from benchmarks.kept import RESULTS, Kept
from benchmarks.machine import machine, versions
from benchmarks.measured import Measured
from benchmarks.world import KafkaServer
from consumers.compose import open_admin
from streamer.config.tree import Config, Kafka
from streamer.embedded import ValkeyProcess
from streamer.engine.warm import warm

from line import Process  # isort: skip - found by benchmarks.world

SAMPLE_S = 5.0
FAULT_EVERY_S = 130.0
"""About: as many come as give each third the same."""
STILL_S = 5.0
SETTLED_S = 20.0
"""After a fault, until lists are counted again as those between faults."""
MINUTES_MIN, MINUTES = 6.0, 60.0
"""The shortest run in which there is calm between any two faults; the whole one, from which on results are kept unasked."""
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
_TABLE = re.compile(r"^streamer_table_bytes\{[^}]*\} (\S+)", re.MULTILINE)
_BUCKET = re.compile(r'^streamer_freshness_seconds_bucket\{le="[^"]+"\} (\S+)', re.MULTILINE)


def main() -> int:
    """Runs it, keeps what was found with its plots, and says what grew."""
    options = _options()
    about = machine()
    warm()
    with tempfile.TemporaryDirectory(prefix="streamer-soak-") as folder:
        samples, faults = soak(Path(folder), 60.0 * options.minutes, options.rate)
    parts = thirds(samples)
    measured = Measured(bounds=bounds(*parts[1:]), curves=curves(samples))
    notes: dict[str, object] = {"minutes": options.minutes, "rate": options.rate, "faults": faults}
    kept = Kept(about, options.results or (RESULTS if options.minutes >= MINUTES else None), "soak")
    kept.put("soak", measured, notes | {"thirds": [asdict(part) for part in parts]})
    kept.found["versions"] |= versions(None)
    for name, part in zip(("first", "second", "last"), parts, strict=True):
        print(f"{name} third: {', '.join(f'{key} {value}' for key, value in asdict(part).items())}")
    print(kept.in_words())
    for path in kept.write():
        print(f"kept in {path.name}")
    return 0 if all(bound.ok for bound in measured.bounds.values()) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, default=1_000.0, help="records a second")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help=f"where JSON and plots go (benchmarks/results, from {MINUTES:g} minutes on)",
    )
    options = parser.parse_args()
    if options.minutes < MINUTES_MIN:
        parser.error(
            f"--minutes is {options.minutes:g}, expected at least {MINUTES_MIN:g}: each third has every fault, and calm between them"
        )
    return options


def schedule(seconds: float, names: Sequence[str]) -> list[tuple[float, str]]:
    """When which fault is due: in each third each of them equally often, about ``FAULT_EVERY_S`` apart.

    >>> schedule(900, ["one", "other"])
    [(75.0, 'one'), (225.0, 'other'), (375.0, 'one'), (525.0, 'other'), (675.0, 'one'), (825.0, 'other')]
    """
    count = 3 * len(names) * max(1, round(seconds / 3 / len(names) / FAULT_EVERY_S))
    return [(seconds * (n + 0.5) / count, names[n % len(names)]) for n in range(count)]


def soak(folder: Path, seconds: float, rate: float) -> tuple[list[Sample], dict[str, int]]:
    """Samples of the worker, and how often each fault was caused. Raises RuntimeError where the worker or the traffic ends before."""
    kafka = KafkaServer(folder / "kafka", for_long=True)
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
        cause = {
            "broker still": lambda: _still(kafka.suspend, kafka.resume),
            "store still": lambda: _still(*(partial(os.kill, valkey.pid, one) for one in (signal.SIGSTOP, signal.SIGCONT))),
            "store emptied": lambda: _emptied(valkey.url),
        }
        return _sampled(worker, traffic, cause, seconds)


def _sampled(
    worker: Process, traffic: Process, cause: dict[str, Callable[[], None]], seconds: float
) -> tuple[list[Sample], dict[str, int]]:
    due = deque(schedule(seconds, list(cause)))
    caused = dict.fromkeys(cause, 0)
    samples: list[Sample] = []
    began_s = looked_s = settled_s = monotonic()
    while monotonic() - began_s < seconds:
        if due and monotonic() - began_s >= due[0][0]:
            name = due.popleft()[1]
            cause[name]()
            caused[name] += 1
            settled_s = monotonic() + SETTLED_S
        else:
            sleep(SAMPLE_S)
        for process in (worker, traffic):
            if not process.alive:
                raise RuntimeError(f"a process ended after {monotonic() - began_s:.0f} s:\n{process.text[-4_000:]}")
        samples.append(sample(worker, monotonic() - began_s, calm=looked_s >= settled_s))
        looked_s = monotonic()
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


def sample(worker: Process, at_s: float, *, calm: bool) -> Sample:
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
        written_B=np.diff([0, *(int(float(count)) for count in _BUCKET.findall(page))]),
        calm=calm,
    )


if __name__ == "__main__":
    sys.exit(main())
