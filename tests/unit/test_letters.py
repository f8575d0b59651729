"""What a worker says of the letters that it sends, and the attempts that it counts."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from faulty_ports import Clock
from memory_log import START_MS, MemoryBroker, MemoryWriter

from consumers.apart import Apart, OffsetRange
from consumers.kafka_fetch import batch_of
from consumers.letters import DeadLetters
from consumers.measurements import Measurements
from consumers.work import decode
from streamer.events.model import DEAD, RejectReason
from streamer.ports import RecordBatch, TopicPartition


def batch(count: int, headers: dict[int, tuple[tuple[str, bytes], ...]]) -> RecordBatch:
    return RecordBatch("events", 0, count, list(range(count)), [START_MS] * count, [b"u"] * count, [b"{"] * count, headers)


def test_a_record_that_is_rejected_again_has_one_attempt_more_and_a_header_that_says_nonsense_is_none() -> None:
    found = {
        1: ((("attempts", b"1")),),
        2: (("x", b"7"), ("attempts", b"41")),
        3: (("attempts", b"-9"),),
        4: (("attempts", b"9" * 400),),
    }
    (work,) = decode([batch(6, found)], {})
    assert [one.attempts for one in work.dead] == [1, 2, 42, 1, 1, 1]
    (work,) = decode([batch(6, found).part(2, 4)], {})
    assert [one.attempts for one in work.dead] == [42, 1]


def test_a_header_whose_value_is_null_counts_as_empty() -> None:
    record = SimpleNamespace(offset=0, timestamp=START_MS, key=b"u", value=b"{", headers=[("attempts", None)])
    found = batch_of(TopicPartition("events", 0), 1, [record])
    assert found.headers == {0: (("attempts", b""),)}
    (work,) = decode([found], {})
    assert [one.attempts for one in work.dead] == [1]


def test_records_that_an_operator_left_out_are_one_line_of_the_log_and_a_letter_each(caplog: pytest.LogCaptureFixture) -> None:
    broker, measurements = MemoryBroker(), Measurements()
    letters = DeadLetters(MemoryWriter(broker), Clock(START_MS), measurements)
    works = decode([batch(9, {})], {}, Apart([OffsetRange("events", 0, 2, 7)]))
    with caplog.at_level(logging.INFO, "consumers.letters"):
        for work in works:
            letters.add(work.dead)
    said = [(one.levelname, one.getMessage()) for one in caplog.records]
    assert [level for level, _ in said] == ["WARNING", "WARNING", "INFO", "WARNING", "WARNING"]
    assert said[2][1] == "events[0]:2-6: 5 records left out by an operator"
    assert measurements.rejected == {"invalid_json": 4, "engine_error": 5}
    writer = MemoryWriter(broker)
    letters._writer = writer
    letters.send()
    writer.flush(1)
    reasons = [dict(record.headers)["reason"].decode() for record in broker.records(DEAD)]
    assert sorted(reasons) == [RejectReason.ENGINE_ERROR] * 5 + [RejectReason.INVALID_JSON] * 4
    assert {dict(one.headers)["error"] for one in broker.records(DEAD) if b"engine" in dict(one.headers)["reason"]} == {
        b"left out: an operator said so (streamer reset --leave-out)"
    }
