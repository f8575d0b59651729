"""What must be so whenever everything has come to rest: the state is that of the log, and lists are those of the state."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import redis
from chaos.faults import Scene
from chaos.feed import Feed
from chaos.parts import Parts
from chaos.watch import read_versions
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError
from line import wait_until
from reference import ReferenceFold
from streams import Record, differing, fold

from consumers.compose import committed_offsets
from consumers.reader import version_text
from consumers.work import OWNER_TOPICS
from streamer.engine.engine import Engine
from streamer.events.model import DEAD, EVENTS
from streamer.ports import LogError, TopicPartition
from streamer.snapshots import Manifest, read_snapshot

REST_S_MAX = 180.0
LISTS_S_MAX = 90.0
ATTEMPTS = 5
BROKEN = b"{"


class LogCopy:
    """All records of topics, read as they come; by another client each time, whatever became of the broker between."""

    def __init__(self, parts: Parts, topics: tuple[str, ...]) -> None:
        self.records: dict[TopicPartition, list[Record]] = {}
        self.headers: dict[TopicPartition, list[dict[str, bytes]]] = {}
        self._config, self._topics = parts.config, topics
        self._prefix = parts.config.kafka.topic_prefix

    def read(self) -> None:
        """Up to the present end. Tried again where a broker that has just started does not answer."""
        for attempt in range(ATTEMPTS):
            consumer = KafkaConsumer(bootstrap_servers=self._config.kafka.bootstrap_servers, enable_auto_commit=False)
            try:
                self._read(consumer)
            except KafkaError:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                return
            finally:
                consumer.close()

    def _read(self, consumer: KafkaConsumer) -> None:
        places = [
            KafkaPartition(self._prefix + topic, number)
            for topic in self._topics
            for number in sorted(consumer.partitions_for_topic(self._prefix + topic) or ())
        ]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, len(self.records.setdefault(self._at(place), [])))
        ends = consumer.end_offsets(places)
        deadline_s = time.monotonic() + REST_S_MAX
        while any(consumer.position(place) < end for place, end in ends.items()):
            assert time.monotonic() < deadline_s, "the log cannot be read to its end"
            for place, found in consumer.poll(500).items():
                at = self._at(place)
                kept, headers = self.records[at], self.headers.setdefault(at, [])
                for one in found:
                    assert one.offset == len(kept), f"{at} jumps from {len(kept)} to {one.offset}"
                    kept.append(Record(at.topic, at.partition, one.key, one.value, one.timestamp))
                    headers.append(dict(one.headers))

    def _at(self, place: KafkaPartition) -> TopicPartition:
        return TopicPartition(place.topic.removeprefix(self._prefix), place.partition)


@dataclass
class Found:
    """What a check found out."""

    records: int = 0
    applied: int = 0
    counters: dict[str, object] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    acknowledged_and_missing: int = 0
    dead_letters: int = 0
    dead_letters_twice: int = 0
    lists_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def at_rest(scene: Scene) -> None:
    """All that is on the log is applied and committed, by a worker that owns it."""
    parts = scene.parts

    def settled() -> bool:
        owner = parts.owner()
        if owner is None:
            return False
        committed: Counter[str] = Counter()
        try:
            ends, status = parts.line.ends(), owner.status
            for place, at in committed_offsets(parts.config, parts.config.group).items():
                committed[place.topic] += at.next_offset
        except LogError:  # a broker that has just started
            return False
        read = {topic: sum(offsets.values()) for topic, offsets in status.get("offsets", {}).items()}
        return all(read.get(topic, 0) == end == committed[topic] for topic, end in ends.items())

    wait_until(settled, "all records applied and committed", deadline_s=REST_S_MAX)


def check(scene: Scene, feed: Feed, log: LogCopy, dead: LogCopy, *, whole: bool) -> Found:
    """Compares everything; ``whole``: the engine folds the log again too, and every table must be the same bit for bit."""
    parts, found = scene.parts, Found()
    at_rest(scene)
    log.read()
    dead.read()
    parts.archive()
    manifest, records = in_recorded_order(scene, log)
    found.records = len(records)
    sent = sum(len(kept) for kept in log.records.values())
    if len(records) != sent:
        found.faults.append(f"the recorded order has {len(records)} records, the log {sent}")
        found.lost += max(0, sent - len(records))
        found.doubled += max(0, len(records) - sent)
    reference, positions = folded(parts, records)
    _compare_counters(found, manifest, reference)
    on_log = {event_id(record) for record in records if record.topic == EVENTS and record.value != BROKEN}
    found.acknowledged_and_missing = len(set(feed.acknowledged) - on_log)
    if found.acknowledged_and_missing:
        found.faults.append(f"{found.acknowledged_and_missing} acknowledged events are not on the log")
    _check_dead(found, log, dead)
    _check_lists(found, scene, manifest, reference, positions)
    if whole:
        _, tables, _ = read_snapshot(parts.store, manifest.name)
        unlike = differing(fold(Engine(parts.config), records).fold_tables(), tables)
        if unlike:
            found.faults.append(f"tables differ from a fold of the log in the recorded order: {unlike}")
    return found


def in_recorded_order(scene: Scene, log: LogCopy) -> tuple[Manifest, list[Record]]:
    """The committed manifest, and every record in the order in which it was applied, by the chain of its parents."""
    manifests = scene.parts.manifests()
    last = manifest = manifests[scene.committed_name()]
    runs: list[tuple[str, int, int]] = []
    while True:
        runs[:0] = manifest.order
        if manifest.parent is None:
            return last, list(_records(runs, log))
        assert manifest.parent in manifests, f"the manifest {manifest.parent} was never seen"
        manifest = manifests[manifest.parent]


def _records(runs: list[tuple[str, int, int]], log: LogCopy) -> Iterator[Record]:
    next_offset: Counter[TopicPartition] = Counter()
    for topic, number, count in runs:
        at = TopicPartition(topic, number)
        yield from log.records[at][next_offset[at] : next_offset[at] + count]
        next_offset[at] += count


def folded(parts: Parts, records: list[Record]) -> tuple[ReferenceFold, dict[str, int]]:
    """The reference, and for each user the position of his last event that changed his list."""
    reference, positions, before = ReferenceFold(parts.config), {}, 0
    for n, record in enumerate(records):
        reference.take(*record)
        now = sum(count for kind, count in reference.applied.items() if kind != "impression")
        if now != before:
            positions[json.loads(record.value or b"")["user_id"]] = n + 1
            before = now
    return reference, positions


def event_id(record: Record) -> str:
    return str(json.loads(record.value or b"")["event_id"])


def _compare_counters(found: Found, manifest: Manifest, reference: ReferenceFold) -> None:
    found.counters, found.applied = manifest.counters, sum(manifest.counters["applied"].values())
    expected = sum(reference.applied.values())
    found.lost += max(0, expected - found.applied)
    found.doubled += max(0, found.applied - expected)
    if manifest.counters != reference.counters():
        found.faults.append(f"counters are {manifest.counters}, the reference has {reference.counters()}")


def _check_dead(found: Found, log: LogCopy, dead: LogCopy) -> None:
    broken = {
        (at.partition, offset)
        for at, kept in log.records.items()
        for offset, record in enumerate(kept)
        if at.topic == EVENTS and record.value == BROKEN
    }
    letters = [(int(one["partition"]), int(one["offset"])) for kept in dead.headers.values() for one in kept]
    found.dead_letters, found.dead_letters_twice = len(set(letters)), len(letters) - len(set(letters))
    if set(letters) != broken:
        found.faults.append(
            f"{len(broken - set(letters))} broken records have no dead letter, {len(set(letters) - broken)} others have"
        )


def _check_lists(found: Found, scene: Scene, manifest: Manifest, reference: ReferenceFold, positions: dict[str, int]) -> None:
    """Every user with a window has a list that knows his last event; waits until it is so."""
    wanted = {
        user: version_text(manifest.epoch, positions.get(user, 0)) for user, state in reference.users.items() if state.window
    }
    client = redis.Redis.from_url(scene.parts.valkey.url)
    behind: dict[str, tuple[str | None, str]] = {}
    started_s = time.monotonic()
    while True:
        versions = read_versions(client, scene.parts.config.namespace)
        behind = {user: (versions.get(user), want) for user, want in wanted.items() if versions.get(user, "") < want}
        found.lists_s = time.monotonic() - started_s
        if not behind or found.lists_s > LISTS_S_MAX:
            break
        time.sleep(0.5)
    client.close()
    if behind:
        found.faults.append(f"{len(behind)} of {len(wanted)} lists are missing or behind, as {dict(list(behind.items())[:3])}")


TOPICS = OWNER_TOPICS
DEAD_TOPICS = (DEAD,)
