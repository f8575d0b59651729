"""Owners that die, fail and lose their partitions wherever a seed says, over one log: in the end all is as if nothing had happened.

One number makes the stream, the cuts of its polls and what goes wrong in each life. A run that fails names its number:

    STREAMER_SIMULATION_SEED=1234 python -m pytest tests/simulation
"""

import json
import logging
import os
import random
import threading
import time

from faulty_ports import GROUP, Clock, Crash, Life, MemorySnapshots, Plan, WatchedStore, killed_lives
from memory_log import TICK_MS, MemoryBroker
from reference import ReferenceFold
from streams import EVENT_KINDS, KINDS, Record, differing, fold, random_choices, records_of, tiny_config

from consumers.measurements import Measurements
from consumers.owner import Owner
from consumers.reader import version_of
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Snapshots
from streamer.engine.engine import Engine
from streamer.events.model import DEAD, EVENTS
from streamer.ports import LogError, OutRecord
from streamer.snapshots import Override, list_snapshots, parse_metadata, read_snapshot

logger = logging.getLogger(__name__)

SEED = os.environ.get("STREAMER_SIMULATION_SEED")
BUDGET_S = 40.0
LIVES_MAX = 5
RUN_S_MAX = 60.0


def config_of():
    config = tiny_config(publish_ms=20)
    return type(config)(
        windows=config.windows,
        signals=config.signals,
        head=config.head,
        ranking=config.ranking,
        snapshots=Snapshots(interval_ms=200, keep=10_000, chunk_bytes=4_096),
    )


class World:
    """What outlives every process, and the stream still to come."""

    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random(seed)
        partitions = self.rng.choice([1, 1, 3])
        kinds = EVENT_KINDS if partitions == 1 and self.rng.random() < 0.5 else KINDS
        choices = reordered(random_choices(seed, self.rng.randint(50, 300), kinds=kinds), self.rng)
        self.to_come = records_of(choices, partitions=partitions)
        self.broker, self.store, self.snapshots = MemoryBroker(partitions=partitions), WatchedStore(), MemorySnapshots()
        self.clock = Clock(self.to_come[-1].append_ms + 60_000)

    def produce(self, count):
        for record in self.to_come[:count]:
            self.broker.now_ms = max(self.broker.now_ms, record.append_ms - TICK_MS)
            self.broker.append(OutRecord(record.topic, record.key, record.value))
        del self.to_come[:count]

    def live(self, plan, number):
        """One process from its start to its end, whatever that is."""
        life = Life(plan, self.broker, self.store, self.snapshots, self.clock, self.seed + number)
        owner = Owner(life.ports, config_of(), Measurements(), Override(), bounded=True)
        failure = []
        thread = threading.Thread(target=ended, args=(owner, failure))
        thread.start()
        thread.join(RUN_S_MAX)
        assert not thread.is_alive(), "the owner hangs"
        life.bury()
        return failure

    def order(self):
        """Every record in the order in which it was applied, by the chain of committed snapshots, and the last manifest."""
        committed = self.broker.groups[GROUP].committed
        names = {parse_metadata(at.metadata) for at in committed.values()}
        assert len(names) == 1
        manifests = {manifest.name: manifest for manifest in list_snapshots(self.snapshots)}
        last = manifest = manifests[names.pop()]
        runs = []
        while manifest is not None:
            runs[:0] = manifest.order
            manifest = manifests[manifest.parent] if manifest.parent else None
        return last, self.in_order(runs)

    def in_order(self, runs):
        next_offset, records = {}, []
        for topic, number, count in runs:
            partition = self.broker.topics[topic].partitions[number]
            first = next_offset.get((topic, number), 0)
            next_offset[topic, number] = first + count
            for at in range(first, first + count):
                record = partition.records[at]
                records.append(Record(topic, number, record.key, record.value, partition.append_ms[at]))
        return records


def ended(owner, failure):
    try:
        owner.run(threading.Event())
    except Exception as error:  # noqa: BLE001 - whatever ends it, the simulation judges
        failure.append(error)


def reordered(choices, rng):
    """Some neighbours change places."""
    for at in range(1, len(choices)):
        if rng.random() < 0.1:
            choices[at - 1], choices[at] = choices[at], choices[at - 1]
    return choices


def simulate(seed):
    world = World(seed)
    plans = killed_lives(seed, LIVES_MAX)
    for number, plan in enumerate(plans):
        world.produce(world.rng.randint(0, len(world.to_come)))
        failure = world.live(plan, number)
        assert all(isinstance(error, Crash | OSError | LogError) for error in failure), failure
    world.produce(len(world.to_come))
    assert world.live(Plan(), len(plans)) == []
    check(world)
    return len(plans) + 1


def check(world):
    manifest, records = world.order()
    everything = [record for topic in OWNER_TOPICS for record in world.broker.records(topic)]
    assert len(records) == len(everything)
    reference = ReferenceFold(config_of())
    last_position = {}
    for n, record in enumerate(records):
        before = interactions(reference)
        reference.take(*record)
        if interactions(reference) != before:
            last_position[json.loads(record.value)["user_id"]] = n + 1
    assert manifest.counters == reference.counters()

    again = fold(Engine(config_of()), records)
    _, tables, _ = read_snapshot(world.snapshots, manifest.name)
    assert differing(again.fold_tables(), tables) == []

    assert world.store.went_back == []
    for user, state in reference.users.items():
        payload = world.store.payloads[b"rec:" + user.encode()]
        assert int(version_of(payload).split(b"-")[1]) >= last_position.get(user, 0)  # one who was only forgotten has none
        if not state.window:
            assert json.loads(payload)["items"] == []
    assert dead_places(world) == broken_places(world)


def interactions(reference):
    """Applied events that change a user's list."""
    return sum(count for kind, count in reference.applied.items() if kind != "impression")


def dead_places(world):
    headers = [dict(record.headers) for record in world.broker.records(DEAD)]
    return {(int(header["partition"]), int(header["offset"])) for header in headers}


def broken_places(world):
    return {
        (number, offset)
        for number, partition in enumerate(world.broker.topics[EVENTS].partitions)
        for offset, record in enumerate(partition.records)
        if record.value == b"{"
    }


def test_whatever_dies_or_fails_the_state_is_that_of_the_log_and_every_user_has_a_list():
    seeds = [int(SEED)] if SEED else range(random.SystemRandom().randrange(10**9), 10**12)
    started_s, runs, lives = time.monotonic(), 0, 0
    for seed in seeds:
        try:
            lives += simulate(seed)
        except BaseException as error:
            error.add_note(f"simulation {seed}: run it again with STREAMER_SIMULATION_SEED={seed}")
            raise
        runs += 1
        if time.monotonic() - started_s > BUDGET_S:
            break
    logger.info("%d runs of %d lives in %.0f s", runs, lives, time.monotonic() - started_s)
    assert runs > 0
