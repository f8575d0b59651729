"""Whether ``streamer backtest --served`` tells what readers get: a slice of a recording through the real line, beside the model.

    python -m benchmarks.served_slice --days 14 --speed 1800

Kafka, Valkey and one worker a period of the sweep, all reading one topic. What happened before the slice is sent first, as
fast as lists keep up, and its lists are waited for; the slice is sent so many times faster than it happened, and every wall-clock setting that shapes
lists is divided by the same number. Before each event is sent its user's list is read from Valkey and judged by the event.

The line takes some milliseconds from an event to its list, which nothing divides: at speed S they are S times as long in event time.
They are told from the versions of the lists read, and the model is asked with these delays and without.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from redis import Redis

from benchmarks.deskdrop import deskdrop, stream_of
from benchmarks.served_model import Model, Slice, as_served, rank_in, slice_of
from consumers.compose import open_writer
from producers.formats import Recorded, RecordingError
from streamer.config import tree
from streamer.config.tree import Config
from streamer.embedded import ValkeyProcess
from streamer.evaluate.engines import run_engine
from streamer.evaluate.metrics import hit, ndcg
from streamer.evaluate.stream import Stream
from streamer.events.model import EVENTS
from streamer.ports import LogWriter, OutRecord

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kafka_server import KafkaServer
from line import Line, Process, line_settings

WARM_S = 120
"""Added to the lists' time to live: those of the history are written before the slice begins."""
NEVER_MS = 10**10
HISTORY_PER_S = 400.0
"""Events of the history are sent so fast: a line keeps up with its lists, so that each is as old as its user's last visit."""
POPULAR_AGE_S = 3.0
"""Mean age of the popular list in a store: rendered once a second, written every five."""
QUANTILES = 10
AGREES = 0.02


class Plan(NamedTuple):
    """The slice, how many times faster than it happened it is sent, and the periods of the sweep in ms of event time."""

    first_day: float = 70.0
    days: float = 14.0
    speed: float = 1_800.0
    periods_ms: tuple[int | None, ...] = (600_000, None)


class Read(NamedTuple):
    """What a reader found just before he sent an event."""

    payload: bytes | None
    personal: bool


class Sent(NamedTuple):
    """When an event was sent, by the monotonic clock, and how long after its time."""

    at_s: float
    late_s: float


@dataclass(frozen=True)
class Found:
    """One period of the sweep: HR@10 and NDCG@10 of the line and of the models, over ``events``."""

    period: str
    events: int
    popular: float
    """Share of events whose user had no list of his own."""
    delay_ms: float
    """Wall clock, from sending an event to its list, the median."""
    line: tuple[float, float]
    model: tuple[float, float]
    """With the line's delays."""
    prompt: tuple[float, float]
    """Without delay."""
    same: float
    """Share of events at which line and model both hit or both miss."""

    @property
    def apart(self) -> float:
        """By how much the line's HR@10 differs from the model's, as a share of it."""
        return self.line[0] / self.model[0] - 1.0

    def in_words(self) -> str:
        """One line of the table."""
        return (
            f"{self.period:>9s} {self.events:7d} {self.popular:8.3f} {self.delay_ms:9.0f}   {self.line[0]:.4f} / {self.line[1]:.4f}   "
            f"{self.model[0]:.4f} / {self.model[1]:.4f}   {self.apart:+7.2%} {self.same:8.3f}   {self.prompt[0]:.4f} / {self.prompt[1]:.4f}"
        )


TITLE = (
    f"{'sweep s':>9s} {'events':>7s} {'popular':>8s} {'delay ms':>9s}   {'line HR / NDCG':15s}   {'model, delayed':15s}   "
    f"{'apart':>7s} {'same':>8s}   {'model, prompt':15s}"
)


def settings_of(folder: Path, kafka: str, valkey: str, plan: Plan, period_ms: int | None) -> dict[str, str]:
    """A worker's settings, its clock-bound ones divided by the speed; snapshots, sessions and timeouts have no part in lists."""
    shipped = Config()
    return line_settings(folder, "kafka") | {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "STREAMER_KAFKA__SESSION_TIMEOUT_MS": str(shipped.kafka.session_timeout_ms),
        "STREAMER_REDIS__URL": valkey,
        "STREAMER_REDIS__TTL_S": str(WARM_S + round(shipped.redis.ttl_s / plan.speed)),
        "STREAMER_SNAPSHOTS__INTERVAL_MS": str(shipped.snapshots.interval_ms),
        "STREAMER_RANKING__PUBLISH_MS": str(round(shipped.ranking.publish_ms / plan.speed)),
        "STREAMER_RANKING__REFRESH_MS_MAX": str(NEVER_MS if period_ms is None else round(period_ms / plan.speed)),
        "STREAMER_RANKING__SWEEP_USERS_PER_S": str(round(shipped.ranking.sweep_users_per_s * plan.speed)),
    }


class Shelf:
    """A worker, and its lists as a reader sees them."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.line = Line(settings)
        self.worker: Process | None = None
        self._prefix = f"{settings['STREAMER_NAMESPACE']}:v1:"
        self._client: Any = Redis.from_url(settings["STREAMER_REDIS__URL"])
        self.reads: list[Read] = []

    def start(self) -> None:
        """Starts the worker; returns once it owns the log."""
        self.worker = self.line.start("worker")
        self.worker.wait_role("owner")

    def read(self, user: bytes) -> None:
        """Notes the list that this user finds now."""
        own, popular = self._client.mget(f"{self._prefix}rec:{user.decode()}", f"{self._prefix}popular")
        self.reads.append(Read(own or popular, bool(own)))

    def wait_for(self, history: Sequence[Recorded]) -> None:
        """Until every event of the history is in its user's list."""
        assert self.worker is not None
        self.worker.wait_applied(len(history))
        last = {record.key.decode(): n for n, record in enumerate(history) if record.key}
        self.worker.wait(lambda: self._are_new(last), "lists of the history")

    def _are_new(self, last: dict[str, int]) -> bool:
        users = list(last)
        payloads = self._client.mget([f"{self._prefix}rec:{user}" for user in users])
        return all(payload and position_of(payload) > last[user] for user, payload in zip(users, payloads, strict=True))

    def close(self) -> None:
        """Ends the worker."""
        self.line.close()
        self._client.close()


def position_of(payload: bytes) -> int:
    """How many records the list knows of."""
    return int(msgspec.json.decode(payload)["version"].split("-")[1])


def play(
    kafka: str, valkey: str, folder: Path, records: list[Recorded], judged: Slice, plan: Plan
) -> tuple[list[Shelf], list[Sent]]:
    """Sends the history, then the slice at its speed; returns what readers found, by period, and when each event was sent."""
    stream = stream_of(records)
    start, stop = (int(stream.first_G1[group]) for group in (judged.start, judged.stop))
    with contextlib.ExitStack() as stack:
        first = settings_of(folder, kafka, valkey, plan, plan.periods_ms[0])
        shelves = [Shelf(first)]
        for period_ms in plan.periods_ms[1:]:
            topics = {"STREAMER_KAFKA__TOPIC_PREFIX": first["STREAMER_KAFKA__TOPIC_PREFIX"]}
            shelves.append(Shelf(settings_of(folder, kafka, valkey, plan, period_ms) | topics))
        for shelf in shelves:
            stack.callback(shelf.close)
        shelves[0].line.create_topics()
        for shelf in shelves:
            shelf.start()
        writer = stack.enter_context(contextlib.closing(open_writer(shelves[0].line.config)))
        send_history(writer, records[:start])
        for shelf in shelves:
            shelf.wait_for(records[:start])
        sent = send_slice(writer, records[start:stop], judged.start_ms, plan.speed, shelves)
    return shelves, sent


def send_history(writer: LogWriter, records: list[Recorded]) -> None:
    """All records at HISTORY_PER_S."""
    pause = threading.Event()
    started_s = time.monotonic()
    for n, record in enumerate(records):
        pause.wait(max(0.0, started_s + n / HISTORY_PER_S - time.monotonic()))
        writer.send(OutRecord(EVENTS, record.key, record.value))


def send_slice(writer: LogWriter, records: list[Recorded], start_ms: int, speed: float, shelves: list[Shelf]) -> list[Sent]:
    """Each record at its time, after its user has read his lists."""
    pause = threading.Event()
    started_s = time.monotonic()
    sent: list[Sent] = []
    for record in records:
        assert record.timestamp_ms is not None
        assert record.key is not None
        due_s = started_s + (record.timestamp_ms - start_ms) / 1_000 / speed
        left_s = due_s - time.monotonic()
        if left_s > 0:
            pause.wait(left_s)
        for shelf in shelves:
            shelf.read(record.key)
        now_s = time.monotonic()
        writer.send(OutRecord(EVENTS, record.key, record.value))
        sent.append(Sent(now_s, now_s - due_s))
    return sent


def delays_of(records: list[Recorded], start: int, reads: list[Read], sent: list[Sent]) -> list[float]:
    """Seconds from sending an event to its list: QUANTILES equally likely values.

    A read tells only whether the user's event before was in his list by then. The share of lists that are there after so long is
    the rising step function nearest to that (Ayer et al. 1955).
    """
    last: dict[bytes, int] = {}
    gap_s: list[float] = []
    knew: list[bool] = []
    for n, (read, one) in enumerate(zip(reads, sent, strict=True)):
        user = records[start + n].key or b""
        if user in last and read.payload and read.personal:
            gap_s.append(one.at_s - sent[last[user]].at_s)
            knew.append(position_of(read.payload) > start + last[user])
        last[user] = n
    order = np.argsort(gap_s)
    share_N = rising(np.array(knew, np.float64)[order])
    wanted_Q = (np.arange(QUANTILES) + 0.5) / QUANTILES
    places_Q = np.minimum(np.searchsorted(share_N, wanted_Q), len(order) - 1)
    return np.array(gap_s)[order][places_Q].tolist()


def rising(value_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rising sequence nearest to this one by least squares: neighbours that fall are pooled.

    >>> rising(np.array([0.0, 1.0, 0.0, 1.0])).tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    pools: list[tuple[float, int]] = []
    for value in value_N.tolist():
        total, count = value, 1
        while pools and pools[-1][0] * count >= total * pools[-1][1]:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return np.repeat([total / count for total, count in pools], [count for _, count in pools])


def ranks_of(records: list[Recorded], start: int, reads: list[Read]) -> NDArray[np.float64]:
    """The rank of each event's item in the list read."""
    ranks = []
    for record, read in zip(records[start : start + len(reads)], reads, strict=True):
        listed = [one["item_id"] for one in msgspec.json.decode(read.payload)["items"]] if read.payload else []
        ranks.append(rank_in(listed, msgspec.json.decode(record.value)["item_id"]))
    return np.array(ranks)


def measure(kafka: str, valkey: str, folder: Path, records: list[Recorded], plan: Plan) -> list[Found]:
    """The line and the models, by period of the sweep."""
    stream = stream_of(records)
    judged = slice_of(stream, plan.first_day, plan.days)
    shelves, sent = play(kafka, valkey, folder, records, judged, plan)
    _say(
        f"sent; the latest {max(one.late_s for one in sent) * 1_000:.0f} ms after its time, half within {np.median([one.late_s for one in sent]) * 1_000:.1f} ms"
    )
    start = int(stream.first_G1[judged.start])
    popular_ms = round(POPULAR_AGE_S * 1_000 * plan.speed)
    delays_s = [delays_of(records, start, shelf.reads, sent) for shelf in shelves]
    models = [
        Model(period_ms, round(delay_s * 1_000 * plan.speed), popular_ms)
        for period_ms, quantiles_s in zip(plan.periods_ms, delays_s, strict=True)
        for delay_s in quantiles_s
    ]
    rank_MN = as_served(stream, Config(), judged, [*models, *map(Model, plan.periods_ms)])
    return [
        _found(
            plan.periods_ms[n],
            shelf.reads,
            float(np.median(delays_s[n])),
            ranks_of(records, start, shelf.reads),
            np.array(rank_MN[n * QUANTILES : (n + 1) * QUANTILES]),
            rank_MN[len(models) + n],
        )
        for n, shelf in enumerate(shelves)
    ]


def _found(
    period_ms: int | None,
    reads: list[Read],
    delay_s: float,
    line_N: NDArray[np.float64],
    model_QN: NDArray[np.float64],
    prompt_N: NDArray[np.float64],
) -> Found:
    return Found(
        period="off" if period_ms is None else f"{period_ms / 1_000:g}",
        events=len(line_N),
        popular=sum(not read.personal for read in reads) / len(reads),
        delay_ms=1_000 * delay_s,
        line=_quality(line_N),
        model=_quality(model_QN),
        prompt=_quality(prompt_N),
        same=float((hit(line_N) == hit(model_QN)).mean()),
    )


def _quality(rank_N: NDArray[np.float64]) -> tuple[float, float]:
    return float(hit(rank_N).mean()), float(ndcg(rank_N).mean())


def backtested(stream: Stream, judged: Slice, periods_ms: tuple[int | None, ...]) -> dict[str, tuple[float, float]]:
    """What ``streamer backtest --served`` says of the slice, by period, and of fresh lists; no list expires, as none does in the line."""
    config = Config(redis=tree.Redis(ttl_s=NEVER_MS))
    run = run_engine("streamer", stream, config, lambda _: None, served_ms=periods_ms)
    group_M = stream.group_N[stream.event_M]
    chosen_M = (group_M >= judged.start) & (group_M < judged.stop)
    return {name: _quality(rank_M[chosen_M]) for name, rank_M in {**run.served, "fresh": run.rank_M}.items()}


def main() -> int:
    """Plays the slice; prints a table. Exit status 1 where line and model differ by more than 2 %, or the recording is missing."""
    options = _options()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    periods = tuple(None if word == "off" else round(1_000 * float(word)) for word in options.sweeps)
    plan = Plan(options.first_day, options.days, options.speed, periods)
    try:
        records = deskdrop(options.recordings)
    except RecordingError as error:
        _say(f"served_slice: {error}")
        return 1
    stream = stream_of(records)
    judged = slice_of(stream, plan.first_day, plan.days)
    stop = int(stream.first_G1[judged.stop])
    _say(f"{stop} events, the last {plan.days:g} days of them in {plan.days * 86_400 / plan.speed:.0f} s")
    with tempfile.TemporaryDirectory(prefix="streamer-served-") as folder, contextlib.ExitStack() as stack:
        kafka = KafkaServer(Path(folder) / "kafka", for_long=True)
        kafka.start()
        stack.callback(kafka.stop)
        valkey = stack.enter_context(contextlib.closing(ValkeyProcess(Path(folder) / "valkey")))
        found = measure(kafka.bootstrap, valkey.url, Path(folder), records[:stop], plan)
    print(TITLE)
    for one in found:
        print(one.in_words())
    for name, (hits, gain) in backtested(stream_of(records[:stop]), judged, periods).items():
        print(f"streamer backtest --served, the same slice, {name}: {hits:.4f} / {gain:.4f}")
    return 0 if all(abs(one.apart) <= AGREES for one in found) else 1


def _options() -> argparse.Namespace:
    shipped = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served_slice", description=__doc__.splitlines()[0])
    parser.add_argument("--first-day", type=float, default=shipped.first_day, help="days after the recording's first event")
    parser.add_argument("--days", type=float, default=shipped.days)
    parser.add_argument("--speed", type=float, default=shipped.speed, help="seconds of the recording a second")
    parser.add_argument("--sweeps", nargs="+", default=["600", "off"], metavar="SECONDS|off", help="periods, in event time")
    parser.add_argument("--recordings", type=Path, metavar="FOLDER", help="where deskdrop/ is")
    return parser.parse_args()


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
