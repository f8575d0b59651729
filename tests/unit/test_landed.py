"""What of a recording is on the log: found by comparing, whatever stands between and whatever is missing."""

from __future__ import annotations

import random

import pytest
from memory_log import MemoryBroker, MemoryReader

from producers import landed as comparing
from producers.formats import Recorded
from producers.landed import Landed, find_landed, placed_by
from producers.progress import Meter
from streamer.events.model import EVENTS
from streamer.ports import OffsetGapError, OutRecord, TopicPartition

PARTITIONS = 3
place = placed_by(lambda key, partitions: key[0] % partitions, PARTITIONS)


def recording(count: int, *, seed: int = 1) -> list[Recorded]:
    """Records of seven users and some without a key; every third is like the one before it but one."""
    rng = random.Random(seed)
    made: list[Recorded] = []
    for line in range(1, count + 1):
        key = None if rng.random() < 0.1 else b"%d" % rng.randrange(7)
        again = made[-2] if line > 2 and line % 3 == 0 else None
        made.append(Recorded(line, again.key if again else key, again.value if again else b"v%d" % line, line))
    return made


def split(records: list[Recorded]) -> list[list[Recorded]]:
    return [[record for record in records if place(record) == n] for n in range(PARTITIONS)]


def logged(lanes: list[list[tuple[bytes | None, bytes]]]) -> MemoryBroker:
    broker = MemoryBroker(partitions=PARTITIONS)
    for partition, lane in enumerate(lanes):
        for key, value in lane:
            broker.append(OutRecord(EVENTS, key, value, partition=partition))
    return broker


def compare(records: list[Recorded], broker: MemoryBroker, start: int = 0) -> Landed:
    ends = {TopicPartition(EVENTS, n): one.end for n, one in enumerate(broker.topics[EVENTS].partitions)}
    spans = {where: (start, end) for where, end in ends.items()}
    return find_landed(((one.timestamp_ms, one) for one in records), place, MemoryReader(broker), spans, Meter("compare"))


@pytest.mark.parametrize("seed", range(20))
def test_the_beginning_that_landed_of_each_partition_is_found_among_records_of_others(seed: int) -> None:
    rng, records = random.Random(seed), recording(200, seed=seed)
    lanes, counts = [], []
    for part in split(records):
        counts.append(rng.randint(0, len(part)))
        lane = [(one.key, one.value) for one in part[: counts[-1]]]
        for n in range(rng.randint(0, 30)):
            lane.insert(rng.randint(0, len(lane)), (b"live", b"of another %d" % n))
        lanes.append(lane)
    found = compare(records, logged(lanes))
    assert dict(found.reached) == dict(enumerate(counts))
    assert not any(found.missing.values())
    assert found.count == sum(counts)


def test_records_that_were_refused_in_between_are_missing_and_the_rest_is_not() -> None:
    records = [Recorded(n, b"0", b"v%d" % n, n) for n in range(10)]
    broker = logged([[(b"0", b"v%d" % n) for n in (0, 1, 3, 4, 6)], [], []])
    found = compare(records, broker)
    partition = place(records[0])
    assert partition == 0
    assert [turn for turn in range(10) if found.has(0, turn)] == [0, 1, 3, 4, 6]
    assert found.count == 5


def test_what_was_missing_and_was_sent_later_behind_others_is_found() -> None:
    records = [Recorded(n, b"0", b"v%d" % n, n) for n in range(10)]
    found = compare(records, logged([[(b"0", b"v%d" % n) for n in (0, 1, 4, 5, 2, 6, 7)], [], []]))
    assert [turn for turn in range(10) if found.has(0, turn)] == [0, 1, 2, 4, 5, 6, 7]


def test_what_a_broken_connection_put_there_twice_is_not_taken_for_something_else() -> None:
    records = [Recorded(n, b"0", b"v%d" % n, n) for n in range(6)]
    found = compare(records, logged([[(b"0", b"v%d" % n) for n in (0, 1, 2, 1, 2, 3)], [], []]))
    assert dict(found.reached)[0] == 4
    assert not found.missing


def test_no_more_of_the_recording_is_held_than_is_looked_among(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "AHEAD_MAX", 5)
    records = [Recorded(n, b"0", b"v%d" % n, n) for n in range(100)]
    broker = logged([[(b"live", b"x"), (b"0", b"v0"), (b"live", b"y"), (b"0", b"v1")], [], []])
    assert dict(compare(records, broker).reached)[0] == 2
    beyond = logged([[(b"0", b"v0"), (b"0", b"v50")], [], []])
    assert dict(compare(records, beyond).reached)[0] == 1


def test_the_recording_is_read_no_further_than_the_log_goes() -> None:
    read: list[int] = []

    def records():
        for n in range(1_000):
            read.append(n)
            yield n, Recorded(n, b"0", b"v%d" % n, n)

    broker = logged([[(b"0", b"v0"), (b"0", b"v1")], [], []])
    spans = {TopicPartition(EVENTS, 0): (0, 2), TopicPartition(EVENTS, 1): (0, 0), TopicPartition(EVENTS, 2): (0, 0)}
    assert find_landed(records(), place, MemoryReader(broker), spans, Meter("compare")).count == 2
    assert len(read) <= 3


def test_records_that_retention_took_are_told() -> None:
    broker = logged([[(b"0", b"v0"), (b"0", b"v1")], [], []])
    broker.trim(TopicPartition(EVENTS, 0), 1)
    spans = {TopicPartition(EVENTS, n): (0, broker.topics[EVENTS].partitions[n].end) for n in range(PARTITIONS)}
    with pytest.raises(OffsetGapError):
        find_landed([(0, Recorded(0, b"0", b"v0", 0))], place, MemoryReader(broker), spans, Meter("compare"))
