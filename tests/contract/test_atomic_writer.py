"""What every AtomicWriter guarantees."""

from __future__ import annotations

import pytest

from streamer.events.model import DEAD, EVENTS, INPUT_TOPICS
from streamer.ports import FencedError, LogError, OutRecord, TopicPartition


def on_log(world, *topics: str) -> list[bytes | None]:
    """All values that committed reads find, partition by partition."""
    reader, values = world.reader(), []
    for place, (beginning, end) in sorted(world.admin().bounds(topics).items()):
        offset = beginning
        while offset < end:
            batch = reader.read(place, offset, 1_000)
            values += batch.values
            offset = batch.next_offset
    return values


def records(name: str, count: int = 3) -> list[OutRecord]:
    return [OutRecord(EVENTS, b"user-%d" % n, f"{name}-{n}".encode(), (("n", b"%d" % n),)) for n in range(count)]


def test_a_group_is_on_the_log_with_its_headers_when_append_returns_and_a_partition_named_is_kept(world):
    writer = world.atomic("redrive")
    writer.open()
    for partition in (0, 1, 1):
        writer.append([*records("a"), OutRecord(DEAD, b"same key", b"mark", partition=partition)])
    assert sorted(on_log(world, EVENTS)) == sorted(3 * [b"a-0", b"a-1", b"a-2"])
    reader = world.reader()
    counts = [len(reader.read(TopicPartition(DEAD, n), 0, 10).offsets) for n in range(2)]
    assert counts == [1, 2]
    assert {place.topic for place in world.admin().bounds()} == set(INPUT_TOPICS)
    found = [reader.read(TopicPartition(EVENTS, n), 0, 100) for n in range(2)]
    assert all(
        batch.headers[at] == (("n", value[-1:]),)
        for batch in found
        for at, value in zip(batch.offsets, batch.values, strict=True)
    )


def test_a_group_with_a_record_that_is_refused_leaves_nothing_and_the_next_one_is_taken(world):
    writer = world.atomic("redrive")
    writer.open()
    with pytest.raises(LogError) as caught:
        writer.append([*records("bad"), OutRecord(EVENTS, b"u", bytes(2_000_000))])
    assert not caught.value.retriable
    assert on_log(world, EVENTS) == []
    writer.append(records("good"))
    assert sorted(on_log(world, EVENTS)) == [b"good-0", b"good-1", b"good-2"]


def test_of_two_under_one_name_one_can_append(world):
    first, second = world.atomic("redrive"), world.atomic("redrive")
    first.open()
    first.append(records("first", 1))
    try:
        second.open()
    except LogError:  # the first one keeps the name
        first.append(records("more", 1))
        first.close()
        second.open()
    with pytest.raises(FencedError):
        first.append(records("late", 1))
    second.append(records("second", 1))
    assert {b"first-0", b"second-0"} <= set(on_log(world, EVENTS)) <= {b"first-0", b"more-0", b"second-0"}
