"""The encoder worker with the real model: on the embedded log, and on a log in memory where a fault must come at a chosen moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryWriter

from consumers.document_vectors import DocumentVectors
from consumers.encoder import EncoderWorker
from consumers.kafka_admin import KafkaAdmin
from consumers.kafka_log import KafkaLog
from consumers.vector_source import EncoderCounters, text_source
from producers.sender import KafkaWriter
from streamer.config.tree import Config, Encoder, Kafka, Log
from streamer.embedded import EmbeddedAdmin, EmbeddedLog, EmbeddedWriter
from streamer.encoders import TextEncoder, VectorCache, load_text_encoder
from streamer.events.items import content_hash, decode_vectors, encode_item
from streamer.events.model import DEAD, ITEMS, VECTORS, ItemDocument, ItemVectors
from streamer.ports import LogError, OutRecord, TopicPartition

DEADLINE_S = 60
STEPS_MAX = 50
LONG_TITLE = "Number {} of those titles of which a few fill a slice " + "and " * 100


class Counted:
    """The real encoder, with a count of the texts that reach it and a text that breaks it."""

    def __init__(self, inner: TextEncoder) -> None:
        self.inner = inner
        self.texts: list[str] = []
        self.between: Callable[[], None] = lambda: None
        self.broken_by: str | None = None
        self.name = inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self.inner.dimensions

    @property
    def fingerprint(self) -> str:
        return self.name

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.between()
        if self.broken_by is not None and any(self.broken_by in text for text in texts):
            message = "cannot read this"
            raise RuntimeError(message)
        self.texts.extend(texts)
        return self.inner.encode(texts)


@pytest.fixture(scope="module")
def model() -> TextEncoder:
    return load_text_encoder(Encoder())


@pytest.fixture
def encoder(model: TextEncoder) -> Counted:
    return Counted(model)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[VectorCache]:
    cache = VectorCache(tmp_path / "vectors", vectors_max=1_000)
    yield cache
    cache.close()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=2)


@pytest.fixture
def config() -> Config:
    return Config(encoder=Encoder(batch_items_max=4))


@pytest.fixture
def make_worker(broker: MemoryBroker, encoder: Counted, cache: VectorCache, config: Config) -> Callable[[], EncoderWorker]:
    def make() -> EncoderWorker:
        log = MemoryLog(broker, group=config.encoder_group, topics=[ITEMS], exclusive=False)
        return EncoderWorker(log, MemoryWriter(broker), of_texts(encoder, cache, config), admin=MemoryAdmin(broker))

    return make


def of_texts(encoder: TextEncoder, cache: VectorCache, config: Config) -> DocumentVectors:
    """Vectors of texts alone."""
    counters = EncoderCounters()
    source = text_source(encoder, cache, counters, config.encoder, time.monotonic)
    return DocumentVectors(counters, source, None, encoder.fingerprint)


def document(item_id: str, title: str | None, **fields: object) -> ItemDocument:
    return ItemDocument(item_id=item_id, title=title, **fields)


def put(broker: MemoryBroker, *documents: ItemDocument) -> None:
    for one in documents:
        broker.append(OutRecord(ITEMS, one.item_id.encode(), encode_item(one)))


def vectors(broker: MemoryBroker) -> dict[str, ItemVectors | None]:
    """The last vectors of each item, None where they were deleted."""
    last: dict[str, ItemVectors | None] = {}
    for record in broker.records(VECTORS):
        assert record.key is not None
        decoded = None if record.value is None else decode_vectors(record.value)
        assert decoded is None or isinstance(decoded, ItemVectors), decoded
        last[record.key.decode()] = decoded
    return last


def drain(broker: MemoryBroker, *workers: EncoderWorker) -> None:
    """Steps in turn until all of ``items`` is committed, under the present topic and encoder."""
    for _ in range(STEPS_MAX):
        ends = {where: end for where, (_, end) in MemoryAdmin(broker).bounds().items() if where.topic == ITEMS and end}
        committed = broker.groups[workers[0]._log.group].committed
        metadata = workers[0]._metadata()
        if all(where in committed and committed[where] == (end, metadata) for where, end in ends.items()):
            return
        for worker in workers:
            worker.step(0)
    pytest.fail(f"after {STEPS_MAX} steps {committed} is committed, not {ends}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        pause.wait(0.01)


def test_each_document_gets_the_encoders_vector_of_its_text(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    boots = document("i1", "Boots", text="Warm and dry", categories=("shoes", "winter"))
    put(broker, boots, document("i2", "Hat"))
    worker = make_worker()
    drain(broker, worker)
    found = vectors(broker)
    assert found.keys() == {"i1", "i2"}
    assert found["i1"] is not None
    assert found["i1"].fingerprint == encoder.fingerprint
    assert found["i1"].content_hash == content_hash(boots)
    assert found["i1"].image is None
    vector = np.frombuffer(found["i1"].text or b"", "<f2")
    assert np.allclose(vector, encoder.inner.encode(["Boots\nshoes, winter\nWarm and dry"])[0], atol=1e-3)
    assert (worker.counters.encoded, worker.counters.written) == (2, 2)
    assert worker.counters.encode_seconds > 0


def test_the_last_document_of_an_item_wins_and_the_earlier_ones_are_not_encoded(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    last = document("i1", "Third")
    put(broker, document("i1", "First"), document("i1", "Second"), last)
    drain(broker, make_worker())
    assert encoder.texts == ["Third"]
    found = vectors(broker)["i1"]
    assert found is not None
    assert found.content_hash == content_hash(last)


def test_a_deleted_item_loses_its_vectors(broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]) -> None:
    put(broker, document("i1", "Boots"), document("i2", "Hat"))
    worker = make_worker()
    drain(broker, worker)
    broker.append(OutRecord(ITEMS, b"i1", None))
    drain(broker, worker)
    found = vectors(broker)
    assert found["i1"] is None
    assert found["i2"] is not None


def test_a_document_without_text_gets_a_record_without_a_vector(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    put(broker, document("i1", None), document("i2", "  "))
    drain(broker, make_worker())
    assert [found and found.text for found in vectors(broker).values()] == [None, None]
    assert None not in vectors(broker).values()
    assert encoder.texts == []


def test_an_unchanged_document_is_never_encoded_again(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    worker = make_worker()
    put(broker, document("i1", "Boots"), document("i2", "Boots"))
    drain(broker, worker)
    put(broker, document("i1", "Boots", available=False), document("i3", "Boots"))
    drain(broker, worker)
    assert encoder.texts == ["Boots"]
    assert worker.counters.cached == 1
    assert len({found and found.text for found in vectors(broker).values()}) == 1


def test_a_record_that_is_no_document_is_counted_and_the_others_go_on(
    broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]
) -> None:
    broker.append(OutRecord(ITEMS, b"bad", b"{"))
    put(broker, document("i1", "Boots"))
    worker = make_worker()
    drain(broker, worker)
    assert broker.records(DEAD) == [], "the owner reads the record too, and buries it"
    assert worker.counters.rejected == 1
    assert vectors(broker).keys() == {"i1"}


def test_a_document_that_breaks_the_encoder_goes_to_the_dead_letters_and_the_others_go_on(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    encoder.broken_by = "poison"
    put(broker, *(document(f"i{n}", f"title {n}") for n in range(5)), document("bad", "poison"))
    worker = make_worker()
    drain(broker, worker)
    (dead,) = broker.records(DEAD)
    assert (dead.key, dict(dead.headers)["reason"]) == (b"bad", b"engine_error")
    assert vectors(broker).keys() == {f"i{n}" for n in range(5)}
    assert worker.counters.failed == 1


def test_an_encoder_that_can_encode_nothing_stops_the_worker_and_commits_nothing(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    encoder.broken_by = ""
    put(broker, document("i1", "Boots"))
    worker = make_worker()
    with pytest.raises(RuntimeError, match="cannot read this"):
        drain(broker, worker)
    assert broker.records(DEAD) == []
    assert worker.positions == {}


def test_another_encoder_reads_the_items_from_the_beginning(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker]
) -> None:
    put(broker, document("i1", "Boots"))
    first = make_worker()
    drain(broker, first)
    first._log.close()
    encoder.name = "another"
    drain(broker, make_worker())
    found = vectors(broker)["i1"]
    assert found is not None
    assert found.fingerprint == "another"


def test_a_topic_made_anew_is_read_from_its_beginning(broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]) -> None:
    put(broker, *(document(f"i{n}", f"title {n}") for n in range(6)))
    first = make_worker()
    drain(broker, first)
    first._log.close()
    broker.create(ITEMS)
    put(broker, *(document(f"new{n}", f"title {n}") for n in range(9)))
    drain(broker, make_worker())
    assert {f"new{n}" for n in range(9)} <= vectors(broker).keys()


def test_records_removed_before_they_were_read_are_passed_over(
    broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]
) -> None:
    put(broker, *(document(f"i{n}", "Boots") for n in range(8)))
    worker = make_worker()
    worker.step(0)  # takes up its partitions at offset 0
    for partition in (0, 1):
        broker.trim(TopicPartition(ITEMS, partition), 2)
    drain(broker, worker)
    assert len(vectors(broker)) == 4


@pytest.mark.parametrize("operation", ["poll", "seek", "committed", "commit", "append", "flush"])
def test_a_log_that_is_away_for_a_moment_costs_no_vector(
    broker: MemoryBroker, make_worker: Callable[[], EncoderWorker], operation: str
) -> None:
    put(broker, *(document(f"i{n}", f"title {n}") for n in range(6)))
    broker.raise_next(operation, LogError("away", retriable=True))
    worker = make_worker()
    with pytest.raises(LogError, match="away"):
        drain(broker, worker)
    drain(broker, worker)
    assert vectors(broker).keys() == {f"i{n}" for n in range(6)}


def test_a_record_that_the_log_never_takes_is_counted_and_given_up(
    broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]
) -> None:
    put(broker, document("i1", "Boots"), document("i2", "Hat"))
    broker.raise_next("append", LogError("too large", retriable=False))
    worker = make_worker()
    drain(broker, worker)
    assert (worker.counters.refused, worker.counters.written) == (1, 1)


def test_a_member_expelled_while_it_encodes_commits_nothing_and_the_work_is_done_under_the_next_generation(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker], config: Config
) -> None:
    put(broker, *(document(f"i{n}", LONG_TITLE.format(n)) for n in range(20)))
    worker, other = make_worker(), make_worker()
    worker.step(0)
    encoder.between = lambda: broker.expel(worker._log)
    assert worker.step(0) == 0
    encoder.between = lambda: None
    assert broker.groups[config.encoder_group].committed == {}
    drain(broker, worker, other)
    assert len(vectors(broker)) == 20


def test_a_worker_told_to_stop_while_it_encodes_ends_before_its_poll_is_done_and_commits_nothing(
    broker: MemoryBroker, encoder: Counted, make_worker: Callable[[], EncoderWorker], config: Config
) -> None:
    put(broker, *(document(f"i{n}", LONG_TITLE.format(n)) for n in range(40)))
    stop = threading.Event()
    encoder.between = stop.set
    worker = make_worker()
    worker.run(stop)
    assert 0 < worker.counters.encoded < 20
    assert broker.groups[config.encoder_group].committed == {}


def test_two_workers_share_the_partitions(broker: MemoryBroker, make_worker: Callable[[], EncoderWorker]) -> None:
    workers = [make_worker(), make_worker()]
    for worker in workers:
        worker.step(0)
    workers[0].step(0)  # learns of the second member
    put(broker, *(document(f"i{n}", f"title {n}") for n in range(20)))
    assert all(worker.step(0) for worker in workers)
    assert [worker.counters.encoded for worker in workers] != [20, 0]
    assert len(vectors(broker)) == 20


def test_a_cache_that_fails_slows_the_worker_and_stops_nothing(
    broker: MemoryBroker, make_worker: Callable[[], EncoderWorker], cache: VectorCache
) -> None:
    cache.close()
    put(broker, document("i1", "Boots"))
    worker = make_worker()
    drain(broker, worker)
    assert worker.counters.cache_errors == 2
    assert vectors(broker)["i1"] is not None


def test_a_worker_without_topics_waits_for_them(make_worker: Callable[[], EncoderWorker], broker: MemoryBroker) -> None:
    topics = dict(broker.topics)
    broker.topics.clear()
    worker, stop = make_worker(), threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        broker.topics.update(topics)
        put(broker, document("i1", "Boots"))
        wait_until(lambda: len(vectors(broker)) == 1)
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_worker_on_the_embedded_log_goes_on_where_another_stopped(
    tmp_path: Path, encoder: Counted, cache: VectorCache
) -> None:
    config = Config(log=Log(kind="embedded", root=str(tmp_path / "log")), kafka=Kafka(partitions=2))
    admin, writer = EmbeddedAdmin(config), EmbeddedWriter(config)
    admin.create_topics()
    titles = [f"The film number {n}" for n in range(40)]
    for first in (0, 20):
        for n in range(first, first + 20):
            writer.send(OutRecord(ITEMS, f"i{n}".encode(), encode_item(document(f"i{n}", titles[n]))))
        writer.flush(DEADLINE_S)
        log = EmbeddedLog(config, group=config.encoder_group, topics=[ITEMS], exclusive=False)
        worker, stop = EncoderWorker(log, writer, of_texts(encoder, cache, config), admin=admin), threading.Event()
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda worker=worker, thread=thread: worker.counters.written == 20 or not thread.is_alive())
            ends = {where: end for where, (_, end) in admin.bounds().items() if where.topic == ITEMS}
            wait_until(lambda worker=worker, ends=ends: worker.positions == ends)
        finally:
            stop.set()
            thread.join(DEADLINE_S)
            log.close()
    assert sorted(encoder.texts) == sorted(titles)
    assert sum(end for where, (_, end) in admin.bounds().items() if where.topic == VECTORS) == 40
    writer.close()
    admin.close()


def next_offsets(log: KafkaLog) -> dict[TopicPartition, int]:
    """What the group has committed; nothing while a broker that has just started elects the group's coordinator."""
    try:
        return {where: found.next_offset for where, found in log.committed().items()}
    except LogError as error:
        if not error.retriable:
            raise
        return {}


def test_workers_on_kafka_commit_all_items_between_them(
    kafka_config: Callable[..., Config], model: TextEncoder, tmp_path: Path
) -> None:
    config = kafka_config(partitions=4)
    stop = threading.Event()
    with ExitStack() as stack:
        admin = stack.enter_context(closing(KafkaAdmin(config)))
        writer = stack.enter_context(closing(KafkaWriter(config)))
        admin.create_topics()
        for n in range(40):
            writer.send(OutRecord(ITEMS, f"i{n}".encode(), encode_item(document(f"i{n}", f"The film number {n}"))))
        writer.flush(DEADLINE_S)
        observer = stack.enter_context(closing(KafkaLog(config, group=config.encoder_group, topics=[ITEMS], exclusive=False)))
        for _ in range(2):
            log = stack.enter_context(closing(KafkaLog(config, group=config.encoder_group, topics=[ITEMS], exclusive=False)))
            cache = stack.enter_context(closing(VectorCache(tmp_path, vectors_max=1_000)))
            own_admin = stack.enter_context(closing(KafkaAdmin(config)))
            worker = EncoderWorker(log, writer, of_texts(model, cache, config), admin=own_admin)
            thread = threading.Thread(target=worker.run, args=(stop,))
            thread.start()
            stack.callback(thread.join, DEADLINE_S)
            stack.callback(stop.set)
        ends = {where: end for where, (_, end) in admin.bounds().items() if where.topic == ITEMS}
        wait_until(lambda: next_offsets(observer) == ends)
        assert sum(end for where, (_, end) in admin.bounds().items() if where.topic == VECTORS) >= 40
