"""What Apache Kafka alone can do to a member: stalls, transactions, brokers that die, topics that are made again."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from unittest.mock import Mock

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import MemberState
from kafka_server import KafkaServer

from consumers import kafka_log
from consumers.kafka_admin import KafkaAdmin
from consumers.kafka_atomic import KafkaAtomicWriter
from consumers.kafka_log import KafkaLog
from consumers.kafka_reader import KafkaReader
from consumers.merged_log import MergedLog
from producers.sender import KafkaWriter
from streamer.config.tree import Config, Kafka
from streamer.events.model import CONTROL, EVENTS, ITEMS
from streamer.ports import FencedError, LogError, OutRecord, Polled, RecordBatch, TopicPartition

DEADLINE_S = 30.0
TOPICS = (EVENTS, CONTROL)
STABLE = MemberState.STABLE
MISSING_FAST = pytest.mark.skipif(not find_spec("confluent_kafka"), reason="confluent-kafka (extra fast) is not installed")
with_each_client = pytest.mark.parametrize("client", ["kafka-python", pytest.param("confluent", marks=MISSING_FAST)])


@pytest.fixture
def client() -> str:
    """What reads the records, where a test does not name it."""
    return "kafka-python"


@pytest.fixture
def opened() -> Iterator[list[KafkaLog | KafkaReader]]:
    """Members and readers to close at the end, in the order in which they were made."""
    members: list[KafkaLog | KafkaReader] = []
    yield members
    for member in members:
        member.close()


@pytest.fixture
def config(kafka_config: Callable[..., Config], client: str) -> Config:
    config = kafka_config(client=client)
    KafkaAdmin(config).create_topics()
    return config


@pytest.fixture
def member(config: Config, opened: list[KafkaLog]) -> Callable[..., KafkaLog]:
    def make(exclusive: bool = True, config: Config = config) -> KafkaLog:
        opened.append(KafkaLog(config, group=config.group, topics=TOPICS, exclusive=exclusive))
        return opened[-1]

    return make


def until(member: KafkaLog, condition: Callable[[Polled], bool]) -> Polled:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            polled = member.poll(100)
        except LogError as error:
            if not error.retriable:
                raise
            continue
        if condition(polled):
            return polled
    raise AssertionError(f"not within {DEADLINE_S} s")


def start(config: Config, member: KafkaLog) -> int:
    generation = until(member, lambda polled: polled.generation is not None).generation
    assert generation is not None
    ours = {place: first for place, (first, _) in KafkaAdmin(config).bounds().items() if place.topic in TOPICS}
    member.seek(ours)
    return generation


def take(member: KafkaLog, count: int) -> list[RecordBatch]:
    batches: list[RecordBatch] = []

    def enough(polled: Polled) -> bool:
        batches.extend(polled.batches)
        return sum(len(batch.offsets) for batch in batches) >= count

    until(member, enough)
    return batches


def write(config: Config, count: int) -> None:
    with KafkaWriter(config) as writer:
        for n in range(count):
            writer.send(OutRecord(EVENTS, b"user-%d" % n, b"value-%d" % n))


def test_records_do_not_wait_for_half_a_second_behind_a_fetch_of_quiet_partitions(kafka_config, opened):
    """A poll that leaves a part of what was fetched sends a fetch of the other partitions alone: what comes next waits for its answer."""
    config = kafka_config(partitions=1, max_poll_records=10)
    KafkaAdmin(config).create_topics()
    member = KafkaLog(config, group=config.group, topics=TOPICS, exclusive=True)
    opened.append(member)
    start(config, member)
    waited_s = []
    for _ in range(5):
        write(config, 25)
        take(member, 25)
        write(config, 1)
        started_s = time.monotonic()
        take(member, 1)
        waited_s.append(time.monotonic() - started_s)
    assert sorted(waited_s)[2] < 0.25, waited_s


@with_each_client
def test_a_record_comes_at_once_and_not_when_the_time_to_wait_for_more_is_over(config, member):
    owner = member()
    start(config, owner)
    owner.poll(1_000)
    sender = threading.Timer(0.5, write, (config, 1))
    sender.start()
    started_s = took_s = time.monotonic()
    while not owner._fetch.batches() and took_s - started_s < DEADLINE_S:
        owner._fetch.poll(8_000, paused=False)
        took_s = time.monotonic()
    sender.join()
    assert took_s - started_s < 4.0


def test_an_owner_that_stalls_loses_the_log_and_cannot_commit(kafka_config, opened):
    config = kafka_config(session_timeout_ms=1_500, max_poll_interval_ms=1_000)
    KafkaAdmin(config).create_topics()
    owner, standby = (KafkaLog(config, group="stall-" + config.group, topics=TOPICS, exclusive=True) for _ in range(2))
    opened += [owner, standby]
    generation = start(config, owner)
    owner.commit({TopicPartition(EVENTS, 0): 0}, "before")
    assert start(config, standby) > generation  # the owner does not poll meanwhile
    with pytest.raises(FencedError):
        owner.commit({TopicPartition(EVENTS, 0): 0}, "zombie")
    standby.commit({TopicPartition(EVENTS, 0): 0}, "after")
    assert owner.committed()[TopicPartition(EVENTS, 0)].metadata == "after"


@with_each_client
def test_answers_of_the_group_that_come_between_slices_cost_the_owner_nothing(config, member, monkeypatch):
    """As where cores are so short that a member is hardly ever inside of a poll."""
    owner, standby = member(), member()
    generation = start(config, owner)
    monkeypatch.setattr(kafka_log, "SLICE_MS", 1)
    poll = owner._fetch.poll

    def poll_and_be_away(timeout_ms: int, *, paused: bool) -> None:
        poll(timeout_ms, paused=paused)
        time.sleep(0.1)

    monkeypatch.setattr(owner._fetch, "poll", poll_and_be_away)
    joined = threading.Event()
    polling = threading.Thread(target=lambda: until(standby, lambda _: joined.is_set()))
    polling.start()
    try:
        until(owner, lambda polled: polled.generation != generation or standby._consumer.group_metadata().state is STABLE)
        assert owner.poll(100).generation == generation
    finally:
        joined.set()
        polling.join()
    write(config, 4)
    assert sum(len(batch.offsets) for batch in take(owner, 4)) == 4


@with_each_client
def test_members_that_share_have_each_partition_once(config, member):
    write(config, 40)
    bounds = {place: first for place, (first, _) in KafkaAdmin(config).bounds().items() if place.topic in TOPICS}
    members = member(exclusive=False), member(exclusive=False)
    seen: list[tuple[int | None, dict[int, int]]] = [(None, {}), (None, {})]
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            polled = members[number].poll(50)
            if polled.generation != seen[number][0]:
                seen[number] = (polled.generation, {})
                if polled.generation is not None:
                    members[number].seek(bounds)
            for batch in polled.batches:
                counts = seen[number][1]
                counts[batch.partition] = counts.get(batch.partition, 0) + len(batch.offsets)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        (_, first), (_, second) = seen
        if first and second and sum(first.values()) + sum(second.values()) == 40:
            break
        threads[0].join(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    (first_generation, first), (second_generation, second) = seen
    assert first_generation == second_generation
    assert sorted([*first, *second]) == [0, 1]


def test_a_group_that_the_broker_refuses_leaves_nothing_and_once_opened_again_the_writer_goes_on(config: Config) -> None:
    admin = KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)
    topic = config.kafka.topic_prefix + EVENTS
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "1000"})])
    admin.close()
    with contextlib.closing(KafkaAtomicWriter(config, f"{config.namespace}-redrive")) as writer:
        writer.open()
        with pytest.raises(LogError, match=r"MessageSizeTooLarge|OutOfOrderSequence"):
            writer.append([OutRecord(EVENTS, b"u", b"small"), OutRecord(EVENTS, b"u", random.Random(1).randbytes(50_000))])
        writer.open()
        writer.append([OutRecord(EVENTS, b"u", b"small")])
    with contextlib.closing(KafkaReader(config)) as reader:
        values = [reader.read(TopicPartition(EVENTS, n), 0, 10).values for n in range(config.kafka.partitions)]
    assert [value for some in values for value in some] == [b"small"]


def test_a_group_that_is_interrupted_holds_up_no_reader(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    place, waiting = TopicPartition(EVENTS, 0), "kafka.producer.future.FutureRecordMetadata.get"
    with contextlib.closing(KafkaAtomicWriter(config, config.namespace)) as writer:
        writer.open()
        monkeypatch.setattr(waiting, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.append([OutRecord(EVENTS, b"u", b"dropped", partition=0)])
        monkeypatch.undo()
    with contextlib.closing(KafkaWriter(config)) as plain:
        plain.send(OutRecord(EVENTS, b"u", b"kept", partition=0))
    started = time.monotonic()
    with contextlib.closing(KafkaReader(config)) as reader:
        while (values := reader.read(place, 0, 10).values) != [b"kept"]:
            assert time.monotonic() - started < 5, values


def send_in_transactions(config):
    """Three records that are committed and three that are aborted, with a marker after each three."""
    producer = KafkaProducer(bootstrap_servers=config.kafka.bootstrap_servers, transactional_id=config.namespace)
    producer.init_transactions()
    for value, end in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)):
        producer.begin_transaction()
        for _ in range(3):
            producer.send(config.kafka.topic_prefix + EVENTS, key=b"u", value=value, partition=0)
        producer.flush()
        end()
    producer.close()


def test_a_reader_shows_no_aborted_records_and_passes_their_markers(config, opened):
    send_in_transactions(config)
    reader, place = KafkaReader(config), TopicPartition(EVENTS, 0)
    opened.append(reader)
    first = reader.read(place, 0, 2)
    assert (first.values, first.next_offset) == ([b"kept"] * 2, 2)
    second = reader.read(place, 2, 10)
    assert (second.values, second.offsets) == ([b"kept"], [2])
    position = second.next_offset
    while position < 8:
        batch = reader.read(place, position, 10)
        assert batch.values == []
        assert batch.next_offset > position
        position = batch.next_offset
    assert reader.read(place, 8, 10).next_offset == 8


def test_a_merged_log_passes_the_markers_at_the_end(config, member):
    send_in_transactions(config)
    log = MergedLog(member(), KafkaReader(config), KafkaAdmin(config), records_max=2)
    until(log, lambda polled: polled.generation is not None)
    log.seek({place: 0 for place in KafkaAdmin(config).bounds() if place.topic in TOPICS})
    batches: list[RecordBatch] = []
    until(log, lambda polled: bool(batches.extend(polled.batches)) or (bool(batches) and batches[-1].next_offset == 8))
    assert [value for batch in batches for value in batch.values] == [b"kept"] * 3
    log.close()


@with_each_client
def test_aborted_records_are_not_shown_and_the_position_passes_their_markers(config, member):
    send_in_transactions(config)
    owner = member()
    start(config, owner)
    batches = take(owner, 3)
    assert [value for batch in batches for value in batch.values] == [b"kept"] * 3
    end = KafkaAdmin(config).bounds()[TopicPartition(EVENTS, 0)][1]
    assert end == 8  # six records and two markers
    if batches[-1].next_offset < end:
        last = until(owner, lambda polled: any(batch.next_offset == end for batch in polled.batches))
        assert [batch.offsets for batch in last.batches] == [[]]


@with_each_client
@pytest.mark.parametrize("most", [7, 1])
def test_one_poll_returns_no_more_records_than_configured(kafka_config, opened, client, most):
    config = kafka_config(max_poll_records=most, client=client)
    KafkaAdmin(config).create_topics()
    write(config, 50)
    owner = KafkaLog(config, group=config.group, topics=TOPICS, exclusive=True)
    opened.append(owner)
    start(config, owner)
    sizes = [len(batch.offsets) for batch in take(owner, 50)]
    assert max(sizes) <= most
    assert sum(sizes) == 50


def test_a_seek_that_leaves_a_partition_out_is_refused(member):
    owner = member()
    until(owner, lambda polled: polled.generation is not None)
    with pytest.raises(LogError, match=r"no position for .*control-0"):
        owner.seek({TopicPartition(EVENTS, 0): 0, TopicPartition(EVENTS, 1): 0})
    with pytest.raises(LogError, match=r"items-0, which .* does not read"):
        owner.seek({TopicPartition(ITEMS, 0): 0})


def test_a_commit_needs_positions_and_its_metadata_has_a_limit(config, member):
    owner = member()
    until(owner, lambda polled: polled.generation is not None)
    with pytest.raises(FencedError, match="positions are not set"):
        owner.commit({TopicPartition(EVENTS, 0): 0}, "")
    start(config, owner)
    with pytest.raises(LogError, match="5000 bytes") as caught:
        owner.commit({TopicPartition(EVENTS, 0): 0}, "x" * 5_000)
    assert not caught.value.retriable


@with_each_client
def test_a_topic_that_was_deleted_and_made_again_is_not_read_as_if_nothing_had_happened(config, member, monkeypatch):
    monkeypatch.setattr(kafka_log, "METADATA_AGE_MS_MAX", 1_000)
    write(config, 30)
    owner = member()
    start(config, owner)
    take(owner, 30)
    with KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers) as client:
        client.delete_topics([config.kafka.topic_prefix + EVENTS])
    KafkaAdmin(config).create_topics()
    write(config, 60)
    for call in (lambda: owner.commit({TopicPartition(EVENTS, 0): 1}, "x"), lambda: until(owner, lambda _: False)):
        with pytest.raises(LogError, match="deleted and made again") as caught:
            call()
        assert not caught.value.retriable


def test_settings_that_break_a_promise_are_warned_of(config):
    with KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers) as client:
        prefix = config.kafka.topic_prefix
        changes = {
            EVENTS: {"message.timestamp.type": "CreateTime", "cleanup.policy": "compact"},
            ITEMS: {"cleanup.policy": "delete"},
        }
        client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, prefix + topic, found) for topic, found in changes.items()]
        )
        client.create_partitions({prefix + CONTROL: 3})
        deadline = time.monotonic() + DEADLINE_S
        while (topics := KafkaAdmin(config).topics())[CONTROL].partitions != 3 or not topics[ITEMS].warnings:
            assert time.monotonic() < deadline
    assert [warning.split(" has ")[1].split(",")[0] for warning in topics[EVENTS].warnings] == [
        "message.timestamp.type=CreateTime",
        "cleanup.policy=compact",
    ]
    assert "expected compact" in topics[ITEMS].warnings[0]
    assert "3 partitions, expected 1" in topics[CONTROL].warnings[0]


def test_a_replication_factor_beyond_the_brokers_is_explained(kafka_config):
    admin = KafkaAdmin(kafka_config(replication_factor=3))
    with pytest.raises(LogError, match=r"kafka.replication_factor = 3") as caught:
        admin.create_topics()
    assert not caught.value.retriable


def test_a_server_that_does_not_answer_is_named_with_its_setting():
    config = Config(kafka=Kafka(bootstrap_servers="127.0.0.1:1", request_timeout_ms=1_000))
    calls: list[Callable[[], object]] = [
        lambda: KafkaLog(config, group="g", topics=TOPICS, exclusive=True).poll(10),
        KafkaAdmin(config).topics,
    ]
    for call in calls:
        with pytest.raises(
            LogError, match=r"127.0.0.1:1 \(kafka.bootstrap_servers, STREAMER_KAFKA__BOOTSTRAP_SERVERS\)"
        ) as caught:
            call()
        assert caught.value.retriable


@with_each_client
def test_a_member_outlives_a_broker_that_is_killed_and_comes_back(tmp_path, client):
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    timeouts = {"session_timeout_ms": 6_000, "request_timeout_ms": 4_000}
    kafka = Kafka(bootstrap_servers=server.bootstrap, client=client, partitions=2, **timeouts)
    config = Config(kafka=kafka)
    KafkaAdmin(config).create_topics()
    write(config, 10)
    owner = KafkaLog(config, group="g", topics=TOPICS, exclusive=True)
    generation = start(config, owner)
    take(owner, 10)
    ends = {place: end for place, (_, end) in KafkaAdmin(config).bounds().items() if place.topic in TOPICS}
    owner.commit(ends, "durable")
    server.kill()
    with pytest.raises(LogError, match="no broker of Kafka") as caught:
        until_error(owner)
    assert caught.value.retriable
    with pytest.raises(LogError):
        owner.commit(ends, "into the void")
    server.start()
    write(config, 5)
    polled = until(owner, lambda polled: bool(polled.batches) or polled.generation not in (generation, None))
    if polled.generation != generation:  # the group forgot its members with the broker's memory
        assert {found.metadata for found in owner.committed().values()} == {"durable"}
        owner.seek(ends)
        take(owner, 5)
    owner.close()
    server.stop()


def until_error(member: KafkaLog) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        member.poll(200)


def test_positions_of_a_partition_that_the_member_does_not_know_of_yet_make_it_look_at_once(config, member):
    owner, place = member(), TopicPartition(EVENTS, config.kafka.partitions)
    generation = start(config, owner)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)) as client:
        client.create_partitions({config.kafka.topic_prefix + EVENTS: config.kafka.partitions + 1})
    with KafkaWriter(config) as writer:
        writer.send(OutRecord(EVENTS, b"u", b"there", partition=place.partition))
    began_s = time.monotonic()
    bounds = {at: first for at, (first, _) in KafkaAdmin(config).bounds().items() if at.topic in TOPICS}
    assert place in bounds
    owner.seek(bounds)
    polled = until(owner, lambda polled: polled.generation not in (None, generation))
    assert time.monotonic() - began_s < kafka_log.METADATA_AGE_MS_MAX / 1_000 / 2
    assert polled.batches == []  # another generation: positions first
    owner.seek(bounds)
    assert [batch.values for batch in take(owner, 1)] == [[b"there"]]


def test_a_commit_to_a_broker_that_does_not_answer_ends_before_the_poll_interval(own_server, opened):
    kafka = Kafka(bootstrap_servers=own_server.bootstrap, partitions=1)
    config = Config(kafka=kafka)
    KafkaAdmin(config).create_topics()
    owner = KafkaLog(config, group="g", topics=TOPICS, exclusive=True)
    opened.append(owner)
    start(config, owner)
    positions = {place: first for place, (first, _) in KafkaAdmin(config).bounds().items() if place.topic in TOPICS}
    owner.commit(positions, "heard")
    own_server.suspend()
    began_s = time.monotonic()
    with pytest.raises(LogError) as caught:
        owner.commit(positions, "into the void")
    took_s = time.monotonic() - began_s
    own_server.resume()
    assert caught.value.retriable
    assert took_s < kafka.max_poll_interval_ms / 1_000, took_s


@with_each_client
def test_a_broker_that_stands_still_is_waited_for_and_not_asked_again_and_again(own_server, opened, client, monkeypatch):
    kafka = Kafka(bootstrap_servers=own_server.bootstrap, client=client, partitions=1, session_timeout_ms=6_000)
    config = Config(kafka=kafka)
    KafkaAdmin(config).create_topics()
    owner = KafkaLog(config, group="still", topics=TOPICS, exclusive=True)
    opened.append(owner)
    start(config, owner)
    owner.poll(100)
    turns = Mock(wraps=owner._consumer._poll_once)
    monkeypatch.setattr(owner._consumer, "_poll_once", turns)
    own_server.suspend()
    try:
        for _ in range(35):  # beyond a heartbeat, which comes every second
            owner.poll(100)
    finally:
        own_server.resume()
    assert 30 <= turns.call_count < 200
