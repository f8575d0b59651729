"""The whole line on a state of a million users and a million items: folded once, kept as a snapshot, from which every run starts."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import traffic
from benchmarks.bounds import MILLION
from benchmarks.whole_line import Run, whole_line
from benchmarks.world import World, fill
from consumers.compose import open_admin, open_snapshots, snapshots_folder
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config
from streamer.engine.columns import Columns, columns_of
from streamer.engine.engine import Engine
from streamer.engine.published import JUDGED_ENTRIES
from streamer.engine.rules import structure_of
from streamer.events.codec import decode_events
from streamer.snapshots import Manifest, snapshot_name, write_snapshot
from streamer.windows.group import NOBODY

PIECE = 20_000
PREPARED = "prepared"


@dataclass(frozen=True)
class Large:
    """A log of its own, beside the other one in the same broker, and how many events the snapshot has applied already."""

    world: World
    applied: int

    def run(self, namespace: str) -> Run:
        """The whole line from the snapshot to the log's end."""
        with started_from_kept(self.world, namespace):
            return whole_line(self.world, namespace, applied_before=self.applied)


def large(opened: World, events: int, entities: int = MILLION) -> Large:
    """Fills topics of its own with traffic over so many users and items, and keeps a state that knows all of them."""
    engine = engine_of(opened.config(PREPARED), entities, entities)
    shape = traffic.Shape(events, entities, entities, seed=11, first_ms=engine.event_ms)
    log = fill(replace(opened, topic_prefix="large."), shape)
    keep(log, engine)
    applied = engine.counters()["applied"]
    assert isinstance(applied, dict)
    return Large(log, sum(applied.values()))


def keep(log: World, engine: Engine) -> None:
    """Keeps a state as the snapshot of an owner who stands at the beginning of every topic."""
    config = log.config(PREPARED)
    with contextlib.closing(open_admin(config)) as admin:
        topic_ids = {topic: info.topic_id for topic, info in admin.topics(OWNER_TOPICS).items()}
        offsets: dict[str, dict[str, int]] = {topic: {} for topic in topic_ids}
        for place in admin.bounds(OWNER_TOPICS):
            offsets[place.topic][str(place.partition)] = 0
    confirm_lists(engine)
    begun = draft(config, engine, topic_ids, offsets)
    write_snapshot(open_snapshots(config), begun, engine.fold_tables(), engine.publisher_tables())


def confirm_lists(engine: Engine) -> None:
    """Every list counts as written: nobody begins with a million of them to catch up on."""
    published = engine.published
    user_T = published.take(published.waiting)
    published.confirm(user_T, np.full((len(user_T), JUDGED_ENTRIES), NOBODY, np.int32), traffic.FIRST_MS)


@contextlib.contextmanager
def started_from_kept(log: World, namespace: str) -> Iterator[None]:
    """What was kept is the newest snapshot of the namespace, without a copy of a byte; all that is there afterwards is removed."""
    prepared, own = (snapshots_folder(log.config(name)) for name in (PREPARED, namespace))
    assert prepared is not None
    assert own is not None
    shutil.copytree(prepared, own, copy_function=os.link)
    try:
        yield
    finally:
        shutil.rmtree(own)


def engine_of(config: Config, users: int, items: int, events: int | None = None) -> Engine:
    """An engine that has seen every user and every item, and then so many events of traffic (default: as many as it took)."""
    engine = Engine(config)
    for values in pieces(users, items, events):
        engine.apply(columns_now(values))
    return engine


def columns_now(values: list[bytes]) -> Columns:
    """Events as they are when each is on the log at its own time."""
    decoded = decode_events(values)
    return columns_of(decoded, decoded.timestamps_ms, 0)


def pieces(users: int, items: int, events: int | None = None) -> Iterator[list[bytes]]:
    """Values of events: every user and every item once, then Zipf-distributed traffic."""
    random = np.random.default_rng(7)
    user_N, item_N = np.arange(max(users, items)) % users, random.permutation(max(users, items)) % items
    values: list[bytes] = []
    for n, (user, item) in enumerate(zip(user_N.tolist(), item_N.tolist(), strict=True)):
        values.append(
            f'{{"type":"click","user_id":"user-{user:08d}","item_id":"item-{item:06d}","timestamp":{traffic.FIRST_MS + n}}}'.encode()
        )
        if len(values) == PIECE:
            yield values
            values = []
    values += [value for _, value in traffic.events(traffic.Shape(events or max(users, items), users, items))]
    for first in range(0, len(values), PIECE):
        yield values[first : first + PIECE]


def draft(config: Config, engine: Engine, topic_ids: Mapping[str, str], offsets: Mapping[str, Mapping[str, int]]) -> Manifest:
    """A manifest without tables, as an owner would write it who stands at those offsets."""
    return Manifest(
        name=snapshot_name(traffic.FIRST_MS, "bench"),
        epoch=1,
        created_ms=traffic.FIRST_MS,
        parent=None,
        topic_ids=dict(topic_ids),
        offsets={topic: dict(places) for topic, places in offsets.items()},
        structural=structure_of(config),
        encoder_fingerprint="",
        versions={},
        head_step=engine.head_step,
        event_ms=engine.event_ms,
        position=0,
        counters=engine.counters(),
        order=(),
        chunk_bytes=config.snapshots.chunk_bytes,
    )
