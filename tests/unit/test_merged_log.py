"""A bounded log merged by its partitions' heads: by definition, however it is cut, with gaps, errors and ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_log import MemoryAdmin, MemoryBroker, MemoryLog, MemoryReader

from consumers.merged_log import MergedLog
from consumers.work import OWNER_TOPICS
from streamer.events.model import CONTROL, EVENTS, INPUT_TOPICS, ITEMS, VECTORS
from streamer.ports import LogError, OffsetGapError, OutRecord, RecordBatch, TopicPartition

T0 = 1_700_000_000_000
PARTITIONS = 3
PLACES = [TopicPartition(topic, n) for topic in OWNER_TOPICS for n in range(1 if topic == CONTROL else PARTITIONS)]


class Line(NamedTuple):
    """A record as the tests see it."""

    place: TopicPartition
    offset: int


class Sent(NamedTuple):
    """Seconds after T0, or None for a record without a time of its own."""

    place: TopicPartition
    second: int | None

    def value(self) -> bytes | None:
        if self.second is None:
            return None if self.place.topic == ITEMS else b"{"
        return json.dumps({"timestamp": T0 + 1_000 * self.second}).encode()


STREAM = st.lists(st.builds(Sent, st.sampled_from(PLACES), st.none() | st.integers(0, 9)), max_size=60)


class MemoryLine:
    """A log in memory with these records, and members that read it merged."""

    def __init__(self, sent: Iterable[Sent]) -> None:
        self.broker = MemoryBroker(partitions=PARTITIONS)
        self.sent: dict[TopicPartition, list[Sent]] = {place: [] for place in PLACES}
        self.add(sent)

    def add(self, sent: Iterable[Sent]) -> None:
        for one in sent:
            self.sent[one.place].append(one)
            partition = self.broker.topics[one.place.topic].partitions[one.place.partition]
            partition.records.append(OutRecord(one.place.topic, b"k", one.value()))
            partition.append_ms.append(T0)

    def member(self, records_max: int = 500) -> MergedLog:
        log = MemoryLog(self.broker, group="g", topics=OWNER_TOPICS, exclusive=True)
        return MergedLog(log, MemoryReader(self.broker), MemoryAdmin(self.broker), records_max=records_max)

    def started(self, records_max: int = 500) -> MergedLog:
        member = self.member(records_max)
        assert member.poll(0).generation is not None
        member.seek(dict.fromkeys(PLACES, 0))
        return member

    def by_definition(self) -> list[Line]:
        """At each step the smallest head."""
        at, order = dict.fromkeys(PLACES, 0), []
        while heads := [place for place in PLACES if at[place] < len(self.sent[place])]:

            def key(place: TopicPartition) -> tuple[int, int, int]:
                one = self.sent[place][at[place]]
                timed = one.second is not None and place.topic != VECTORS
                return (T0 + 1_000 * one.second if timed else 0), INPUT_TOPICS.index(place.topic), place.partition

            first = min(heads, key=key)
            order.append(Line(first, at[first]))
            at[first] += 1
        return order


def lines(batches: Sequence[RecordBatch]) -> list[Line]:
    return [Line(TopicPartition(batch.topic, batch.partition), at) for batch in batches for at in batch.offsets]


def next_of(member: MergedLog) -> list[RecordBatch]:
    """What the next poll brings that has something: before it each partition is read ahead once at most."""
    return next((batches for _ in PLACES if (batches := member.poll(0).batches)), [])


def read_all(member: MergedLog) -> list[RecordBatch]:
    batches: list[RecordBatch] = []
    while got := next_of(member):
        batches += got
    return batches


@given(STREAM, st.sampled_from([1, 2, 5, 500]))
def test_the_order_is_that_of_the_heads_however_polls_are_cut(sent: list[Sent], records_max: int) -> None:
    line = MemoryLine(sent)
    member = line.started(records_max)
    found: list[Line] = []
    while batches := next_of(member):
        assert sum(len(batch.offsets) for batch in batches) <= records_max
        found += lines(batches)
    assert found == line.by_definition()


@given(STREAM, st.integers(0, 60))
def test_a_merge_that_was_interrupted_goes_on_as_if_it_had_not_been(sent: list[Sent], after: int) -> None:
    line = MemoryLine(sent)
    member = line.started(1)
    first, positions = [], dict.fromkeys(PLACES, 0)
    for _ in range(after):
        for batch in next_of(member):
            first.append(batch)
            positions[TopicPartition(batch.topic, batch.partition)] = batch.next_offset
    member.close()
    other = line.member()
    assert other.poll(0).batches == []
    other.seek(positions)
    assert lines(first) + lines(read_all(other)) == line.by_definition()


def test_adjacent_records_of_a_partition_are_one_batch() -> None:
    first, second = PLACES[0], PLACES[1]
    line = MemoryLine([Sent(first, 1), Sent(first, 2), Sent(first, 5), Sent(second, 3), Sent(second, 4)])
    batches = next_of(line.started())
    assert [(batch.partition, batch.offsets, batch.next_offset) for batch in batches] == [
        (0, [0, 1], 2),
        (1, [0, 1], 2),
        (0, [2], 3),
    ]


def test_equal_times_come_by_topic_in_the_order_of_the_inputs_and_by_partition() -> None:
    places = [TopicPartition(ITEMS, 1), TopicPartition(EVENTS, 2), TopicPartition(EVENTS, 0), TopicPartition(ITEMS, 0)]
    line = MemoryLine([Sent(place, 7) for place in places])
    assert [one.place for one in lines(read_all(line.started()))] == sorted(places, key=lambda at: (at.topic, at.partition))


def test_nothing_past_the_ends_of_the_first_seek_is_read_by_a_later_generation_neither() -> None:
    place = PLACES[0]
    line = MemoryLine([Sent(place, 1), Sent(place, 2)])
    member = line.started()
    line.add([Sent(place, 3)])
    assert lines(read_all(member)) == [Line(place, 0), Line(place, 1)]
    member.seek({place: 1})
    assert lines(read_all(member)) == [Line(place, 1)]


def test_a_paused_poll_returns_nothing_and_loses_nothing() -> None:
    line = MemoryLine([Sent(place, n) for n, place in enumerate(PLACES)])
    member = line.started(2)
    found = []
    for _ in range(len(PLACES)):
        assert member.poll(0, paused=True).batches == []
        found += lines(next_of(member))
    assert found == line.by_definition()


def test_a_gap_is_raised_after_what_was_merged_before_it_and_the_merge_goes_on_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.cursor.READ_RECORDS_MAX", 2)
    held, gapped = PLACES[0], PLACES[1]
    line = MemoryLine([Sent(held, 1), Sent(held, 9), *(Sent(gapped, n) for n in range(2, 8))])
    member = line.started()
    monkeypatch.setattr(member, "_records_max", 1)
    assert lines(next_of(member)) == [Line(held, 0)]  # and has read two of the other ahead
    line.broker.trim(gapped, 4)
    monkeypatch.setattr(member, "_records_max", 500)
    assert lines(next_of(member)) == [Line(gapped, 0), Line(gapped, 1)]
    for _ in range(2):
        with pytest.raises(OffsetGapError) as caught:
            member.poll(0)
        assert (caught.value.partition, caught.value.position, caught.value.beginning) == (gapped, 2, 4)
    member.seek({held: 1, gapped: 4})
    assert lines(read_all(member)) == [Line(gapped, 4), Line(gapped, 5), Line(held, 1)]


def test_an_error_in_the_midst_loses_nothing_and_comes_with_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.cursor.READ_RECORDS_MAX", 2)
    first, second = PLACES[0], PLACES[1]
    line = MemoryLine([*(Sent(first, n) for n in range(4)), Sent(second, 9)])
    member = line.started()

    def fails(place: TopicPartition, offset: int, records_max: int) -> RecordBatch:
        if offset == 2:
            message = "away"
            raise LogError(message, retriable=True)
        return MemoryReader(line.broker).read(place, offset, records_max)

    reader = member._reader
    monkeypatch.setattr(reader, "read", fails)
    assert lines(next_of(member)) == [Line(first, 0), Line(first, 1)]
    for _ in range(2):
        with pytest.raises(LogError, match="away"):
            member.poll(0)
    monkeypatch.undo()
    assert lines(read_all(member)) == [Line(first, 2), Line(first, 3), Line(second, 0)]
