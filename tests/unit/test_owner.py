"""The owner over a log in memory: faults at moments that a real log cannot be made to choose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryWriter
from memory_store import MemoryStore

from consumers.measurements import Measurements
from consumers.owner import Owner, Ports
from consumers.runtime import WallClock
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config, Snapshots
from streamer.events.codec import encode_event
from streamer.events.model import EVENTS, Event
from streamer.ports import FencedError, LogError, OutRecord, TopicInfo
from streamer.snapshots import Manifest, Override, list_snapshots, parse_metadata
from streamer.snapshots.folder import FolderStore

DEADLINE_S = 60.0
T0 = 1_700_000_000_000


class Running:
    """An owner at work in a thread."""

    def __init__(self, broker: MemoryBroker, folder: Path, admin: MemoryAdmin | None = None) -> None:
        self.broker = broker
        self.snapshots = FolderStore(folder)
        config = Config(snapshots=Snapshots(interval_ms=20, keep=1_000))
        log = MemoryLog(broker, group="g", topics=OWNER_TOPICS, exclusive=True)
        ports = Ports(log, admin or MemoryAdmin(broker), MemoryWriter(broker), MemoryStore(), self.snapshots, WallClock())
        self.owner = Owner(ports, config, Measurements(), Override())
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.owner.run(self._stop)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def send(self, first: int, count: int) -> None:
        for n in range(first, first + count):
            event = Event(event_id=f"e{n}", type="click", user_id=f"u{n % 7}", item_id=f"i{n % 5}", timestamp=T0 + 1_000 * n)
            self.broker.append(OutRecord(EVENTS, event.user_id.encode(), encode_event(event)))

    def wait(self, condition: Callable[[], object]) -> None:
        pause = threading.Event()
        for _ in range(int(DEADLINE_S / 0.005)):
            if condition():
                return
            assert self._thread.is_alive(), self.failure
            pause.wait(0.005)
        pytest.fail(f"not within {DEADLINE_S} s: {self.owner.status()}")

    def read(self) -> int:
        return sum(self.owner.status().offsets.get(EVENTS, {}).values())

    def committed(self) -> Manifest | None:
        """The snapshot in force."""
        names = {parse_metadata(at.metadata) for at in self.broker.groups["g"].committed.values()}
        return next((one for one in list_snapshots(self.snapshots) if one.name in names), None)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=2)


@pytest.fixture
def start(broker: MemoryBroker, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(admin: MemoryAdmin | None = None) -> Running:
        running.append(Running(broker, tmp_path, admin))
        return running[-1]

    yield make
    for one in running:
        one.end()


def away() -> LogError:
    return LogError("the broker is away", retriable=True)


class Absent(MemoryAdmin):
    """Away when first asked."""

    asked = 0

    def topics(self) -> dict[str, TopicInfo]:
        self.asked += 1
        if self.asked == 1:
            raise away()
        return super().topics()


def test_an_owner_that_could_not_ask_for_the_committed_offsets_asks_again(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    broker.raise_next("committed", away())
    running = start()
    running.send(0, 100)
    running.wait(lambda: running.read() == 100)


def test_an_owner_that_could_not_ask_for_the_topics_restores_anew(broker: MemoryBroker, start: Callable[..., Running]) -> None:
    running = start(Absent(broker))
    running.send(0, 100)
    running.wait(lambda: running.read() == 100)


def test_a_last_commit_that_a_rebalance_interrupts_is_made_again(broker: MemoryBroker, start: Callable[..., Running]) -> None:
    running = start()
    running.send(0, 100)
    running.wait(lambda: running.read() == 100)
    running.wait(lambda: running.committed() is not None)
    broker.raise_next("commit", LogError("the group rebalances", retriable=True))
    running.end()
    assert running.failure is None
    assert running.committed() == list_snapshots(running.snapshots)[0]


def test_an_owner_that_was_expelled_at_the_end_leaves_the_rest_to_the_next(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    running = start()
    running.send(0, 100)
    running.wait(lambda: running.read() == 100)
    broker.raise_next("commit", FencedError("its generation is over"))
    running.end()
    assert running.failure is None
    following = start()
    following.wait(lambda: following.read() == 100)
    following.end()
    assert following.committed() is not None
    assert following.committed().counters["applied"]["click"] == 100


def test_the_order_of_a_snapshot_begins_where_its_parent_ended_whatever_failed_between(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    running = start()
    running.send(0, 100)
    running.wait(lambda: running.read() == 100 and running.committed() is not None)
    for round_number in range(1, 4):
        broker.raise_next("commit", FencedError("refused once, the generation stays"))
        running.send(100 * round_number, 100)
        running.wait(lambda end=100 * (round_number + 1): running.read() == end and not broker.waiting("commit"))
    running.end()
    chain, found = 0, running.committed()
    manifests = {one.name: one for one in list_snapshots(running.snapshots)}
    while found is not None:
        chain += sum(count for topic, _, count in found.order if topic == EVENTS)
        found = manifests.get(found.parent or "")
    assert chain == 400
