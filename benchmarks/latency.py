"""From an event that is due to the list that shows it: an open loop at shares of what a worker takes in live.

    python -m benchmarks.latency [--events 100000] [--seconds 15] [--rounds 5]

That capacity is found first, once the broker's compiler is done: more events are sent than it can take, and what it takes in meanwhile is counted. It is less than catching up
does, for the load and the broker that takes it in have a part of the machine, and users' lists keep up. The shares are sent in rounds, one after
the other, so that what else the machine does falls on all of them alike.

Events leave when they are due, whatever became of those before, so that a stall counts for every event that it holds up. A hundred a second
come from users of whom nothing was known; the list of each is looked for in Valkey, as any reader would, until it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from benchmarks import traffic
from benchmarks.figures import rounded
from benchmarks.machine import machine
from benchmarks.whole_line import whole_line
from benchmarks.world import World, world
from consumers.compose import open_writer
from streamer.config.tree import Config
from streamer.engine.warm import warm
from streamer.events.model import EVENTS
from streamer.ports import OutRecord

from line import Process, wait_until  # isort: skip - found by benchmarks.world

SHARES = (0.1, 0.5, 0.9)
HALF, HALF_CATCHING_UP = "50%", "50% of catching up"
PROBES_PER_S = 100.0
LOOK_S = 0.004
TICK_S = 0.002
"""What is due within it leaves at once."""
PATIENCE_S = 30.0
UNPUBLISHED_MAX = 1_000
"""Lists still to be written of a worker that has caught up: what is rendered again in idle time is never all there."""
P99_MS_MAX, STALL_MS_MAX = 100.0, 250.0


@dataclass(frozen=True)
class Phase:
    """For how long each share is sent, and in how many rounds: a snapshot or two are taken each time."""

    seconds: float = 15.0
    rounds: int = 5
    settle_s: float = 3.0
    """Of its beginning, and of its end where capacity is found: not counted."""
    capacity_s: float = 25.0
    """For how long more is sent than can be taken."""
    warm_s: float = 25.0
    """For how long a quarter of what catching up does is sent before anything is measured: meanwhile the broker's compiler takes half a core."""


@dataclass(frozen=True)
class Live:
    """What a worker takes in while more is sent than it can take, and how late lists are at shares of that."""

    events_per_s: float
    by_share: dict[str, Latency]


@dataclass(frozen=True)
class Latency:
    """What the rounds of one share showed, in milliseconds: the medians of two quantiles, the range of the later one, and the most.

    A list that did not come within ``PATIENCE_S`` counts as that long.
    """

    events_per_s: float
    p50_ms: float
    p99_ms: float
    p99_ms_range: tuple[float, float]
    max_ms: float
    """Of all rounds but the worst one, where there are more: what the machine does once to others as well is let pass."""
    max_ms_ever: float
    missing: int
    """Lists that did not come, in all rounds."""

    @property
    def is_ok(self) -> bool:
        """Whether lists are as fast as promised in most rounds, and nothing stood still in more than one."""
        return self.p99_ms <= P99_MS_MAX and self.max_ms <= STALL_MS_MAX and not self.missing

    def as_json(self) -> dict[str, object]:
        return {
            name: [rounded(one) for one in value] if isinstance(value, tuple) else rounded(value)
            for name, value in vars(self).items()
        }


def of_rounds(events_per_s: float, took_s: Sequence[NDArray[np.float64]]) -> Latency:
    """Of the seconds that lists took in each round. Raises RuntimeError where there are none."""
    if not all(len(one) for one in took_s):
        raise RuntimeError(f"no list was looked for at {events_per_s:,.0f} events/s: send for longer (--seconds)")
    p50_R, p99_R, max_R = np.array([1e3 * np.quantile(one, [0.5, 0.99, 1.0]) for one in took_s]).T
    return Latency(
        events_per_s,
        p50_ms=float(np.median(p50_R)),
        p99_ms=float(np.median(p99_R)),
        p99_ms_range=(float(p99_R.min()), float(p99_R.max())),
        max_ms=float(np.sort(max_R)[-2:][0]),
        max_ms_ever=float(max_R.max()),
        missing=sum(int((one >= PATIENCE_S).sum()) for one in took_s),
    )


def live(world: World, namespace: str, catching_up_per_s: float, length: Phase) -> Live:
    """Of a worker with shipped defaults, in a process of its own, that has read the whole log before; ``catching_up_per_s``: what the whole line does."""
    config = world.config(namespace)
    found: dict[str, list[NDArray[np.float64]]] = {}
    with contextlib.ExitStack() as stack:
        worker = Process(["worker"], world.settings(namespace), world.root / f"{namespace}.log")
        stack.callback(worker.stop)
        stack.callback(world.forget, namespace)
        wait_until(lambda: _has_caught_up(worker), "the worker reads the log", deadline_s=300)
        send = stack.enter_context(_sending(config))
        phases = itertools.count()

        def made(rows: Iterator[tuple[bytes, bytes]], rate: float, seconds: float) -> list[tuple[str | None, OutRecord]]:
            records = list(with_probes(itertools.islice(rows, int(rate * seconds)), f"probe-{next(phases)}", rate))
            gc.freeze()  # a collection among so many would hold up what is to be sent
            return records

        def phase(records: list[tuple[str | None, OutRecord]], rate: float) -> NDArray[np.float64]:
            took_s = _phase(config, world, send, records, rate, length.settle_s)
            wait_until(lambda: _has_caught_up(worker), "the worker catches up", deadline_s=300)
            return took_s

        first, more = int(catching_up_per_s / 4 * length.warm_s), int(catching_up_per_s * length.capacity_s)
        phase(made(_after(world.events, first), catching_up_per_s / 4, length.warm_s), catching_up_per_s / 4)
        records = made(_after(world.events + first, more), catching_up_per_s, length.capacity_s)
        with ThreadPoolExecutor(1) as sending:
            too_much = sending.submit(phase, records, catching_up_per_s)
            capacity_per_s = _taken_in_per_s(worker, length)
            too_much.result()
        rates = {f"{share:.0%}": share * capacity_per_s for share in SHARES} | {HALF_CATCHING_UP: 0.5 * catching_up_per_s}
        rows = _after(world.events + first + more, int(sum(rates.values()) * length.seconds * length.rounds))
        for _ in range(length.rounds):
            for share, rate in rates.items():
                found.setdefault(share, []).append(phase(made(rows, rate, length.seconds), rate))
    return Live(capacity_per_s, {share: of_rounds(rates[share], took_s) for share, took_s in found.items()})


def _after(events: int, count: int) -> Iterator[tuple[bytes, bytes]]:
    """Traffic that begins where so many events end; who is active in it, and what is popular, is the same wherever that is."""
    first_ms = traffic.FIRST_MS + int(1_000 * events / traffic.EVENTS_PER_S)
    return traffic.events(traffic.Shape(count, seed=events, first_ms=first_ms, crowd=traffic.Shape.seed))


def _taken_in_per_s(worker: Process, length: Phase) -> float:
    """Events a second that the worker applies in the middle of a phase."""
    sleep(length.settle_s)
    first, started_s = worker.position(), perf_counter()
    sleep(length.capacity_s - 2 * length.settle_s)
    return (worker.position() - first) / (perf_counter() - started_s)


def _has_caught_up(worker: Process) -> bool:
    if not worker.alive:
        raise RuntimeError(f"the worker ended; its log ends with: {worker.text[-500:]}")
    status, page = worker.get("/status")
    if status != 200 or page["role"] != "owner" or not page["lag"] or any(_leaves(page["lag"])):
        return False
    return bool(page["lists"]["unpublished"] < UNPUBLISHED_MAX)


def _leaves(lag: dict[str, dict[str, int]]) -> Iterator[int]:
    for partitions in lag.values():
        yield from partitions.values()


def with_probes(rows: Iterable[tuple[bytes, bytes]], name: str, events_per_s: float) -> Iterator[tuple[str | None, OutRecord]]:
    """Traffic in which ``PROBES_PER_S`` come from users of their own; with the user of each that is a probe."""
    every = max(1, round(events_per_s / PROBES_PER_S))
    for n, (key, value) in enumerate(rows):
        if n % every:
            yield None, OutRecord(EVENTS, key, value)
        else:
            user = f"{name}-{n}"
            yield user, OutRecord(EVENTS, user.encode(), value.replace(key, user.encode()))


@contextlib.contextmanager
def _sending(config: Config) -> Iterator[Callable[[OutRecord], None]]:
    """What sends: confluent-kafka where it is installed, so that the load takes little of the machine that it loads; else our writer."""
    if find_spec("confluent_kafka") is None:
        with contextlib.closing(open_writer(config)) as writer:
            yield writer.send
        return
    from confluent_kafka import Producer  # noqa: PLC0415 - of an optional extra

    producer = Producer({"bootstrap.servers": config.kafka.bootstrap_servers, "partitioner": "murmur2"})

    def send(record: OutRecord) -> None:
        producer.produce(record.topic, record.value, record.key)
        producer.poll(0)  # what was acknowledged makes room

    yield send
    producer.flush(PATIENCE_S)


def _phase(
    config: Config,
    world: World,
    send: Callable[[OutRecord], None],
    records: list[tuple[str | None, OutRecord]],
    rate: float,
    settle_s: float,
) -> NDArray[np.float64]:
    """Seconds that each probe's list took after the probe was due."""
    waiting: deque[tuple[float, str]] = deque()
    sent = threading.Event()
    took_s: list[float] = []
    start_s = perf_counter() + 0.2

    def look() -> None:
        open_: list[tuple[float, str]] = []
        with contextlib.closing(Redis.from_url(world.valkey.url)) as client:
            while not sent.is_set() or waiting or open_:
                while waiting:
                    open_.append(waiting.popleft())
                open_ = _looked(client, config.namespace, open_, took_s, start_s + settle_s)
                sleep(LOOK_S)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    gone = 0
    while gone < len(records):
        due = min(max(0, int((perf_counter() - start_s) * rate)), len(records))
        for n in range(gone, due):
            user, record = records[n]
            send(record)
            if user is not None:
                waiting.append((start_s + n / rate, user))
        gone = due
        sleep(TICK_S)
    sent.set()
    looking.join()
    return np.array(took_s)


def _looked(
    client: Redis, namespace: str, open_: list[tuple[float, str]], took_s: list[float], counted_from_s: float
) -> list[tuple[float, str]]:
    """Those still without a list; how long the others took is noted, but for those due before ``counted_from_s``."""
    if not open_:
        return open_
    with client.pipeline(transaction=False) as pipe:
        for _, user in open_:
            pipe.exists(f"{namespace}:v1:rec:{user}")
        there = pipe.execute()
    now_s = perf_counter()
    over = [bool(found) or now_s - due_s > PATIENCE_S for (due_s, _), found in zip(open_, there, strict=True)]
    took_s.extend(now_s - due_s for (due_s, _), done in zip(open_, over, strict=True) if done and due_s >= counted_from_s)
    return [one for one, done in zip(open_, over, strict=True) if not done]


def main() -> None:
    """Finds what the whole line does at most and what a worker takes in live, and then how late lists are at shares of that."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="on the log, by which the most is found")
    parser.add_argument(
        "--seconds", type=float, default=Phase.seconds, help="of each share; more than the first few, which are not counted"
    )
    parser.add_argument("--rounds", type=int, default=Phase.rounds, help="of all shares")
    options = parser.parse_args()
    length = Phase(options.seconds, options.rounds)
    if length.seconds <= length.settle_s:
        parser.error(
            f"--seconds is {length.seconds:g}, expected more than {length.settle_s:g}: the first {length.settle_s:g} are not counted"
        )
    if length.rounds < 1:
        parser.error(f"--rounds is {length.rounds}, expected at least 1")
    about = machine()
    warm()
    print(f"{about['cpu']}, {about['cores']} cores, load {about['load_before']}")
    with (
        tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder,
        world(Path(folder), traffic.Shape(options.events)) as opened,
    ):
        catching_up_per_s = whole_line(opened, "capacity").events_per_s
        print(f"whole line, catching up: {catching_up_per_s:,.0f} events/s", flush=True)
        found = live(opened, "latency", catching_up_per_s, length)
        print(f"live: {found.events_per_s:,.0f} events/s")
        for share, late in found.by_share.items():
            print(f"{share:>18}: {'ok' if late.is_ok else 'too slow'}, {late.as_json()}")


if __name__ == "__main__":
    main()
