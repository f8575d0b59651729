"""What every LogReader guarantees."""

from __future__ import annotations

import pytest

from streamer.events.model import EVENTS, ITEMS
from streamer.ports import LogReader, OffsetGapError, OutRecord, RecordBatch, TopicPartition, TopicsMissingError

EVENTS_0, EVENTS_1 = TopicPartition(EVENTS, 0), TopicPartition(EVENTS, 1)


def write(world, count: int, first: int = 0) -> None:
    writer = world.writer()
    for n in range(first, first + count):
        writer.send(OutRecord(EVENTS, b"user-%d" % n, b"value-%d" % n))
    writer.flush(10)


def end_of(world, place: TopicPartition) -> int:
    return int(world.admin().bounds()[place][1])


def all_of(reader: LogReader, place: TopicPartition, size: int) -> list[RecordBatch]:
    """Reads to the end, so many records at a time."""
    batches = [reader.read(place, 0, size)]
    while batches[-1].offsets:
        batches.append(reader.read(place, batches[-1].next_offset, size))
    return batches


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_partition_is_read_to_its_end_however_it_is_cut(world, size):
    write(world, 60)
    reader = world.reader()
    for place in (EVENTS_0, EVENTS_1):
        batches = all_of(reader, place, size)
        end = end_of(world, place)
        assert [at for batch in batches for at in batch.offsets] == list(range(end))
        assert all(len(batch.offsets) <= size for batch in batches)
        assert batches[-1] == RecordBatch(*place, end, [], [], [], [])
        stamps = [stamp for batch in batches for stamp in batch.append_ms]
        assert stamps == sorted(stamps)
        assert stamps[0] > 1_500_000_000_000
        numbers = [int(value.removeprefix(b"value-")) for batch in batches for value in batch.values]
        assert numbers == sorted(numbers)
        assert [b"user-%d" % n for n in numbers] == [key for batch in batches for key in batch.keys]


def test_it_reads_what_a_group_gets_while_the_group_goes_on(world):
    write(world, 40)
    member, reader = world.member("g"), world.reader()
    while member.poll(50).generation is None:
        pass
    member.seek(dict.fromkeys(world.admin().bounds(), 0))
    got: dict[TopicPartition, list[bytes | None]] = {EVENTS_0: [], EVENTS_1: []}
    while sum(map(len, got.values())) < 40:
        for batch in member.poll(50).batches:
            got[TopicPartition(batch.topic, batch.partition)] += batch.values
            read = reader.read(EVENTS_0, 0, 1_000)
    assert got[EVENTS_0] == read.values
    assert got[EVENTS_1] == reader.read(EVENTS_1, 0, 1_000).values
    assert member.committed() == {}


def test_partitions_are_read_in_turn_from_any_offset_and_back_again(world):
    write(world, 60)
    reader = world.reader()
    whole = {place: reader.read(place, 0, 1_000) for place in (EVENTS_0, EVENTS_1)}
    for offset in (0, 5, 6, 5, 11, 2):
        for place, batch in whole.items():
            assert reader.read(place, offset, 3) == batch.part(offset, offset + 3)


def test_records_that_come_later_are_read_from_the_former_end(world):
    reader = world.reader()
    assert reader.read(EVENTS_0, 0, 10) == RecordBatch(*EVENTS_0, 0, [], [], [], [])
    write(world, 30)
    end = end_of(world, EVENTS_0)
    assert reader.read(EVENTS_0, 0, 1_000).next_offset == end
    assert reader.read(EVENTS_0, end, 1_000).offsets == []
    write(world, 30, first=30)
    assert reader.read(EVENTS_0, end, 1_000).offsets == list(range(end, end_of(world, EVENTS_0)))


def test_keys_and_values_may_be_absent(world):
    writer = world.writer()
    writer.send(OutRecord(ITEMS, b"gone", None))
    writer.flush(10)
    reader = world.reader()
    found = [reader.read(TopicPartition(ITEMS, n), 0, 10) for n in range(2)]
    assert [pair for batch in found for pair in zip(batch.keys, batch.values, strict=True)] == [(b"gone", None)]


def test_records_that_retention_took_are_a_gap_with_its_bounds(world):
    write(world, 40)
    end = end_of(world, EVENTS_0)
    reader = world.reader()
    world.trim(EVENTS_0, 3)
    with pytest.raises(OffsetGapError) as caught:
        reader.read(EVENTS_0, 0, 10)
    gap = caught.value
    assert (gap.partition, gap.position, gap.beginning, gap.end) == (EVENTS_0, 0, 3, end)
    assert reader.read(EVENTS_0, 3, 2).offsets == [3, 4]
    with pytest.raises(OffsetGapError) as caught:
        reader.read(EVENTS_0, end + 1, 10)
    assert (caught.value.position, caught.value.end) == (end + 1, end)


def test_without_topics_it_says_what_is_missing(empty_world):
    with pytest.raises(TopicsMissingError, match=EVENTS):
        empty_world.reader().read(EVENTS_0, 0, 10)


def test_headers_come_with_the_records_that_have_any_and_with_no_others(world):
    writer = world.writer()
    for n in range(12):
        headers = (("attempts", b"%d" % n), ("attempts", b"again")) if n % 5 == 1 else ()
        writer.send(OutRecord(EVENTS, b"user", b"value-%d" % n, headers))
    writer.flush(10)
    reader = world.reader()
    [place] = [at for at, (_, end) in world.admin().bounds([EVENTS]).items() if end]
    for first, size in ((0, 100), (0, 4), (4, 4), (6, 3)):
        batch = reader.read(place, first, size)
        wanted = {n: (("attempts", b"%d" % n), ("attempts", b"again")) for n in (1, 6, 11)}
        assert batch.headers == {n: one for n, one in wanted.items() if n in batch.offsets}
