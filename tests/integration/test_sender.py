"""The sender on a real broker: nothing is lost in silence, whatever is refused and whoever goes away."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka_server import KafkaServer

from consumers.kafka_admin import KafkaAdmin
from producers.sender import KafkaWriter
from streamer.config.tree import Config, Kafka
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import LogError, OutRecord, TopicsMissingError

TOPIC_BYTES_MAX = 20_000


class Told:
    """What the callbacks said: values acknowledged, and the reason of each that was refused."""

    def __init__(self) -> None:
        self.acknowledged: list[bytes | None] = []
        self.refused: dict[bytes | None, Exception] = {}

    def __call__(self, record: OutRecord, error: Exception | None) -> None:
        if error is None:
            self.acknowledged.append(record.value)
        else:
            self.refused[record.value] = error


@pytest.fixture
def config(kafka_config: Callable[..., Config]) -> Config:
    config = kafka_config()
    KafkaAdmin(config).create_topics()
    return config


@pytest.fixture
def writer(config: Config) -> Iterator[KafkaWriter]:
    with KafkaWriter(config) as writer:
        yield writer


def on_the_log(config: Config, topic: str) -> list[tuple[int, bytes | None, bytes | None]]:
    """(partition, key, value) of every record of a topic, in the order of its partition."""
    name = config.kafka.topic_prefix + topic
    consumer = KafkaConsumer(bootstrap_servers=config.kafka.bootstrap_servers, isolation_level="read_committed")
    parts = [TopicPartition(name, n) for n in range(config.kafka.partitions)]
    consumer.assign(parts)
    consumer.seek_to_beginning()
    ends = consumer.end_offsets(parts)
    found = []
    while any(consumer.position(part) < ends[part] for part in parts):
        for records in consumer.poll(200).values():
            found += [(record.partition, record.key, record.value) for record in records]
    consumer.close()
    return found


def limit_size(config: Config, topic: str) -> None:
    with KafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers) as admin:
        name = config.kafka.topic_prefix + topic
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(TOPIC_BYTES_MAX)})])


def numbered(first: int, count: int) -> list[OutRecord]:
    return [OutRecord(EVENTS, b"user-%d" % (n % 7), b"%06d" % n) for n in range(first, first + count)]


def test_a_record_that_the_broker_refuses_as_too_large_takes_no_other_down(config, writer, caplog):
    limit_size(config, EVENTS)
    poison = OutRecord(EVENTS, b"user-3", os.urandom(3 * TOPIC_BYTES_MAX))
    told = Told()
    good = numbered(0, 1000)
    for record in [*good[:500], poison, *good[500:]]:
        writer.send(record, told)
    writer.flush(30)
    assert "sending what it held again" in caplog.text
    assert list(told.refused) == [poison.value]
    assert "too large" in str(told.refused[poison.value])
    assert sorted(told.acknowledged) == [record.value for record in good]
    for record in numbered(1000, 10):
        writer.send(record, told)
    writer.flush(10)
    assert len(told.refused) == 1
    assert {value for _, _, value in on_the_log(config, EVENTS)} == {b"%06d" % n for n in range(1010)}


def test_records_of_one_key_keep_their_order_when_a_producer_is_replaced(config, writer):
    limit_size(config, EVENTS)
    for record in [*numbered(0, 300), OutRecord(EVENTS, b"user-3", os.urandom(3 * TOPIC_BYTES_MAX)), *numbered(300, 300)]:
        writer.send(record, Told())
    writer.flush(30)
    of_key: dict[bytes | None, list[bytes]] = defaultdict(list)
    for _, key, value in on_the_log(config, EVENTS):
        if value not in of_key[key]:  # at least once: what was in flight may be there twice
            of_key[key].append(value or b"")
    assert sum(map(len, of_key.values())) == 600
    assert all(values == sorted(values) for values in of_key.values())


def test_several_guilty_records_are_each_told_why_and_the_innocent_arrive(writer):
    told = Told()
    # a compacted topic takes no record without a key
    guilty = [OutRecord(ITEMS, None, b"guilty-%d" % n) for n in range(3)]
    innocent = [OutRecord(ITEMS, b"item-%d" % n, b"innocent-%d" % n) for n in range(120)]
    mixed = [*innocent[:40], guilty[0], *innocent[40:80], *guilty[1:], *innocent[80:]]
    for record in mixed:
        writer.send(record, told)
    writer.flush(30)
    assert set(told.refused) == {record.value for record in guilty}
    assert all(not error.retriable for error in told.refused.values() if isinstance(error, LogError))
    assert sorted(told.acknowledged) == sorted(record.value for record in innocent)


def test_a_record_beyond_the_senders_own_limit_is_refused_before_it_is_sent(writer):
    told = Told()
    writer.send(OutRecord(EVENTS, b"u", bytes(2_000_000)), told)
    writer.send(OutRecord(EVENTS, b"u", b"small"), told)
    writer.flush(10)
    assert told.acknowledged == [b"small"]
    assert "2000001 bytes" in str(told.refused[bytes(2_000_000)])


def test_a_record_without_key_and_value_is_not_taken(writer):
    with pytest.raises(LogError, match="neither key nor value"):
        writer.send(OutRecord(EVENTS, None, None))
    writer.flush(0.1)


def test_a_failing_callback_disturbs_nobody(writer):
    def fail(*_: object) -> None:
        raise ValueError("a bug of the caller's")

    told = Told()
    writer.send(OutRecord(EVENTS, b"u", b"first"), fail)
    writer.send(OutRecord(EVENTS, b"u", b"second"), told)
    writer.flush(10)
    assert told.acknowledged == [b"second"]


def test_headers_arrive(config, writer):
    writer.send(OutRecord(EVENTS, b"u", b"v", headers=(("reason", b"invalid_json"), ("offset", b"7"))))
    writer.flush(10)
    name = config.kafka.topic_prefix + EVENTS
    consumer = KafkaConsumer(name, bootstrap_servers=config.kafka.bootstrap_servers, auto_offset_reset="earliest")
    [records] = consumer.poll(10_000).values()
    consumer.close()
    assert records[0].headers == [("reason", b"invalid_json"), ("offset", b"7")]


def test_a_missing_topic_says_what_to_run(kafka_config):
    with KafkaWriter(kafka_config()) as writer, pytest.raises(TopicsMissingError, match="streamer topics create"):
        writer.send(OutRecord(EVENTS, b"u", b"v"))


def test_a_server_that_does_not_answer_is_named_with_its_setting():
    writer = KafkaWriter(Config(kafka=Kafka(bootstrap_servers="127.0.0.1:1", request_timeout_ms=1_000)))
    with pytest.raises(LogError) as caught:
        writer.send(OutRecord(EVENTS, b"u", b"v"))
    assert caught.value.retriable
    for word in ("127.0.0.1:1", "kafka.bootstrap_servers", "STREAMER_KAFKA__BOOTSTRAP_SERVERS", "check that the broker runs"):
        assert word in str(caught.value)
    writer.close()


def test_a_closed_writer_takes_nothing(config):
    writer = KafkaWriter(config)
    writer.send(OutRecord(EVENTS, b"u", b"v"))
    writer.close()
    writer.close()
    with pytest.raises(LogError, match="closed"):
        writer.send(OutRecord(EVENTS, b"u", b"v"))
    assert on_the_log(config, EVENTS) != []


def test_a_forked_child_sends_on_a_connection_of_its_own(config, writer):
    writer.send(OutRecord(EVENTS, b"u", b"parent before"))

    def child() -> None:
        writer.send(OutRecord(EVENTS, b"u", b"child"))
        writer.flush(10)

    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    writer.send(OutRecord(EVENTS, b"u", b"parent after"))
    writer.flush(10)
    assert sorted(value for _, _, value in on_the_log(config, EVENTS)) == [b"child", b"parent after", b"parent before"]


def test_a_full_buffer_blocks_and_nothing_is_lost_while_the_broker_is_away(tmp_path):
    server = KafkaServer(tmp_path / "kafka")
    server.start()
    config = Config(
        kafka=Kafka(bootstrap_servers=server.bootstrap, partitions=2, buffer_records_max=50, request_timeout_ms=3_000)
    )
    KafkaAdmin(config).create_topics()
    writer, told = KafkaWriter(config), Told()
    writer.send(OutRecord(EVENTS, b"u", b"first"), told)
    writer.flush(10)
    server.kill()
    records = numbered(0, 120)
    thread = threading.Thread(target=lambda: [writer.send(record, told) for record in records])
    thread.start()
    with pytest.raises(LogError, match="neither acknowledged nor refused") as caught:
        writer.flush(1.0)
    assert caught.value.retriable
    assert thread.is_alive()  # 120 records do not fit a buffer of 50
    assert told.acknowledged == [b"first"]
    server.start()
    deadline = time.monotonic() + 60
    thread.join(60)
    writer.flush(deadline - time.monotonic())
    assert told.refused == {}
    assert sorted(told.acknowledged[1:]) == [record.value for record in records]
    assert {value for _, _, value in on_the_log(config, EVENTS)} >= {record.value for record in records}
    writer.close()
    server.stop()
