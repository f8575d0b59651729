"""Laws of sending dead letters again: each once, wherever it dies, whatever lies on the topic."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from memory_log import START_MS, MemoryAdmin, MemoryAtomicWriter, MemoryBroker, MemoryReader, MemoryWriter

from consumers import redrive
from consumers.dead_topic import DeadTopic, Selection, overview, ranges
from consumers.redrive import BEFORE, COPY, CUT, NEVER, OPERATOR, OTHER_TOPIC, REFUSED, UNKNOWN, Redrive, RedriveReport
from streamer.events.dead_letters import LEFT_OUT, Letter, Place, attempts_before, decode_mark, encode_dead_letter
from streamer.events.model import CONTROL, DEAD, EVENTS, ITEMS, DeadLetter, Reject, RejectReason
from streamer.ports import LogError, OutRecord, TopicPartition
from streamer.snapshots.reset import parse_range

REASONS = list(RejectReason)
ALL = Selection()


def broker_with(letters: Sequence[DeadLetter]) -> MemoryBroker:
    broker = MemoryBroker(partitions=2)
    put(broker, letters)
    return broker


def put(broker: MemoryBroker, letters: Sequence[DeadLetter]) -> None:
    writer = MemoryWriter(broker)
    for letter in letters:
        value, headers = encode_dead_letter(letter)
        writer.send(OutRecord(DEAD, letter.key, value, headers))
    writer.flush(1)


def letter(n: int, **fields: object) -> DeadLetter:
    given: dict[str, object] = {
        "reject": Reject(REASONS[n % len(REASONS)], f"error {n}"),
        "topic": EVENTS,
        "topic_id": "topic-1",
        "partition": n % 2,
        "offset": n,
        "key": None if n % 5 == 0 else b"user-%d" % (n % 7),
        "value": json.dumps({"number": n}).encode(),
        "attempts": 1 + n % 3,
    }
    return DeadLetter(**(given | fields))  # type: ignore[arg-type]


def run(broker: MemoryBroker, writer: object = None, selection: Selection = ALL, **options: object) -> RedriveReport:
    """One redrive, as the command runs it; with no writer given, one that works."""
    chosen = MemoryAtomicWriter(broker, "redrive") if writer is None else writer
    if chosen is not DRY:
        chosen.open()  # type: ignore[attr-defined]
    reader = MemoryReader(broker)
    topics = options.pop("topics", [EVENTS])
    work = Redrive(DeadTopic(reader, MemoryAdmin(broker)), reader, topics, 0, options.pop("mend", None))  # type: ignore[arg-type]
    return work.run(selection, options.pop("limit", None), None if chosen is DRY else chosen)  # type: ignore[arg-type]


DRY = object()


class Dying(MemoryAtomicWriter):
    """Dies at a call of ``append``, before or after its effect."""

    def __init__(self, broker: MemoryBroker, calls: int, *, after: bool) -> None:
        super().__init__(broker, "redrive")
        self._calls, self._after = calls, after

    def append(self, records: Sequence[OutRecord]) -> None:
        self._calls -= 1
        if self._calls < 0 and not self._after:
            raise KeyboardInterrupt
        super().append(records)
        if self._calls < 0:
            raise KeyboardInterrupt


def numbers(broker: MemoryBroker) -> list[int]:
    return [json.loads(record.value or b"")["number"] for record in broker.records(EVENTS)]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 40),
    deaths=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=4),
    seed=st.integers(0, 2**16),
)
def test_wherever_it_dies_and_is_run_again_each_letter_is_on_the_log_once_with_its_key_and_attempts(
    count: int, deaths: list[tuple[int, bool]], seed: int
) -> None:
    letters = [letter(n) for n in range(count)]
    broker = broker_with(letters)
    rng, size = random.Random(seed), redrive.GROUP_LETTERS
    redrive.GROUP_LETTERS = rng.randint(1, 7)
    try:
        for calls, after in deaths:
            try:
                run(broker, Dying(broker, calls, after=after), limit=rng.choice([None, 3]))
            except KeyboardInterrupt:
                continue
        report = run(broker)
        again = run(broker)
    finally:
        redrive.GROUP_LETTERS = size
    assert sorted(numbers(broker)) == list(range(count))
    assert report.letters == count == report.sent + report.left.get(BEFORE, 0)
    assert (again.sent, again.left.get(BEFORE, 0)) == (0, count)
    for record in broker.records(EVENTS):
        n = json.loads(record.value or b"")["number"]
        assert (record.key, attempts_before(record.headers)) == (letters[n].key, letters[n].attempts)
    by_user: dict[bytes, list[int]] = {}
    for partition in broker.topics[EVENTS].partitions:
        for record in partition.records:
            by_user.setdefault(record.key or b"", []).append(json.loads(record.value or b"")["number"])
    assert all(some == sorted(some) for user, some in by_user.items() if user)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), wanted=st.sets(st.sampled_from(REASONS), min_size=1), start=st.integers(0, 40))
def test_what_is_selected_is_sent_and_counted_and_a_dry_run_says_the_same_and_writes_nothing(
    count: int, wanted: set[RejectReason], start: int
) -> None:
    broker = broker_with([letter(n) for n in range(count)])
    selection = Selection(frozenset(wanted), START_MS + start if start else None)
    dry = run(broker, DRY, selection)
    assert broker.records(EVENTS) == []
    assert len(broker.records(DEAD)) == count
    assert run(broker, None, selection) == dry
    reader = MemoryReader(broker)
    found = list(DeadTopic(reader, MemoryAdmin(broker)).letters())
    meant = {json.loads(one.value or b"")["number"] for one, _ in found if selection.takes(one)}
    assert sorted(numbers(broker)) == sorted(meant)
    assert {json.loads(one.value or b"")["number"] for one, again in found if again} == meant
    seen = overview(found, 5, oldest=False)
    assert {name: (one.letters, one.redriven) for name, one in seen.reasons.items()} == {
        name: (total, Counter(one.reason for one, again in found if again)[name])
        for name, total in Counter(one.reason for one, _ in found).items()
    }
    assert [one for one, _ in seen.shown] == [one for one, _ in found][-5:]


def test_a_record_that_was_rejected_twice_is_sent_once_and_what_an_operator_left_out_when_asked_for() -> None:
    broker = broker_with([letter(n) for n in (1, 2, 1, 3)])
    assert (run(broker).left, sorted(numbers(broker))) == ({COPY: 1}, [1, 2, 3])
    put(broker, [letter(2), letter(3), letter(2, topic_id="of a topic made again"), letter(4, reject=LEFT_OUT)])
    report = run(broker)
    assert report.left == {BEFORE: 6, OPERATOR: 1}
    assert sorted(numbers(broker)) == [1, 2, 2, 3]
    reader = MemoryReader(broker)
    asked = Redrive(DeadTopic(reader, MemoryAdmin(broker)), reader, [EVENTS], 0, left_out=True)
    assert asked.run(ALL, None, None).sent == 1


def test_what_can_not_be_sent_stays_and_is_told_by_cause() -> None:
    whole = b'{"context": "' + b"x" * 100_000 + b'"}'
    broker = MemoryBroker(partitions=2)
    writer = MemoryWriter(broker)
    for _ in range(3):
        writer.send(OutRecord(EVENTS, None, whole, partition=0))
    writer.flush(1)
    put(
        broker,
        [
            letter(0, value=whole, partition=0, offset=2),
            letter(1, value=whole, partition=0, offset=7),
            letter(2, value=whole, partition=0, offset=2, topic_id="of a topic made again"),
            letter(3, topic=CONTROL),
            letter(4, topic=ITEMS),
            letter(5, topic="", topic_id="unknown"),
            letter(6, topic="", topic_id="topic-1"),
        ],
    )
    report = run(broker)
    assert report.left == {CUT: 2, NEVER: 1, OTHER_TOPIC: 1, UNKNOWN: 1}
    assert (report.sent, report.letters) == (2, 7)
    assert sum(record.value == whole for record in broker.records(EVENTS)) == 4
    assert len(report.problems) == 4
    assert run(broker, topics=[ITEMS]).records == {ITEMS: 1}


def test_one_that_the_log_refuses_is_found_among_the_others_which_are_sent() -> None:
    broker = broker_with([letter(n) for n in range(9)])

    def mend(letters: Sequence[Letter]) -> list[redrive.Mended]:
        large = {"number": -1, "filling": "x" * 2_000_000}
        return [
            "not of this format"
            if one.offset == 2
            else [(b"k", json.dumps(large).encode() if one.offset == 5 else one.value or b"")]
            for one in letters
        ]

    report = run(broker, mend=mend)
    assert sorted(numbers(broker)) == [0, 1, 3, 4, 6, 7, 8]
    assert (report.sent, report.left) == (7, {redrive.UNMENDED: 1, REFUSED: 1})
    assert run(broker).sent == 2


def test_a_log_that_refuses_everything_ends_it() -> None:
    broker = broker_with([letter(n) for n in range(80)])
    for _ in range(200):
        broker.raise_next("append", LogError("no right to write", retriable=False))
    try:
        run(broker)
    except LogError:
        pass
    else:
        raise AssertionError("it went on")
    assert broker.waiting("append") > 100


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), unique=True))
def test_ranges_name_each_place_once_in_the_syntax_of_reset(places: list[tuple[int, int]]) -> None:
    named = [parse_range(text) for text in ranges(Place("events", *place) for place in places)]
    assert sorted((partition, at) for _, partition, first, stop in named for at in range(first, stop)) == sorted(places)


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=40), st.lists(st.tuples(st.sampled_from(["redriven", "attempts", "offset", "x"]), st.binary(max_size=9)))
)
def test_whatever_a_stranger_writes_there_nothing_raises(value: bytes, headers: list[tuple[str, bytes]]) -> None:
    broker = broker_with([letter(1)])
    broker.append(OutRecord(DEAD, None, value, tuple(headers)))
    topic = DeadTopic(MemoryReader(broker), MemoryAdmin(broker))
    assert 1 <= len(list(topic.letters())) <= 2
    assert decode_mark(value, headers) == [] or any(name == "redriven" for name, _ in headers)
    assert TopicPartition(DEAD, 0) in MemoryAdmin(broker).bounds([DEAD])
