"""The embedded log: what its own shape must keep; the port's semantics are in the contract suite."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafka_murmur2

from streamer.config.tree import Config, Kafka, Log
from streamer.embedded import EmbeddedAdmin, EmbeddedLog, EmbeddedWriter
from streamer.embedded.appending import RECORD_BYTES_MAX, RUN_BYTES_MAX
from streamer.embedded.batches import murmur2, pack, pack_headers, partition_of, unpack, unpack_headers
from streamer.embedded.database import translated
from streamer.events.model import EVENTS, FORGET, INPUT_TOPICS
from streamer.ports import FencedError, LogError, OffsetGapError, OutRecord, RecordBatch, TopicPartition, TopicsMissingError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(log=Log(kind="embedded", root=str(tmp_path / "log")), kafka=Kafka(partitions=3, request_timeout_ms=2_000))


@pytest.fixture
def admin(config: Config) -> Iterator[EmbeddedAdmin]:
    with contextlib.closing(EmbeddedAdmin(config)) as made:
        made.create_topics()
        yield made


@pytest.fixture
def writer(config: Config, admin: EmbeddedAdmin) -> Iterator[EmbeddedWriter]:  # noqa: ARG001 it made the topics
    with contextlib.closing(EmbeddedWriter(config)) as made:
        yield made


@pytest.fixture
def member(config: Config, admin: EmbeddedAdmin) -> Iterator[EmbeddedLog]:  # noqa: ARG001 it made the topics
    with contextlib.closing(EmbeddedLog(config, group="g", topics=INPUT_TOPICS, exclusive=True)) as made:
        yield made


def with_kafka(config: Config, **settings: object) -> Config:
    return Config(log=config.log, kafka=Kafka(**({"partitions": 3, "request_timeout_ms": 2_000} | settings)))  # type: ignore[arg-type]


def start(member: EmbeddedLog, admin: EmbeddedAdmin) -> None:
    assert member.poll(1_000).generation is not None
    member.seek({place: beginning for place, (beginning, _) in admin.bounds().items()})


def read(member: EmbeddedLog, count: int) -> list[RecordBatch]:
    found: list[RecordBatch] = []
    while sum(len(batch.offsets) for batch in found) < count:
        polled = member.poll(1_000).batches
        assert polled, f"the log ran dry after {sum(len(batch.offsets) for batch in found)} of {count} records"
        found += polled
    return found


def event(number: int, user: str = "u") -> OutRecord:
    return OutRecord(EVENTS, user.encode(), b"%d" % number)


# Packing and hashing


@given(st.lists(st.none() | st.binary(max_size=5), max_size=20), st.data())
def test_any_part_of_a_packed_column_comes_back(column: list[bytes | None], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(column)))
    stop = data.draw(st.integers(first, len(column)))
    assert unpack(*pack(column), first, stop) == column[first:stop]


@given(st.lists(st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3).map(tuple), max_size=5))
def test_headers_come_back(headers: list[tuple[tuple[str, bytes], ...]]) -> None:
    assert unpack_headers(pack_headers(headers), len(headers)) == headers


def test_a_column_whose_lengths_do_not_fit_is_called_damaged() -> None:
    lengths, contents = pack([b"abc"])
    with pytest.raises(LogError, match="damaged: lengths add up to 3 bytes, found 2"):
        unpack(lengths, contents[:-1], 0, 1)


@given(st.binary(max_size=40))
def test_keys_hash_as_in_kafka(key: bytes) -> None:
    assert murmur2(key) == kafka_murmur2(key) & 0xFFFFFFFF
    assert partition_of(key, 7) == (kafka_murmur2(key) & 0x7FFFFFFF) % 7


# Appending


def test_records_without_a_key_go_round_the_partitions(writer: EmbeddedWriter, admin: EmbeddedAdmin) -> None:
    for n in range(9):
        writer.send(OutRecord(EVENTS, None, b"%d" % n))
    writer.flush(5)
    assert [admin.bounds()[TopicPartition(EVENTS, p)] for p in range(3)] == [(0, 3)] * 3


def test_append_time_is_the_logs_own_and_never_goes_back(config: Config, admin: EmbeddedAdmin, member: EmbeddedLog) -> None:
    times = iter([5_000, 4_000, 6_000])
    with contextlib.closing(EmbeddedWriter(config, now_ms=lambda: next(times))) as writer:
        for n in range(3):
            writer.send(event(n))
            writer.flush(5)
    start(member, admin)
    stamps = [stamp for batch in read(member, 3) for stamp in batch.append_ms]
    assert stamps == [5_000, 5_000, 6_000]


def test_a_record_that_is_too_large_is_refused_alone(writer: EmbeddedWriter, admin: EmbeddedAdmin, member: EmbeddedLog) -> None:
    answers: dict[bytes | None, Exception | None] = {}

    def note(record: OutRecord, error: Exception | None) -> None:
        answers[record.key] = error

    writer.send(OutRecord(EVENTS, b"small", b"1"), note)
    writer.send(OutRecord(EVENTS, b"large", bytes(RECORD_BYTES_MAX)), note)
    writer.send(OutRecord("nowhere", b"lost", b"1"), note)
    writer.send(OutRecord(EVENTS, b"after", b"2"), note)
    writer.flush(5)
    assert answers[b"small"] is None
    assert answers[b"after"] is None
    assert f"at most {RECORD_BYTES_MAX}" in str(answers[b"large"])
    assert isinstance(answers[b"lost"], TopicsMissingError)
    start(member, admin)
    assert {key for batch in read(member, 2) for key in batch.keys} == {b"small", b"after"}


def test_callbacks_come_in_the_order_of_sending_and_one_that_raises_stops_nothing(
    writer: EmbeddedWriter, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes | None] = []

    def note(record: OutRecord, error: Exception | None) -> None:
        assert error is None
        seen.append(record.value)
        if record.value == b"3":
            raise RuntimeError("boom")

    for n in range(500):
        writer.send(event(n, f"u{n % 7}"), note)
    writer.flush(5)
    assert seen == [b"%d" % n for n in range(500)]
    assert "callback" in caplog.text


def test_send_blocks_while_the_buffer_is_full(config: Config, admin: EmbeddedAdmin) -> None:
    small = with_kafka(config, buffer_records_max=10, request_timeout_ms=10_000)
    holder = sqlite3.connect(Path(config.log.root) / "log.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    writer = EmbeddedWriter(small)
    sent: list[int] = []

    def send() -> None:
        for n in range(25):
            writer.send(event(n))
            sent.append(n)

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: len(sent) == 10)
    with pytest.raises(LogError, match="10 records still wait"):
        writer.flush(0.05)
    assert len(sent) == 10
    holder.execute("ROLLBACK")
    holder.close()
    sender.join(10)
    writer.close()
    assert sum(end for _, end in admin.bounds().values()) == 25


@pytest.mark.usefixtures("admin")
def test_a_log_that_another_process_holds_refuses_and_says_so(config: Config) -> None:
    holder = sqlite3.connect(Path(config.log.root) / "log.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    answers: list[Exception | None] = []
    with contextlib.closing(EmbeddedWriter(with_kafka(config, request_timeout_ms=50))) as writer:
        writer.send(event(1), lambda _, error: answers.append(error))
        writer.flush(5)
        (error,) = answers
        assert isinstance(error, LogError)
        assert error.retriable
        assert "kafka.request_timeout_ms" in str(error)
        holder.execute("ROLLBACK")
        holder.close()
        writer.send(event(2), lambda _, error: answers.append(error))
        writer.flush(5)
    assert answers[1] is None


def test_a_closed_writer_refuses(writer: EmbeddedWriter) -> None:
    writer.send(event(1))
    writer.close()
    with pytest.raises(LogError, match="closed"):
        writer.send(event(2))


def test_a_forked_child_appends_with_a_thread_of_its_own(writer: EmbeddedWriter, admin: EmbeddedAdmin) -> None:
    writer.send(event(1))
    writer.flush(5)
    child = os.fork()
    if child == 0:
        try:
            writer.send(event(2))
            writer.close()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    writer.send(event(3))
    writer.flush(5)
    assert status == 0
    assert sum(end for _, end in admin.bounds().values()) == 3


# A process that appends for ever, printing each acknowledged number.
APPEND = """
import sys
from streamer.config.tree import Config, Kafka, Log
from streamer.embedded import EmbeddedWriter
from streamer.ports import OutRecord
writer = EmbeddedWriter(Config(log=Log(root=sys.argv[1]), kafka=Kafka(buffer_records_max=500)))
def note(record, error):
    print("refused " + str(error) if error else record.value.decode(), flush=record.value.endswith(b"9"))
for n in range(int(sys.argv[2])):
    writer.send(OutRecord("events", b"u%d" % (n % 50), b"%d" % n), note)
writer.close()
"""


def test_killing_a_writer_loses_no_acknowledged_record_and_tears_none(
    config: Config, admin: EmbeddedAdmin, member: EmbeddedLog, writer: EmbeddedWriter
) -> None:
    command = [sys.executable, "-c", APPEND, config.log.root, "100000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(5_000)]
        child.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().split(b"\n")[:-1]]
    writer.send(OutRecord(EVENTS, b"after", b"-1"))
    writer.flush(5)
    start(member, admin)
    total = sum(end for _, end in admin.bounds().values())
    found = read(member, total)
    values = sorted(int(value) for batch in found for value in batch.values if value is not None)
    assert values == list(range(-1, total - 1)), "records were torn, doubled or left out"
    assert set(acknowledged) <= set(values)


def test_a_disk_that_takes_no_more_refuses_and_keeps_what_it_has(config: Config, admin: EmbeddedAdmin) -> None:
    limit = 2_000_000

    def little_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    script = APPEND.replace('%d" % n), note', '%d" % n + bytes(2_000)), note')
    child = subprocess.run(
        [sys.executable, "-c", script, config.log.root, "3000"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        preexec_fn=little_room,
    )
    refused = [line for line in child.stdout.split(b"\n") if line.startswith(b"refused")]
    total = sum(end for _, end in admin.bounds().values())
    assert 0 < total < 3_000
    assert len(refused) == 3_000 - total
    assert b"check space" in refused[0]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "small.sqlite", isolation_level=None)
    connection.execute("PRAGMA max_page_count=2")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.executescript("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x)")
    error = translated(raised.value, tmp_path / "small.sqlite")
    assert error.retriable
    assert "the disk is full; free space under log.root" in str(error)


# Reading


def test_polls_hold_at_most_max_poll_records_and_share_them_fairly(config: Config, admin: EmbeddedAdmin) -> None:
    few = with_kafka(config, max_poll_records=30)
    with contextlib.closing(EmbeddedWriter(config)) as writer:
        for n in range(300):
            writer.send(OutRecord(EVENTS, None, b"%d" % n))
        for n in range(5):
            writer.send(OutRecord(FORGET, b"u", b"%d" % n))
    with contextlib.closing(EmbeddedLog(few, group="g", topics=INPUT_TOPICS, exclusive=True)) as member:
        start(member, admin)
        counts = {(one.topic, one.partition): len(one.offsets) for one in member.poll(1_000).batches}
        assert sum(counts.values()) == 30
        assert counts[FORGET, next(p for t, p in counts if t == FORGET)] == 5
        assert all(count >= 7 for (topic, _), count in counts.items() if topic == EVENTS)


def test_every_partition_gets_its_turn_when_a_poll_holds_fewer_records_than_there_are_partitions(
    config: Config, writer: EmbeddedWriter, admin: EmbeddedAdmin
) -> None:
    for n in range(30):
        writer.send(OutRecord(EVENTS, None, b"%d" % n))
    writer.flush(5)
    one = with_kafka(config, max_poll_records=1)
    with contextlib.closing(EmbeddedLog(one, group="g", topics=INPUT_TOPICS, exclusive=True)) as member:
        start(member, admin)
        assert {member.poll(1_000).batches[0].partition for _ in range(3)} == {0, 1, 2}


def test_a_read_may_begin_and_end_inside_a_stored_run(config: Config, writer: EmbeddedWriter, admin: EmbeddedAdmin) -> None:
    values = [b"%d" % n for n in range(1_000)]
    for value in values:
        writer.send(OutRecord(EVENTS, b"u", value))
    writer.flush(5)
    place = TopicPartition(EVENTS, partition_of(b"u", 3))
    few = with_kafka(config, max_poll_records=7)
    with contextlib.closing(EmbeddedLog(few, group="g", topics=INPUT_TOPICS, exclusive=True)) as member:
        start(member, admin)
        for first in (0, 3, 500, 990, 999):
            member.seek({place: first})
            (batch,) = member.poll(1_000).batches
            assert batch.offsets == list(range(first, min(first + 7, 1_000)))
            assert batch.values == values[first : first + 7]
            assert batch.next_offset == batch.offsets[-1] + 1


def test_large_values_come_in_several_runs_and_polls(
    writer: EmbeddedWriter, admin: EmbeddedAdmin, member: EmbeddedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.embedded.log.POLL_BYTES_MAX", 2 * RUN_BYTES_MAX)
    value = bytes(RUN_BYTES_MAX // 2 - 10)
    for _ in range(12):
        writer.send(OutRecord(EVENTS, b"u", value))
    writer.flush(10)
    start(member, admin)
    first = len(member.poll(1_000).batches[0].offsets)
    assert first <= 6
    assert sum(len(batch.offsets) for batch in read(member, 12 - first)) == 12 - first


def test_a_trim_inside_a_stored_run_moves_the_beginning(
    writer: EmbeddedWriter, admin: EmbeddedAdmin, member: EmbeddedLog
) -> None:
    for n in range(10):
        writer.send(event(n))
    writer.flush(5)
    place = TopicPartition(EVENTS, partition_of(b"u", 3))
    start(member, admin)
    admin.trim(place, 4)
    assert admin.bounds()[place] == (4, 10)
    with pytest.raises(OffsetGapError) as raised:
        member.poll(100)
    assert (raised.value.position, raised.value.beginning, raised.value.end) == (0, 4, 10)
    member.seek({place: 4})
    assert read(member, 6)[0].offsets == [4, 5, 6, 7, 8, 9]
    admin.trim(place, 10)
    assert admin.bounds()[place] == (10, 10)
    with pytest.raises(LogError, match="before offset 11"):
        admin.trim(place, 11)


def test_a_poll_wakes_when_another_process_appends(config: Config, admin: EmbeddedAdmin, member: EmbeddedLog) -> None:
    start(member, admin)
    with subprocess.Popen([sys.executable, "-c", APPEND, config.log.root, "1"], stdout=subprocess.PIPE, cwd=ROOT) as child:
        (batch,) = member.poll(20_000).batches
        assert child.wait(20) == 0
    assert batch.values == [b"0"]


# Membership


def test_an_owner_whose_lock_was_taken_away_is_fenced(config: Config, admin: EmbeddedAdmin, member: EmbeddedLog) -> None:
    start(member, admin)
    place = TopicPartition(EVENTS, 0)
    (Path(config.log.root) / "groups" / "g.lock").unlink()
    with contextlib.closing(EmbeddedLog(config, group="g", topics=INPUT_TOPICS, exclusive=True)) as other:
        assert other.poll(1_000).generation == 2
        with pytest.raises(FencedError, match="its generation 1 is over"):
            member.commit({place: 0}, "stale")
        assert other.committed() == {}
        assert member.poll(50).generation is None
        with pytest.raises(FencedError, match="owns no partitions"):
            member.commit({place: 0}, "stale")


def test_a_killed_owner_leaves_the_group_to_a_standby(config: Config, member: EmbeddedLog) -> None:
    script = (
        "import sys; from streamer.config.tree import *; from streamer.embedded import *\n"
        "log = EmbeddedLog(Config(log=Log(root=sys.argv[1])), group='g', topics=('events',), exclusive=True)\n"
        "print(log.poll(1000).generation, flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, config.log.root], cwd=ROOT, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.readline() == b"1\n"
        assert member.poll(20).generation is None
        child.kill()
        child.wait(10)
        assert member.poll(2_000).generation == 2


def test_groups_and_prefixes_do_not_meet(config: Config, admin: EmbeddedAdmin, writer: EmbeddedWriter) -> None:
    writer.send(event(1))
    writer.flush(5)
    other = with_kafka(config, topic_prefix="eu.", partitions=1)
    with contextlib.closing(EmbeddedAdmin(other)) as second:
        assert second.topics() == {}
        assert EVENTS in second.create_topics()
        assert second.topics()[EVENTS].topic_id != admin.topics()[EVENTS].topic_id
        assert second.bounds()[TopicPartition(EVENTS, 0)] == (0, 0)
        assert TopicPartition(EVENTS, 1) not in second.bounds()


# What can be wrong with the file


def test_a_log_nobody_made_names_the_command(config: Config) -> None:
    with contextlib.closing(EmbeddedLog(config, group="g", topics=INPUT_TOPICS, exclusive=True)) as member:
        with pytest.raises(TopicsMissingError, match="streamer topics create"):
            member.poll(0)
        assert not Path(config.log.root).exists(), "a reader made the log"
        with contextlib.closing(EmbeddedAdmin(config)) as admin:
            assert admin.topics() == admin.bounds() == {}
            admin.create_topics()
        assert member.poll(1_000).generation == 1


def test_a_log_removed_under_its_users_is_noticed(
    config: Config, admin: EmbeddedAdmin, member: EmbeddedLog, writer: EmbeddedWriter
) -> None:
    start(member, admin)
    writer.send(event(1))
    writer.flush(5)
    (Path(config.log.root) / "log.sqlite").unlink()
    with pytest.raises(LogError, match="removed or replaced"):
        member.poll(0)
    answers: list[Exception | None] = []
    writer.send(event(2), lambda _, error: answers.append(error))
    writer.flush(5)
    assert "removed or replaced" in str(answers[0])


def test_a_foreign_file_and_a_newer_format_are_refused(config: Config, admin: EmbeddedAdmin) -> None:
    path = Path(config.log.root) / "log.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=7")
    with pytest.raises(LogError, match="format 7, this version reads format 1"):
        EmbeddedLog(config, group="g", topics=INPUT_TOPICS, exclusive=True).poll(0)
    admin.close()
    for companion in path.parent.glob("log.sqlite*"):
        companion.unlink()
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LogError, match="no SQLite file"):
        EmbeddedLog(config, group="g", topics=INPUT_TOPICS, exclusive=True).poll(0)


def wait_until(reached: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not reached():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        pause.wait(0.005)
