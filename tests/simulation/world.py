"""A world in which owners live and die: what outlives them, the stream still to come, and what must be so at the end."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from faulty_ports import GROUP, Crash, Life, MemorySnapshots, Plan, WatchedStore, random_plan
from memory_log import TICK_MS, MemoryBroker, MemoryReader
from reference import ReferenceFold
from steps import HandClock
from streams import ALL_KINDS, EVENT_KINDS, Choice, Record, differing, fold, random_choices, records_of, tiny_config

from consumers.audit import Audit
from consumers.fold import PieceFailed
from consumers.measurements import Measurements
from consumers.owner import Owner
from consumers.reader import version_of, version_text
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config, Snapshots
from streamer.engine.columns import Columns
from streamer.engine.engine import Engine
from streamer.events.model import DEAD, EVENTS, ITEMS, ItemDocument
from streamer.ports import LogError, OutRecord
from streamer.snapshots import (
    Manifest,
    Override,
    RecoveryRefused,
    SnapshotDamaged,
    list_snapshots,
    parse_metadata,
    read_manifest,
    read_snapshot,
)

LIVES_MAX = 4
START_S = 1.0
"""That a process takes to start."""
POISON = "poison"
BROKEN = b"{"


class FragileEngine(Engine):
    """An engine that fails at some records, when it has half done them."""

    def apply(self, columns: Columns) -> None:
        super().apply(columns)
        if POISON.encode() in columns.item_text.tobytes():
            raise ZeroDivisionError

    def apply_item(self, document: ItemDocument) -> None:
        super().apply_item(document)
        if document.title == POISON:
            raise IndexError


def config_of() -> Config:
    config = tiny_config(publish_ms=20)
    return Config(
        windows=config.windows,
        signals=config.signals,
        head=config.head,
        ranking=config.ranking,
        snapshots=Snapshots(interval_ms=200, keep=3, chunk_bytes=4_096),
    )


class World:
    """One number makes the stream, the cuts of its polls, whose turn it is, and what goes wrong in each life."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        partitions = self.rng.choice([1, 1, 3])
        kinds = EVENT_KINDS if partitions == 1 and self.rng.random() < 0.5 else ALL_KINDS
        choices = self._reordered(random_choices(seed, self.rng.randint(20, 150), kinds=kinds))
        self.to_come = records_of(choices, partitions=partitions)
        if self.rng.random() < 0.2:
            self._poison()
        self.broker, self.store, self.snapshots = MemoryBroker(partitions=partitions), WatchedStore(), MemorySnapshots()
        self.clock = HandClock(self.to_come[-1].append_ms + 60_000)
        self.override = Override()
        self.happened: Counter[str] = Counter()

    def _reordered(self, choices: list[Choice]) -> list[Choice]:
        """Some neighbours change places."""
        for at in range(1, len(choices)):
            if self.rng.random() < 0.1:
                choices[at - 1], choices[at] = choices[at], choices[at - 1]
        return choices

    def _poison(self) -> None:
        for at, record in enumerate(self.to_come):
            if record.value and record.topic in (EVENTS, ITEMS) and record.value != BROKEN and self.rng.random() < 0.04:
                value = json.loads(record.value)
                if record.topic == ITEMS:
                    value["title"] = POISON
                else:
                    value = {"type": "click", "user_id": value["user_id"], "item_id": POISON, "timestamp": value["timestamp"]}
                self.to_come[at] = record._replace(value=json.dumps(value).encode())

    def run(self) -> None:
        """Lives that a seed disturbs, then one that nothing disturbs."""
        for _ in range(self.rng.randint(1, LIVES_MAX)):
            self.produce(self.rng.randint(0, len(self.to_come)))
            self.live(random_plan(self.rng))
            if self.snapshots.blobs and self.rng.random() < 0.1:
                self.happened["damaged files"] += 1
                self.snapshots.damage(self.rng)
        self.produce(len(self.to_come))
        while not self.live(Plan()):
            assert self.happened["refusals"] < 20, "it refuses to start for ever"

    def produce(self, count: int) -> None:
        for record in self.to_come[:count]:
            self.broker.now_ms = max(self.broker.now_ms, record.append_ms - TICK_MS)
            self.broker.append(OutRecord(record.topic, record.key, record.value))
        del self.to_come[:count]

    def live(self, plan: Plan) -> bool:
        """One process from its start to its end, whatever that is; whether it ended as it should."""
        self.happened["lives"] += 1
        self.clock.advance(START_S)
        life = Life(
            plan, self.broker, self.store, self.snapshots, self.clock, self.rng.randrange(1 << 30), lambda: self.elsewhere(plan)
        )
        owner = Owner(life.ports, config_of(), Measurements(), self.override, bounded=True, loops=life.steps)
        try:
            owner.run(life.stop)
        except RecoveryRefused as refusal:
            self.happened["refusals"] += 1
            self.override = self.answer_to(refusal)
            return False
        except (Crash, OSError, LogError, PieceFailed):
            self.happened["deaths"] += 1
            return False
        else:
            self.override = Override()
            return not plan.disturbs and not life.stop.is_set()
        finally:
            life.bury()
            self.happened += life.met
            self.happened["faults"] += sum(life.met.values()) - life.met["copied"]

    def elsewhere(self, plan: Plan) -> None:
        """What another process does while this one is stalled."""
        self.produce(self.rng.randint(0, len(self.to_come)))
        self.live(replace(random_plan(self.rng), stall=None) if plan.crash else Plan())

    def answer_to(self, refusal: RecoveryRefused) -> Override:
        """What an operator would: the newest snapshot that can be read, else all anew."""
        del refusal
        for manifest in list_snapshots(self.snapshots):
            try:
                read_snapshot(self.snapshots, manifest.name)
            except SnapshotDamaged:
                continue
            return Override(accept_snapshot=manifest.name)
        return Override(from_beginning=True)

    # -- what must be so ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The state is that of the log, as if nothing had happened, and so is what readers get."""
        manifest, records = self.in_recorded_order()
        assert len(records) == sum(len(self.broker.records(topic)) for topic in OWNER_TOPICS)
        reference, last_position = ReferenceFold(config_of()), {}
        for n, record in enumerate(records):
            before = interactions(reference)
            reference.take(*record)
            if interactions(reference) != before:
                last_position[json.loads(record.value or b"")["user_id"]] = n + 1
        assert manifest.counters == reference.counters(), (manifest.counters, reference.counters())
        again = fold(Engine(config_of()), records)
        _, tables, publisher = read_snapshot(self.snapshots, manifest.name)
        assert differing(again.fold_tables(), tables) == []
        self.audit(manifest)
        assert self.store.went_back == []
        for user in reference.forgotten_ms.keys() - reference.users.keys():
            payload = self.store.payloads.get(b"rec:" + user.encode())
            assert payload is None or json.loads(payload)["items"] == []
            assert not any(user.encode() in bytes(table.tobytes()) for table in (*tables.values(), *publisher.values())), user
        for user in reference.users:
            payload = self.store.payloads.get(b"rec:" + user.encode())
            assert payload is not None, user
            wanted = version_text(manifest.epoch, last_position.get(user, 0))
            assert version_of(payload).decode() >= wanted, (user, payload, wanted)
        assert self.dead_places() == self.unusable_places()

    def audit(self, last: Manifest) -> None:
        """An audit from any snapshot of the line to the last finds them equal."""
        everything = MemorySnapshots(self.snapshots.archive)
        line = [last]
        while line[-1].parent is not None:
            line.append(read_manifest(everything, line[-1].parent))
        topic_ids = {name: topic.topic_id for name, topic in self.broker.topics.items()}
        names = self.rng.choice(line).name, last.name
        verdict = Audit(everything, MemoryReader(self.broker), config_of(), names, topic_ids).run()
        assert verdict.equal, (names, verdict)
        self.happened["records audited"] += verdict.records

    def in_recorded_order(self) -> tuple[Manifest, list[Record]]:
        """The last manifest, and every record in the order in which it was applied, by the chain of committed snapshots."""
        committed = self.broker.groups[GROUP].committed
        names = {parse_metadata(at.metadata) for at in committed.values()}
        assert len(names) == 1
        everything = MemorySnapshots(self.snapshots.archive)
        manifests = {manifest.name: manifest for manifest in list_snapshots(everything)}
        last = manifest = manifests[names.pop() or ""]
        runs: list[tuple[str, int, int]] = []
        while True:
            runs[:0] = manifest.order
            if manifest.parent is None:
                return last, list(self._records(runs))
            manifest = manifests[manifest.parent]

    def _records(self, runs: Sequence[tuple[str, int, int]]) -> Iterator[Record]:
        next_offset: Counter[tuple[str, int]] = Counter()
        for topic, number, count in runs:
            partition = self.broker.topics[topic].partitions[number]
            first = next_offset[topic, number]
            next_offset[topic, number] += count
            for at in range(first, first + count):
                record = partition.records[at]
                value = BROKEN if is_poison(record) else record.value
                yield Record(topic, number, record.key or b"", value, partition.append_ms[at])

    def dead_places(self) -> set[tuple[str, int, int]]:
        headers = [dict(record.headers) for record in self.broker.records(DEAD)]
        names = {topic.topic_id.encode(): name for name, topic in self.broker.topics.items()}
        return {(names[header["topic_id"]], int(header["partition"]), int(header["offset"])) for header in headers}

    def unusable_places(self) -> set[tuple[str, int, int]]:
        return {
            (topic, number, offset)
            for topic in (EVENTS, ITEMS)
            for number, partition in enumerate(self.broker.topics[topic].partitions)
            for offset, record in enumerate(partition.records)
            if record.value == BROKEN or is_poison(record)
        }


def interactions(reference: ReferenceFold) -> int:
    """Applied events that change a user's list."""
    return sum(count for kind, count in reference.applied.items() if kind != "impression")


def is_poison(record: OutRecord) -> bool:
    return bool(record.value) and f'"{POISON}"'.encode() in (record.value or b"")
