"""Reading the log, stage upon stage: the client's bare poll, our log, our log and decoding; then folding alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from queue import Queue
from time import perf_counter

import msgspec
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from benchmarks.world import World
from consumers.compose import open_log
from consumers.loops import Threads
from consumers.work import Work, decode
from streamer.engine.engine import Engine
from streamer.events.model import EVENTS
from streamer.ports import RecordBatch

POLL_MS = 100
NEVER = 2**31


def per_second(batches: Iterator[int], wanted: int) -> float:
    """Records a second, from the first batch that arrived (not counted: joining and connecting are behind it) to the last."""
    done = first = next(batches)
    started_s = perf_counter()
    while done < wanted:
        done += next(batches)
    return (done - first) / (perf_counter() - started_s)


def bare_poll(world: World, **settings: int) -> float:
    """kafka-python alone: ``KafkaConsumer.poll`` with its defaults (but for ``settings``), nothing done with the records."""
    with contextlib.closing(
        KafkaConsumer(
            bootstrap_servers=world.kafka.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", **settings
        )
    ) as consumer:
        consumer.assign([KafkaPartition(place.topic, place.partition) for place in world.ends])
        return per_second(_counts(consumer), world.events)


def _counts(consumer: KafkaConsumer) -> Iterator[int]:
    while True:
        polled = consumer.poll(timeout_ms=POLL_MS)
        if polled:
            yield sum(len(records) for records in polled.values())


def log_poll(world: World, name: str) -> float:
    """Our log's poll: membership, fencing, positions and batches as columns on top."""
    return _read(world, name, len)


def poll_and_decode(world: World, name: str) -> float:
    """Poll, then JSON to columns: all that the polling thread does."""
    return _read(world, name, lambda batches: decode(batches, {}))


def state_only(world: World, name: str) -> float:
    """Poll and decode on one thread; on another the engine as it is, but that nothing is scored and the head is frozen.

    What is left of the fold is duplicates, lateness, ids, windows, signals and the journal.
    """
    config = world.config(name)
    unscored = msgspec.structs.replace(config.head, judged_first=0, judged_every=NEVER, judged_gap_ms=NEVER)
    engine = Engine(msgspec.structs.replace(config, head=unscored))
    engine.freeze()
    works: Queue[list[Work]] = Queue(maxsize=2)
    with Threads().pool("fold", 1) as folding:
        folded = folding.submit(_fold_until, world.events, works, engine)
        _read(world, name, lambda batches: works.put(decode(batches, {})))
        return folded.result()


def _fold_until(wanted: int, works: Queue[list[Work]], engine: Engine) -> float:
    def counts() -> Iterator[int]:
        while True:
            found = works.get()
            for work in found:
                work.apply(engine)
            if found:
                yield sum(work.records for work in found)

    events_per_s = per_second(counts(), wanted)
    if (applied := sum(engine.counters()["applied"].values())) != wanted:
        raise RuntimeError(f"the state took in {applied} of {wanted} events")
    return events_per_s


def decoded(world: World, name: str) -> list[Work]:
    """The whole log as the pieces of work that polling makes of it."""
    works: list[Work] = []
    _read(world, name, lambda batches: works.extend(decode(batches, {})))
    return works


def fold(world: World, works: list[Work], name: str) -> tuple[float, Engine]:
    """The engine alone, from nothing: events a second, and the engine as it is then."""
    engine = Engine(world.config(name))
    started_s = perf_counter()
    for work in works:
        work.apply(engine)
    return world.events / (perf_counter() - started_s), engine


def _read(world: World, name: str, use: Callable[[list[RecordBatch]], object]) -> float:
    config = world.config(name)
    with contextlib.closing(open_log(config, group=config.group, topics=[EVENTS])) as log:
        while log.poll(POLL_MS, paused=True).generation is None:
            pass
        log.seek(dict.fromkeys(world.ends, 0))

        def counts() -> Iterator[int]:
            while True:
                batches = log.poll(POLL_MS).batches
                use(batches)
                if batches:
                    yield sum(len(batch.offsets) for batch in batches)

        return per_second(counts(), world.events)
