"""What every EventLog guarantees, with the LogAdmin and LogWriter beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kafka.partitioner import murmur2

from streamer.events.model import CONTROL, DEAD, EVENTS, INPUT_TOPICS, ITEMS
from streamer.ports import (
    Committed,
    EventLog,
    FencedError,
    GroupInUseError,
    LogError,
    OffsetGapError,
    OutRecord,
    Polled,
    RecordBatch,
    TopicPartition,
    TopicsMissingError,
)

DEADLINE_S = 20.0
EVENTS_0, EVENTS_1 = TopicPartition(EVENTS, 0), TopicPartition(EVENTS, 1)


def until(member: EventLog, condition: Callable[[Polled], bool], *, paused: bool = False) -> Polled:
    """Polls until the condition holds; retriable errors are what a worker waits out."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            polled = member.poll(50, paused=paused)
        except LogError as error:
            if not error.retriable:
                raise
            continue
        if condition(polled):
            return polled
    raise AssertionError(f"not within {DEADLINE_S} s")


def own(member: EventLog) -> int:
    generation = until(member, lambda polled: polled.generation is not None).generation
    assert generation is not None
    return generation


def start(world, member: EventLog) -> int:
    """Owns the log and reads it from its beginning."""
    generation = own(member)
    member.seek({place: beginning for place, (beginning, _) in world.admin().bounds().items()})
    return generation


def take(member: EventLog, count: int) -> list[RecordBatch]:
    """Polls until that many records came."""
    batches: list[RecordBatch] = []

    def enough(polled: Polled) -> bool:
        batches.extend(polled.batches)
        return sum(len(batch.offsets) for batch in batches) >= count

    until(member, enough)
    return batches


@contextmanager
def polled_elsewhere(member: EventLog) -> Iterator[list[int | None]]:
    """Another thread polls the member, as its process would: a rebalance asks all members at once. Yields the generations that it has seen."""
    seen: list[int | None] = []
    stop = threading.Event()

    def note(polled: Polled) -> bool:
        seen.append(polled.generation)
        return stop.is_set()

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(until, member, note)
        try:
            yield seen
        finally:
            stop.set()
        polling.result()


def values(batches: list[RecordBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def write(world, *records: OutRecord) -> None:
    writer = world.writer()
    for record in records:
        writer.send(record)
    writer.flush(10)


def events(count: int, first: int = 0) -> list[OutRecord]:
    return [OutRecord(EVENTS, b"user-%d" % n, b"value-%d" % n) for n in range(first, first + count)]


def test_topics_are_made_once(empty_world):
    admin = empty_world.admin()
    assert admin.topics() == {}
    assert sorted(admin.create_topics()) == sorted([*INPUT_TOPICS, DEAD])
    first = admin.topics()
    assert admin.create_topics() == []
    assert admin.topics() == first
    assert {name: info.partitions for name, info in first.items()} == dict.fromkeys((*INPUT_TOPICS, DEAD), 2) | {CONTROL: 1}
    assert len({info.topic_id for info in first.values()}) == len(first)
    assert not any(info.warnings for info in first.values())
    assert admin.topics([EVENTS, DEAD]) == {topic: first[topic] for topic in (EVENTS, DEAD)}


def test_a_member_without_topics_says_what_is_missing_and_goes_on_once_they_exist(empty_world):
    member = empty_world.member("g")
    with pytest.raises(TopicsMissingError, match="streamer topics create") as caught:
        member.poll(50)
    assert EVENTS in str(caught.value)
    assert caught.value.retriable
    empty_world.admin().create_topics()
    own(member)


def test_bounds_are_those_of_every_input_partition(world):
    bounds = world.admin().bounds()
    assert set(bounds) == {TopicPartition(topic, n) for topic in INPUT_TOPICS for n in range(1 if topic == CONTROL else 2)}
    assert set(bounds.values()) == {(0, 0)}
    write(world, *events(10))
    bounds = world.admin().bounds()
    assert bounds[EVENTS_0][1] + bounds[EVENTS_1][1] == 10
    assert bounds[EVENTS_0][0] == bounds[EVENTS_1][0] == 0


def test_nothing_is_delivered_before_the_positions_are_set(world):
    write(world, *events(5))
    member = world.member("g")
    own(member)
    assert [member.poll(100).batches for _ in range(5)] == [[]] * 5
    start(world, member)
    assert sorted(values(take(member, 5))) == [b"value-%d" % n for n in range(5)]


def test_records_come_in_the_order_of_their_partition_with_what_was_written(world):
    before_ms = 1_500_000_000_000
    write(world, *events(300))
    member = world.member("g")
    start(world, member)
    batches = take(member, 300)
    for place in (EVENTS_0, EVENTS_1):
        mine = [batch for batch in batches if (batch.topic, batch.partition) == place]
        offsets = [offset for batch in mine for offset in batch.offsets]
        assert offsets == list(range(len(offsets)))
        assert [batch.next_offset for batch in mine] == [batch.offsets[-1] + 1 for batch in mine]
        stamps = [stamp for batch in mine for stamp in batch.append_ms]
        assert stamps == sorted(stamps)
        assert stamps[0] > before_ms
        numbers = [int(value.removeprefix(b"value-")) for value in values(mine)]
        assert numbers == sorted(numbers)
    pairs = {(key, value) for batch in batches for key, value in zip(batch.keys, batch.values, strict=True)}
    assert pairs == {(record.key, record.value) for record in events(300)}


def test_a_key_decides_the_partition_as_it_does_for_every_kafka_client(world):
    if world.name == "memory":
        pytest.skip("the log of simulations need not agree with other clients")
    write(world, *events(50))
    member = world.member("g")
    start(world, member)
    for batch in take(member, 50):
        assert {(murmur2(key) & 0x7FFFFFFF) % 2 for key in batch.keys} == {batch.partition}


def test_keys_and_values_may_be_absent(world):
    write(world, OutRecord(ITEMS, b"gone", None), OutRecord(CONTROL, None, b"freeze"))
    member = world.member("g")
    start(world, member)
    got = {(batch.topic, key, value) for batch in take(member, 2) for key, value in zip(batch.keys, batch.values, strict=True)}
    assert got == {(ITEMS, b"gone", None), (CONTROL, None, b"freeze")}


def test_a_paused_poll_returns_nothing_and_keeps_the_generation(world):
    write(world, *events(5))
    member = world.member("g")
    generation = start(world, member)
    assert [member.poll(50, paused=True) for _ in range(5)] == [Polled([], generation)] * 5
    assert len(values(take(member, 5))) == 5
    write(world, *events(5, first=5))
    assert member.poll(50, paused=True).batches == []
    assert sorted(values(take(member, 5))) == [b"value-%d" % n for n in range(5, 10)]


def test_a_position_can_be_set_again(world):
    write(world, *events(10))
    member = world.member("g")
    start(world, member)
    first = take(member, 10)
    member.seek({EVENTS_0: 0, EVENTS_1: 1})
    again = values(take(member, 9))
    kept = [
        value for batch in first for at, value in zip(batch.offsets, batch.values, strict=True) if batch.partition == 0 or at
    ]
    assert sorted(again) == sorted(kept)


def test_a_waiting_poll_ends_when_a_record_comes(world):
    member = world.member("g")
    start(world, member)
    member.poll(50)
    sender = threading.Timer(0.2, write, (world, *events(1)))
    sender.start()
    deadline = time.monotonic() + DEADLINE_S
    polled = member.poll(int(DEADLINE_S * 1000))
    sender.join()
    assert time.monotonic() < deadline - DEADLINE_S / 2
    assert values(polled.batches) == [b"value-0"]


def test_what_was_committed_is_told_to_everybody_with_its_metadata(world):
    write(world, *events(10))
    member = world.member("g")
    assert member.committed() == {}
    start(world, member)
    take(member, 10)
    positions = {place: end for place, (_, end) in world.admin().bounds().items()}
    member.commit(positions, '{"snapshot": "ä1"}')
    expected = {place: Committed(end, '{"snapshot": "ä1"}') for place, end in positions.items()}
    assert member.committed() == expected
    assert world.member("g").committed() == expected
    assert world.member("another").committed() == {}


def test_a_second_member_stands_by_and_costs_the_owner_nothing(world):
    owner, standby = world.member("g"), world.member("g")
    generation = start(world, owner)
    with polled_elsewhere(standby) as seen:
        until(owner, lambda polled: polled.generation != generation or len(seen) >= 20)
        assert len(seen) >= 20
        write(world, *events(4))
        assert len(values(take(owner, 4))) == 4
    assert set(seen) == {None}
    with pytest.raises(FencedError):
        standby.commit({EVENTS_0: 0, EVENTS_1: 0}, "standby")
    assert owner.poll(25).generation == generation
    owner.commit({EVENTS_0: 1, EVENTS_1: 1}, "owner")


def test_a_standby_takes_over_from_an_owner_who_leaves(world):
    write(world, *events(6))
    owner, standby = world.member("g"), world.member("g")
    generation = start(world, owner)
    take(owner, 6)
    ends = {place: end for place, (_, end) in world.admin().bounds().items()}
    owner.commit(ends, "last words")
    standby.poll(25)
    owner.close()
    assert own(standby) > generation
    committed = standby.committed()
    assert {found.metadata for found in committed.values()} == {"last words"}
    standby.seek({place: found.next_offset for place, found in committed.items()})
    write(world, *events(2, first=6))
    assert sorted(values(take(standby, 2))) == [b"value-6", b"value-7"]


def test_an_owner_who_was_expelled_cannot_commit_and_becomes_a_standby(world):
    owner, standby = world.member("g"), world.member("g")
    generation = start(world, owner)
    with polled_elsewhere(standby) as seen:
        until(owner, lambda _: len(seen) >= 5)
    world.expel("g")
    assert start(world, standby) > generation
    with pytest.raises(FencedError):
        owner.commit({EVENTS_0: 0, EVENTS_1: 0}, "zombie")
    standby.commit({EVENTS_0: 0, EVENTS_1: 0}, "new owner")
    with polled_elsewhere(standby):
        until(owner, lambda polled: polled.generation is None)
    assert {found.metadata for found in standby.committed().values()} == {"new owner"}


def test_records_that_retention_took_are_a_gap_with_its_bounds(world):
    write(world, *events(20))
    end = world.admin().bounds()[EVENTS_0][1]
    world.trim(EVENTS_0, 3)
    member = world.member("g")
    own(member)
    member.seek(dict.fromkeys(world.admin().bounds(), 0))
    with pytest.raises(OffsetGapError) as caught:
        until(member, lambda _: False)
    gap = caught.value
    assert (gap.partition, gap.position, gap.beginning, gap.end) == (EVENTS_0, 0, 3, end)
    member.seek({EVENTS_0: gap.beginning, EVENTS_1: 0})
    assert len(values(take(member, 17))) == 17


def test_groups_do_not_see_each_other(world):
    write(world, *events(3))
    first, second = world.member("g"), world.member("h")
    start(world, first)
    start(world, second)
    assert len(values(take(first, 3))) == len(values(take(second, 3))) == 3


def test_a_member_reads_its_own_topics_alone(world):
    write(world, *events(3), OutRecord(ITEMS, b"i", b"item"))
    member = world.member("g", topics=(ITEMS,))
    own(member)
    member.seek({TopicPartition(ITEMS, 0): 0, TopicPartition(ITEMS, 1): 0})
    assert values(take(member, 1)) == [b"item"]
    assert member.poll(200).batches == []


def test_every_record_is_told_of_once_and_a_flush_waits_for_all(world):
    writer = world.writer()
    told: list[tuple[bytes | None, Exception | None]] = []
    threads = [
        threading.Thread(
            target=lambda first: [
                writer.send(record, lambda done, error: told.append((done.value, error))) for record in events(200, first)
            ],
            args=(first,),
        )
        for first in (0, 200, 400)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush(10)
    assert sorted(told) == sorted((b"value-%d" % n, None) for n in range(600))
    bounds = world.admin().bounds()
    assert bounds[EVENTS_0][1] + bounds[EVENTS_1][1] == 600


def test_offsets_of_a_group_without_members_can_be_set_from_outside(world):
    write(world, *events(10))
    positions = {EVENTS_0: 1, EVENTS_1: 2, TopicPartition(CONTROL, 0): 0}
    world.admin().set_offsets(world.group("g"), {}, "nobody is there")
    world.admin().set_offsets(world.group("g"), positions, "set from outside")
    member = world.member("g")
    assert member.committed() == {place: Committed(offset, "set from outside") for place, offset in positions.items()}
    start(world, member)
    member.commit({EVENTS_0: 3}, "by a member")
    assert member.committed()[EVENTS_0] == Committed(3, "by a member")
    member.close()
    world.admin().set_offsets(world.group("g"), {EVENTS_0: 0}, "set again")
    assert world.member("g").committed()[EVENTS_0] == Committed(0, "set again")


def test_offsets_of_a_group_with_a_member_cannot_be_set_from_outside(world):
    member = world.member("g")
    start(world, member)
    member.commit({EVENTS_0: 0}, "by the member")
    for positions in ({}, {EVENTS_0: 7}):
        with pytest.raises(GroupInUseError, match="group"):
            world.admin().set_offsets(world.group("g"), positions, "from outside")
    assert member.committed() == {EVENTS_0: Committed(0, "by the member")}


def test_the_offsets_of_groups_are_found_by_how_their_names_begin(world):
    admin = world.admin()
    prefix = world.group("replay-")
    assert admin.offsets_of_groups(prefix) == {}
    admin.set_offsets(f"{prefix}a", {EVENTS_0: 1, EVENTS_1: 2}, "of a")
    admin.set_offsets(f"{prefix}b", {EVENTS_1: 3}, "of b")
    admin.set_offsets(world.group("other"), {EVENTS_0: 4}, "of another")
    assert admin.offsets_of_groups(prefix) == {
        f"{prefix}a": {EVENTS_0: Committed(1, "of a"), EVENTS_1: Committed(2, "of a")},
        f"{prefix}b": {EVENTS_1: Committed(3, "of b")},
    }
    assert admin.offsets_of_groups(f"{prefix}b").keys() == {f"{prefix}b"}
    assert admin.committed(f"{prefix}b") == {EVENTS_1: Committed(3, "of b")}
    assert admin.committed(f"{prefix}c") == {}


def test_a_log_without_topics_has_offsets_of_no_group(empty_world):
    assert empty_world.admin().offsets_of_groups("") == {}


def test_a_record_goes_to_the_partition_that_it_names_whatever_its_key(world):
    refused: list[Exception | None] = []
    writer = world.writer()
    for n in range(6):
        writer.send(OutRecord(EVENTS, None if n % 2 else b"key", b"%d" % n, partition=n // 3))
    writer.send(OutRecord(EVENTS, b"key", b"nowhere", partition=7), lambda _, error: refused.append(error))
    writer.flush(10)
    reader = world.reader()
    assert reader.read(EVENTS_0, 0, 10).values == [b"0", b"1", b"2"]
    assert reader.read(EVENTS_1, 0, 10).values == [b"3", b"4", b"5"]
    assert [type(error) for error in refused] == [LogError]
