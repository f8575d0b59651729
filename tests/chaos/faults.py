"""Faults, one function a kind, and the plan that a seed draws from them."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import redis
from chaos.parts import Parts, Worker
from chaos.watch import Watch
from kafka import KafkaAdminClient, KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as KafkaPartition
from kafka.errors import KafkaError
from line import wait_until

from consumers.compose import committed_offsets
from streamer.events.model import EVENTS
from streamer.snapshots import parse_metadata

TAKEOVER_S_MAX = 120.0
REFUSAL_S_MAX = 90.0
COPY_AGE_S = 4.0
PARTITIONS_MAX = 12


class Fault(NamedTuple):
    """One that is planned: after ``rest_s`` of peace, with what the seed drew for it."""

    kind: str
    rest_s: float
    seconds: float
    chance: float


class Scene:
    """What faults act on, and what they find out."""

    def __init__(self, parts: Parts, watch: Watch) -> None:
        self.parts = parts
        self.watch = watch
        self.takeovers_s: list[float] = []
        self.ends_s: list[float] = []
        self.outage_s = {"kafka": 0.0, "redis": 0.0, "snapshots": 0.0}
        self.kills = {"worker": 0, "kafka": 0, "redis": 0}
        self.refused_starts: list[str] = []

    # -- help ---------------------------------------------------------------------------------------------------------------

    def second(self) -> None:
        """Two workers stand again."""
        while len(self.parts.workers) < 2:
            self.parts.start()

    def wait_takeover(self, since_s: float, gone: Worker | None) -> None:
        """Until another than ``gone`` owns the log and has applied a record since."""
        seen: dict[tuple[str, int], int] = {}

        def applied() -> bool:
            owner = self.parts.owner()
            if owner is None or owner is gone:
                return False
            status = owner.status
            at = sum(sum(offsets.values()) for offsets in status.get("offsets", {}).values())
            return status.get("role") == "owner" and at > seen.setdefault((owner.name, status["generation"]), at)

        wait_until(applied, "another owner's first record", deadline_s=TAKEOVER_S_MAX)
        self.takeovers_s.append(time.monotonic() - since_s)

    @contextlib.contextmanager
    def outage(self, what: str) -> Iterator[None]:
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.outage_s[what] += time.monotonic() - started_s

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.parts.valkey.url)

    def everyone_gone(self) -> None:
        """Both workers are killed, and the group knows it."""
        for worker in list(self.parts.workers):
            worker.kill()
            self.parts.forget(worker)
            self.kills["worker"] += 1
        self.parts.archive()

    def committed_name(self) -> str:
        """The snapshot that the group's offsets name. Raises LogError where the log is away, AssertionError where it is not one."""
        names = {parse_metadata(at.metadata) for at in committed_offsets(self.parts.config, self.parts.config.group).values()}
        assert len(names) == 1, names
        name = names.pop()
        assert name is not None
        return name

    def refused_then(self, flag: str, *arguments: str) -> None:
        """A start is refused, and what it says names ``flag``; with it a worker starts."""
        started_s = time.monotonic()
        worker = self.parts.start()
        worker.disturbed = True
        status = worker.process.end(deadline_s=REFUSAL_S_MAX)
        self.parts.forget(worker)
        text = worker.process.text
        assert status != 0, f"a start that should be refused ended with 0:\n{text[-2000:]}"
        assert flag in text, f"the refusal does not name {flag}:\n{text[-2000:]}"
        self.refused_starts.append(text.strip().splitlines()[-1][:300])
        self.parts.start(*arguments)
        self.wait_takeover(started_s, None)
        self.takeovers_s.pop()  # an operator's time is none of ours
        self.second()


# -- kinds ------------------------------------------------------------------------------------------------------------------


def kill_owner(scene: Scene, fault: Fault) -> None:
    """SIGKILL; another worker is started a moment later."""
    del fault
    owner = scene.parts.wait_owner()
    since_s = time.monotonic()
    owner.kill()
    scene.kills["worker"] += 1
    scene.parts.forget(owner)
    scene.wait_takeover(since_s, owner)
    scene.second()


def kill_standby(scene: Scene, fault: Fault) -> None:
    del fault
    standby = scene.parts.standby(scene.parts.wait_owner())
    if standby is not None:
        standby.kill()
        scene.kills["worker"] += 1
        scene.parts.forget(standby)
    scene.second()


def stall_owner(scene: Scene, fault: Fault) -> None:
    """SIGSTOP for 1 to 25 s; a zombie comes back and must not harm."""
    owner = scene.parts.wait_owner()
    since_s = time.monotonic()
    owner.stall()
    try:
        if fault.seconds > 12:
            scene.wait_takeover(since_s, owner)
        time.sleep(max(0.0, fault.seconds - (time.monotonic() - since_s)))
    finally:
        owner.go_on()
    scene.parts.wait_owner()


def stop_worker(scene: Scene, fault: Fault) -> None:
    """SIGTERM to the owner or the standby, and another in its place."""
    owner = scene.parts.wait_owner()
    chosen = owner if fault.chance < 0.7 else scene.parts.standby(owner) or owner
    since_s = time.monotonic()
    scene.ends_s.append(chosen.terminate())
    scene.parts.forget(chosen)
    scene.second()
    if chosen is owner:
        scene.wait_takeover(since_s, owner)


def flush_redis(scene: Scene, fault: Fault) -> None:
    del fault
    with scene.watch.lists_lock:
        scene.redis.flushall()
        scene.watch.wiped()


def restart_redis(scene: Scene, fault: Fault) -> None:
    """SIGKILL, some seconds of nothing, then the same server, with its data or without."""
    with scene.outage("redis"), scene.watch.lists_lock:
        scene.kills["redis"] += 1
        scene.parts.kill_valkey()
        time.sleep(fault.seconds / 3)
        if fault.chance < 0.5:
            scene.parts.empty_valkey_folder()
            scene.watch.wiped()
        scene.parts.valkey.ensure()


def refuse_writes(scene: Scene, fault: Fault) -> None:
    with scene.outage("redis"):
        scene.redis.config_set("min-replicas-to-write", 1)
        time.sleep(fault.seconds / 2)
        scene.redis.config_set("min-replicas-to-write", 0)


def fill_redis(scene: Scene, fault: Fault) -> None:
    with scene.outage("redis"):
        scene.redis.config_set("maxmemory", 1)
        time.sleep(fault.seconds / 2)
        scene.redis.config_set("maxmemory", 0)


def fail_redis_over(scene: Scene, fault: Fault) -> None:
    """An older copy of the store takes its place: the last writes are gone, and nobody is told."""
    with scene.watch.lists_lock:
        scene.parts.copy_valkey()
    time.sleep(COPY_AGE_S + fault.seconds / 3)
    with scene.watch.lists_lock:
        scene.kills["redis"] += 1
        scene.parts.fail_over()
        scene.watch.wiped()


def restart_kafka(scene: Scene, fault: Fault) -> None:
    with scene.outage("kafka"):
        scene.kills["kafka"] += 1
        scene.parts.broker.kill()
        time.sleep(fault.seconds / 2)
        scene.parts.broker.start()
    scene.parts.wait_owner()


def stall_kafka(scene: Scene, fault: Fault) -> None:
    with scene.outage("kafka"):
        scene.parts.broker.suspend()
        time.sleep(max(5.0, min(15.0, fault.seconds)))
        scene.parts.broker.resume()
    scene.parts.wait_owner()


def lock_snapshots(scene: Scene, fault: Fault) -> None:
    """The folder is gone for a while; nobody who starts meanwhile would find his state."""
    scene.parts.wait_owner()
    with scene.outage("snapshots"), scene.parts.snapshots_away():
        time.sleep(fault.seconds / 2)
    scene.parts.wait_owner()


def fill_folder(scene: Scene, fault: Fault) -> None:
    scene.parts.wait_owner()
    with scene.outage("snapshots"), scene.parts.folder_full():
        time.sleep(fault.seconds / 2)
    scene.parts.wait_owner()


def tear_snapshot(scene: Scene, fault: Fault) -> None:
    """Both are killed, and the committed manifest is cut: the start is refused until somebody names an older one."""
    scene.parts.wait_owner()
    scene.everyone_gone()
    name = scene.committed_name()
    files = scene.parts.manifest_files()
    torn = next(path for path in files if path.name.startswith(name))
    older = [path.name.removesuffix(".json") for path in files if path.name < torn.name]
    torn.write_bytes(torn.read_bytes()[: int(torn.stat().st_size * fault.chance)])
    scene.refused_then("--accept-snapshot", "--accept-snapshot", older[-1])


def meddle(scene: Scene, fault: Fault) -> None:
    """A stranger moves the committed offsets while the group is empty: refused at start, with the flag named."""
    del fault
    scene.parts.wait_owner()
    scene.everyone_gone()
    name = scene.committed_name()
    config = scene.parts.config
    at = KafkaPartition(f"{config.kafka.topic_prefix}events", 0)

    def moved() -> bool:
        with contextlib.closing(
            KafkaConsumer(bootstrap_servers=scene.parts.broker.bootstrap, group_id=config.group, enable_auto_commit=False)
        ) as stranger:
            stranger.assign([at])
            try:
                stranger.commit({at: OffsetAndMetadata(1, "", -1)})
            except KafkaError:  # the group does not know yet that its members are dead
                return False
        return True

    wait_until(moved, "the group empty, so that a stranger may commit", deadline_s=60)
    scene.refused_then("--accept-snapshot", "--accept-snapshot", name)


def add_partition(scene: Scene, fault: Fault) -> None:
    """``events`` gets one more; often the owner is killed a moment later, so that one takes over who may not know of it yet."""
    owner = scene.parts.wait_owner()
    topic = f"{scene.parts.config.kafka.topic_prefix}{EVENTS}"
    added = len(owner.status["offsets"][EVENTS])
    if added == PARTITIONS_MAX:
        return
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=scene.parts.broker.bootstrap)) as client:
        client.create_partitions({topic: added + 1})
    if fault.chance < 0.7:
        kill_owner(scene, fault)

    def read() -> bool:
        owner = scene.parts.owner()
        return owner is not None and str(added) in owner.status.get("offsets", {}).get(EVENTS, {})

    wait_until(read, "the new partition read", deadline_s=TAKEOVER_S_MAX)


KINDS: dict[str, Callable[[Scene, Fault], None]] = {
    "owner killed": kill_owner,
    "standby killed": kill_standby,
    "owner stalled": stall_owner,
    "worker stopped": stop_worker,
    "Redis flushed": flush_redis,
    "Redis killed": restart_redis,
    "Redis refuses writes": refuse_writes,
    "Redis out of memory": fill_redis,
    "Redis failed over to an older copy": fail_redis_over,
    "Kafka killed": restart_kafka,
    "Kafka stalled": stall_kafka,
    "snapshot folder away": lock_snapshots,
    "snapshot folder full": fill_folder,
    "snapshot torn, workers killed": tear_snapshot,
    "offsets moved by a stranger": meddle,
    "partition added": add_partition,
}
OFTEN = ("owner killed", "owner stalled", "owner killed")
"""Dealt more often than the others."""


def plan(seed: int) -> Iterator[Fault]:
    """Faults without end: every kind comes once before any comes again, but those that come often."""
    rng = random.Random(seed)
    while True:
        deck = [*KINDS, *OFTEN]
        rng.shuffle(deck)
        for kind in deck:
            yield Fault(kind, rest_s=rng.uniform(1.0, 5.0), seconds=rng.uniform(1.0, 25.0), chance=rng.random())
