"""The owner over a log in memory: faults at moments that a real log cannot be made to choose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryReader, MemoryWriter
from memory_store import MemoryStore

from consumers.loops import Threads
from consumers.measurements import Measurements
from consumers.owner import FULL_POLL_EVERY_S, FULL_REST_S, POLL_EVERY_S, WENT_BACK_MAX, Owner, Ports
from consumers.restoring import Restorer
from consumers.runtime import WallClock
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config, Snapshots
from streamer.engine.columns import Columns
from streamer.engine.engine import Engine
from streamer.events.codec import encode_event
from streamer.events.model import DEAD, EVENTS, Event
from streamer.ports import (
    ALL_TOPICS,
    Acknowledge,
    BufferFullError,
    Committed,
    FencedError,
    LogError,
    OutRecord,
    TopicInfo,
    TopicPartition,
    TopicsMissingError,
)
from streamer.snapshots import Manifest, Override, list_snapshots, parse_metadata
from streamer.snapshots.folder import FolderStore

DEADLINE_S = 60.0
T0 = 1_700_000_000_000


class Running:
    """An owner at work in a thread."""

    def __init__(
        self,
        broker: MemoryBroker,
        folder: Path,
        admin: MemoryAdmin | None = None,
        *,
        writer: MemoryWriter | None = None,
        bounded: bool = False,
        interval_ms: int = 20,
    ) -> None:
        self.broker = broker
        self.snapshots = FolderStore(folder)
        self.config = Config(snapshots=Snapshots(interval_ms=interval_ms, keep=1_000))
        log = MemoryLog(broker, group="g", topics=OWNER_TOPICS, exclusive=True)
        writer = writer or MemoryWriter(broker)
        ports = Ports(
            log, admin or MemoryAdmin(broker), lambda: MemoryReader(broker), writer, MemoryStore(), self.snapshots, WallClock()
        )
        self.owner = Owner(ports, self.config, Measurements(), Override(), bounded=bounded)
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
        send(self.broker, first, count)

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
        self.ended()

    def ended(self) -> None:
        """Waits until it ends by itself."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def send(broker: MemoryBroker, first: int, count: int) -> None:
    for n in range(first, first + count):
        event = Event(event_id=f"e{n}", type="click", user_id=f"u{n % 7}", item_id=f"i{n % 5}", timestamp=T0 + 1_000 * n)
        broker.append(OutRecord(EVENTS, event.user_id.encode(), encode_event(event)))


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=2)


@pytest.fixture
def start(broker: MemoryBroker, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def make(admin: MemoryAdmin | None = None, **settings: Any) -> Running:
        running.append(Running(broker, tmp_path, admin, **settings))
        return running[-1]

    yield make
    for one in running:
        one.end()


def away() -> LogError:
    return LogError("the broker is away", retriable=True)


class Absent(MemoryAdmin):
    """Away when first asked."""

    asked = 0

    def topics(self, topics: Sequence[str] = ALL_TOPICS) -> dict[str, TopicInfo]:
        self.asked += 1
        if self.asked == 1:
            raise away()
        return super().topics(topics)


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


class Reluctant(MemoryWriter):
    """Takes no record when first asked."""

    asked = 0

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        del timeout_s
        self.asked += 1
        if self.asked == 1:
            raise away()
        super().send(record, on_done)


def broken(broker: MemoryBroker) -> None:
    broker.append(OutRecord(EVENTS, b"u1", b"{"))


def test_a_dead_letter_that_the_log_does_not_take_costs_no_event_polled_with_it(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    send(broker, 0, 50)
    broken(broker)
    send(broker, 50, 50)
    running = start(writer=Reluctant(broker))
    running.wait(lambda: running.read() == 101)
    running.end()
    assert running.failure is None
    assert running.committed().counters["applied"]["click"] == 100
    assert running.committed().counters["rejected"] == 1
    assert [record.value for record in broker.records(DEAD)] == [b"{"]


def test_what_retention_removes_before_a_running_owner_has_read_it_is_counted_and_nothing_else_is_missed(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    send(broker, 0, 100)
    running = start()
    running.wait(lambda: running.committed() is not None and running.read() == 100)
    place = TopicPartition(EVENTS, 1)
    with broker.changed:  # the owner reads nothing meanwhile
        end = MemoryAdmin(broker).bounds()[place][1]
        send(broker, 100, 100)
        broker.trim(place, end + 7)
    running.wait(lambda: running.read() == 200)
    running.end()
    counters = running.committed().counters
    assert (counters["applied"]["click"], counters["lost"], counters["duplicate"]) == (193, 7, 0)


POISON = b"poison"


class Fragile(Engine):
    """Fails at some records, when it has half done them."""

    def apply(self, columns: Columns) -> None:
        super().apply(columns)
        if POISON in columns.item_text.tobytes():
            raise ZeroDivisionError


def test_a_stretch_that_is_full_of_poison_is_passed_though_snapshots_are_far_between(
    broker: MemoryBroker, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("consumers.fold", "consumers.restoring"):
        monkeypatch.setattr(f"{module}.Engine", Fragile)
    polled, polls = 10, 2 * WENT_BACK_MAX
    monkeypatch.setattr("memory_log.POLL_RECORDS_MAX", polled)
    for n in range(polls):
        send(broker, polled * n, polled - 1)
        event = Event(type="click", user_id="u", item_id=POISON.decode(), timestamp=T0 + 1_000 * polled * n)
        broker.append(OutRecord(EVENTS, b"u", encode_event(event)))
    running = start(interval_ms=600_000)
    running.wait(lambda: running.read() == polled * polls)
    running.end()
    counters = running.committed().counters
    assert (counters["applied"]["click"], counters["rejected"]) == ((polled - 1) * polls, polls)
    assert len({dict(record.headers)["offset"] for record in broker.records(DEAD)}) == polls


class Small(MemoryWriter):
    """Holds three records; has sent them when it was found full once."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.timeouts_s: set[float | None] = set()

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        self.timeouts_s.add(timeout_s)
        if len(self._buffer) == 3:
            self.flush(0)
            message = "the buffer of 3 records was full"
            raise BufferFullError(message)
        super().send(record, on_done)


def test_more_dead_letters_than_the_writer_holds_are_sent_without_a_wait_for_room(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    for _ in range(100):
        broken(broker)
    writer = Small(broker)
    running = start(writer=writer)
    running.wait(lambda: running.committed() is not None and running.committed().counters["rejected"] == 100)
    assert len(broker.records(DEAD)) == 100
    assert writer.timeouts_s == {0.0}  # the thread that polls waits for nobody


def test_a_dead_letter_that_comes_back_is_sent_again_and_no_snapshot_leaves_it_behind(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    broken(broker)
    broker.raise_next("append", away())
    running = start()
    running.wait(lambda: running.committed() is not None)
    assert [record.value for record in broker.records(DEAD)] == [b"{"]


def test_an_event_without_key_and_value_is_buried_like_any_other(broker: MemoryBroker, start: Callable[..., Running]) -> None:
    broker.append(OutRecord(EVENTS, None, None))
    running = start()
    running.wait(lambda: running.committed() is not None)
    assert [(record.key, record.value) for record in broker.records(DEAD)] == [(None, b"")]


def test_a_snapshot_that_failed_is_made_up_for_though_nothing_comes_after_it(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    send(broker, 0, 100)
    for _ in range(5):
        broker.raise_next("commit", FencedError("refused, the generation stays"))
    running = start()
    running.wait(lambda: running.committed() is not None)
    assert running.committed().counters["applied"]["click"] == 100


def test_a_bounded_run_that_was_expelled_at_the_end_does_not_pass_for_done(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    for _ in range(1_000):
        broker.raise_next("commit", FencedError("its generation is over"))
    send(broker, 0, 10)
    running = start(bounded=True)
    running.ended()
    assert isinstance(running.failure, FencedError)


def test_a_new_epoch_is_later_than_that_of_any_snapshot_whatever_the_clock_says(
    broker: MemoryBroker, start: Callable[..., Running]
) -> None:
    running = start()
    running.send(0, 10)
    running.wait(lambda: running.committed() is not None)
    running.end()
    committed = {place: Committed(1, "a stranger's") for place in broker.groups["g"].committed}
    restorer = Restorer(
        MemoryAdmin(broker),
        lambda: MemoryReader(broker),
        running.snapshots,
        SlowClock(),
        running.config,
        Override(from_beginning=True),
    )
    assert restorer.restore(2, committed).birth.epoch == running.committed().epoch + 1


class SlowClock(WallClock):
    """Far behind."""

    def now_ms(self) -> int:
        return 1_000


def test_why_it_waits_is_said_at_once_and_then_once_a_minute(broker, tmp_path, caplog):
    config, now_s, said = Config(), [0.0], []

    class Slow(Threads):
        def pause(self, seconds, stop=None):
            now_s[0] += seconds
            said.append((now_s[0], sum("streamer topics create" in one for one in caplog.messages)))
            if now_s[0] > 130 and stop is not None:
                stop.set()

    class Still(WallClock):
        def monotonic_s(self):
            return now_s[0]

    class Missing(MemoryLog):
        def poll(self, *_, **__):
            raise TopicsMissingError("run `streamer topics create`")

    log = Missing(broker, group="g", topics=OWNER_TOPICS, exclusive=True)
    ports = ports_of(broker, log, tmp_path, Still())
    Owner(ports, config, Measurements(), Override(), loops=Slow()).run(threading.Event())
    assert said[0][1] == 1
    assert [count for at_s, count in said if at_s < 60] == [1] * sum(at_s < 60 for at_s, _ in said)
    assert said[-1][1] == 3


def ports_of(broker: MemoryBroker, log: MemoryLog, folder: Path, clock: WallClock) -> Ports:
    return Ports(
        log,
        MemoryAdmin(broker),
        lambda: MemoryReader(broker),
        MemoryWriter(broker),
        MemoryStore(),
        FolderStore(folder),
        clock,
    )


class Pauses(Threads):
    """Loops that note how long they are to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def pause(self, seconds: float, stop: threading.Event | None = None) -> None:
        del stop
        self.seconds.append(seconds)


def test_after_a_poll_of_a_few_records_some_more_are_let_come_and_after_none_or_many_not(tmp_path):
    broker = MemoryBroker()
    log = MemoryLog(broker, group="g", topics=OWNER_TOPICS, exclusive=True)
    ports = ports_of(broker, log, tmp_path, WallClock())
    config, loops = Config(), Pauses()
    owner = Owner(ports, config, Measurements(), Override(), loops=loops)
    owner._gather_more(3)  # nothing was polled yet
    for records in (0, 1, config.kafka.max_poll_records - 1, config.kafka.max_poll_records):
        owner._polled_at_s = ports.clock.monotonic_s()
        owner._gather_more(records)
    owner._polled_at_s = ports.clock.monotonic_s() - 2 * POLL_EVERY_S
    owner._gather_more(3)
    assert len(loops.seconds) == 2
    assert all(0 < seconds <= POLL_EVERY_S for seconds in loops.seconds)


def test_while_the_fold_has_enough_to_do_the_log_is_asked_seldom_and_gives_nothing(tmp_path):
    now_s, asked_at_s = [0.0], []

    class Still(WallClock):
        def monotonic_s(self):
            return now_s[0]

    class Resting(Pauses):
        def pause(self, seconds, stop=None):
            super().pause(seconds, stop)
            now_s[0] += seconds

    class Asked(MemoryLog):
        def poll(self, timeout_ms, *, paused=False):
            asked_at_s.append((now_s[0], timeout_ms, paused))
            return super().poll(timeout_ms, paused=paused)

    broker, loops = MemoryBroker(), Resting()
    log = Asked(broker, group="g", topics=OWNER_TOPICS, exclusive=True)
    owner = Owner(ports_of(broker, log, tmp_path, Still()), Config(), Measurements(), Override(), loops=loops)
    owner._tenure = object()  # somebody at work, whoever it is
    while now_s[0] < 10 * FULL_POLL_EVERY_S:
        assert not owner._poll(paused=True).batches
    assert {(timeout_ms, paused) for _, timeout_ms, paused in asked_at_s} == {(0, True)}
    assert set(loops.seconds) == {FULL_REST_S}
    assert len(asked_at_s) == pytest.approx(10, abs=1)
