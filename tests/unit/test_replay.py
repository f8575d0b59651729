"""Replay: order, pace, range, gate, what the report says, and what is refused before anything is sent."""

import gzip
import json
import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from memory_log import MemoryBroker, MemoryWriter

from producers import replay as replaying
from producers.checks import Interval, UnsortedError, check, check_items
from producers.formats import Recorded, RecordingError
from producers.progress import Progress, no_progress
from producers.replay import Pace, ReplayReport, parse_speed, replay_records
from streamer.config.tree import Config, Log
from streamer.embedded.admin import EmbeddedAdmin
from streamer.embedded.writer import EmbeddedWriter
from streamer.events.model import EVENTS
from streamer.ports import LogError, LogWriter

START_MS = 1_795_485_458_000


def event(user: str, after_ms: int) -> str:
    return json.dumps({"type": "click", "user_id": user, "item_id": "i", "timestamp": START_MS + after_ms})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def replay(
    files: list[Path],
    writer: LogWriter,
    *,
    start_ms: int | None = None,
    end_ms: int | None = None,
    pace: Pace | None = None,
    progress: Callable[[Progress], None] = no_progress,
) -> ReplayReport:
    """Checks a recording and sends it."""
    recording = check(files, interval=Interval(start_ms, end_ms), progress=progress)
    return replaying.replay(recording, writer, pace=pace, progress=progress)


class Timeline:
    """A clock that only sleeping moves, and what was slept."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(round(seconds, 6))
        self.now_s += seconds


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker(partitions=1)


def sent(broker: MemoryBroker) -> list[str]:
    return [(record.value or b"").decode() for record in broker.records(EVENTS)]


def test_events_go_to_the_log_in_the_order_of_the_file_keyed_by_user(tmp_path: Path, broker: MemoryBroker) -> None:
    lines = [event("u1", 0), event("u2", 0), event("u1", 5)]
    report = replay([write(tmp_path / "a.jsonl", *lines)], MemoryWriter(broker))
    assert sent(broker) == lines
    assert [record.key for record in broker.records(EVENTS)] == [b"u1", b"u2", b"u1"]
    assert (report.read, report.sent, report.refused, report.outside, report.malformed) == (3, 3, 0, 0, 0)
    assert (report.first_ms, report.last_ms) == (START_MS, START_MS + 5)


def test_several_files_are_merged_by_time_and_equal_times_keep_the_order_of_the_files(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    one = write(tmp_path / "a.jsonl", event("a", 0), event("a", 10), event("a", 30))
    two = write(tmp_path / "b.jsonl", event("b", 5), event("b", 10))
    replay([one, two], MemoryWriter(broker))
    assert [(json.loads(line)["user_id"], json.loads(line)["timestamp"] - START_MS) for line in sent(broker)] == [
        ("a", 0),
        ("b", 5),
        ("a", 10),
        ("b", 10),
        ("a", 30),
    ]


def test_an_unsorted_file_is_refused_whole_and_the_error_names_both_lines_and_the_remedy(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    path = write(tmp_path / "a.jsonl", event("u", 0), event("u", 2_000), "broken", event("u", 1_000))
    with pytest.raises(UnsortedError, match=r"line 4: an event of 2026-\S+:39.*:40.*\(line 2\).*`streamer sort .*a\.jsonl`"):
        replay([path], MemoryWriter(broker))
    assert sent(broker) == []


def test_nothing_is_sent_of_any_file_when_one_is_empty(tmp_path: Path, broker: MemoryBroker) -> None:
    good, empty = write(tmp_path / "a.jsonl", event("u", 0)), write(tmp_path / "b.jsonl")
    with pytest.raises(RecordingError, match=r"b\.jsonl: is empty"):
        replay([good, empty], MemoryWriter(broker))
    assert sent(broker) == []


def test_a_file_that_has_become_shorter_since_it_was_checked_is_told(tmp_path: Path, broker: MemoryBroker) -> None:
    path = write(tmp_path / "events.jsonl", *(event("u1", n) for n in range(3)))
    recording = check([path])
    write(path, event("u1", 0))
    with pytest.raises(RecordingError, match="held 3 records when it was checked and 1 when it was sent"):
        replaying.replay(recording, MemoryWriter(broker))


def test_malformed_lines_are_sent_as_they_are_and_told(tmp_path: Path, broker: MemoryBroker) -> None:
    lines = [event("u", 0), "{broken", event("u", 1)]
    report = replay([write(tmp_path / "a.jsonl", *lines)], MemoryWriter(broker))
    assert sent(broker) == lines
    assert (report.sent, report.malformed) == (3, 1)
    assert report.problems[0].startswith("line 2 is no event and was sent as it is: ")


def test_only_the_time_range_asked_for_is_sent(tmp_path: Path, broker: MemoryBroker) -> None:
    lines = [event("u", ms) for ms in (0, 10, 20, 30)]
    report = replay([write(tmp_path / "a.jsonl", *lines)], MemoryWriter(broker), start_ms=START_MS + 10, end_ms=START_MS + 30)
    assert sent(broker) == lines[1:3]
    assert (report.read, report.sent, report.outside) == (4, 2, 2)


#   event time   0    1 s       10 s    10 s
#   speed 10     0   .1 s        1 s     1 s
def test_records_go_in_step_with_their_own_time_divided_by_the_speed(tmp_path: Path, broker: MemoryBroker) -> None:
    path = write(tmp_path / "a.jsonl", *(event("u", ms) for ms in (0, 1_000, 10_000, 10_000)))
    timeline = Timeline()
    report = replay([path], MemoryWriter(broker), pace=Pace(speed=10, clock_s=timeline.clock_s, sleep=timeline.sleep))
    assert timeline.slept_s == [0.1, 0.9]
    assert report.seconds == pytest.approx(1.0)


def test_a_replay_that_fell_behind_catches_up_instead_of_keeping_its_distance(tmp_path: Path, broker: MemoryBroker) -> None:
    path = write(tmp_path / "a.jsonl", *(event("u", ms) for ms in (0, 1_000, 2_000, 5_000)))
    timeline = Timeline()

    def busy(handed: int) -> None:
        timeline.now_s += 3.0 if handed == 1 else 0.0

    replay([path], MemoryWriter(broker), pace=Pace(speed=1, gate=busy, clock_s=timeline.clock_s, sleep=timeline.sleep))
    assert timeline.slept_s == [1.0, 1.0]


def test_progress_tells_how_far_a_replay_is_behind_its_schedule(tmp_path: Path, broker: MemoryBroker) -> None:
    path = write(tmp_path / "a.jsonl", *(event("u", ms) for ms in (0, 1_000, 2_000, 60_000)))
    timeline = Timeline()
    told: list[Progress] = []

    def busy(handed: int) -> None:
        timeline.now_s += {1: 3.0, 2: 0.5}.get(handed, 0.0)

    pace = Pace(speed=1, gate=busy, clock_s=timeline.clock_s, sleep=timeline.sleep)
    replay([path], MemoryWriter(broker), pace=pace, progress=told.append)
    behind = [(one.event_ms and one.event_ms - START_MS, one.behind_s) for one in told if one.stage == "send"]
    assert (2_000, 2.0) in behind
    assert behind[-1] == (60_000, 0.0)


def test_at_full_speed_nothing_sleeps(tmp_path: Path, broker: MemoryBroker) -> None:
    timeline = Timeline()
    path = write(tmp_path / "a.jsonl", event("u", 0), event("u", 10_000_000))
    replay([path], MemoryWriter(broker), pace=Pace(clock_s=timeline.clock_s, sleep=timeline.sleep))
    assert timeline.slept_s == []


def test_the_gate_sees_each_record_before_it_is_handed_to_the_log_and_may_end_the_replay(
    tmp_path: Path, broker: MemoryBroker
) -> None:
    path = write(tmp_path / "a.jsonl", *(event("u", ms) for ms in range(5)))
    writer = MemoryWriter(broker)

    def stop_at_three(handed: int) -> None:
        if handed == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        replay([path], writer, pace=Pace(gate=stop_at_three))
    writer.close()
    assert len(sent(broker)) == 3


def test_records_that_the_log_refuses_are_counted_and_told_and_the_rest_goes_on(tmp_path: Path, broker: MemoryBroker) -> None:
    broker.raise_next("append", LogError("the record has 2 MB, at most 1 MB is accepted", retriable=False))
    report = replay([write(tmp_path / "a.jsonl", event("u1", 0), event("u2", 1))], MemoryWriter(broker))
    assert (report.read, report.sent, report.refused) == (2, 1, 1)
    assert "key u1" in report.problems[0]
    assert "at most 1 MB" in report.problems[0]


def test_a_replay_ends_where_the_log_is_away_for_longer_than_it_is_waited_for(tmp_path: Path, broker: MemoryBroker) -> None:
    broker.raise_next("append", LogError("not acknowledged in 120 s", retriable=True))
    path = write(tmp_path / "a.jsonl", event("u1", 0), event("u2", 1))
    with pytest.raises(LogError, match=r"not acknowledged in 120 s; once the log is back run the same command again"):
        replay([path], MemoryWriter(broker))


def test_progress_tells_both_readings_their_total_and_the_rate(tmp_path: Path, broker: MemoryBroker) -> None:
    ticks = count()
    told: list[Progress] = []
    path = write(tmp_path / "a.jsonl", *(event("u", ms) for ms in range(10)))
    replay([path], MemoryWriter(broker), pace=Pace(clock_s=lambda: next(ticks) * 1.0), progress=told.append)
    assert {progress.stage for progress in told} == {"check", "send"}
    assert [told[-1].done, told[-1].total, told[-1].event_ms] == [10, 10, START_MS + 9]
    assert all(progress.events_per_s > 0 for progress in told)


@pytest.mark.parametrize(("text", "speed"), [("max", math.inf), ("1", 1.0), ("0.5", 0.5)])
def test_a_speed_is_max_or_a_number(text: str, speed: float) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast"])
def test_another_speed_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="expected max or a number above 0"):
        parse_speed(text)


def test_a_recording_is_streamed_not_held(broker: MemoryBroker) -> None:
    read: list[int] = []
    read_when_handed: list[int] = []

    def records() -> Iterator[Recorded]:
        for line in range(1, 101):
            read.append(line)
            yield Recorded(line, None, b"{}", None)

    pace = Pace(gate=lambda handed: read_when_handed.append(len(read) - handed))
    replay_records(records(), MemoryWriter(broker), pace=pace)
    assert read_when_handed == [1] * 100


def test_a_replay_onto_the_embedded_log_arrives_whole(tmp_path: Path) -> None:
    config = Config(log=Log(kind="embedded", root=str(tmp_path / "log")))
    admin = EmbeddedAdmin(config)
    admin.create_topics()
    path = write(tmp_path / "a.jsonl", *(event(f"u{ms % 17}", ms) for ms in range(2_000)))
    writer = EmbeddedWriter(config)
    report = replay([path], writer)
    writer.close()
    bounds = admin.bounds()
    admin.close()
    assert report.sent == 2_000
    assert sum(end for where, (_, end) in bounds.items() if where.topic == EVENTS) == 2_000


def identity(*files: Path, start_ms: int | None = None) -> str:
    return check(files, interval=Interval(start_ms)).identity


def test_a_recording_is_known_by_what_would_be_sent_however_it_is_packed(tmp_path: Path) -> None:
    lines = [event("u", ms) for ms in (0, 10, 20)]
    one, two = write(tmp_path / "a.jsonl", *lines), write(tmp_path / "b.jsonl", *lines[1:])
    packed = tmp_path / "c.gz"
    packed.write_bytes(gzip.compress(one.read_bytes()))
    assert identity(one) == identity(packed) == identity(one, start_ms=START_MS)
    assert identity(one, start_ms=START_MS + 10) == identity(two)
    assert len({identity(one), identity(two), identity(one, two), identity(two, one)}) == 4


def test_an_interval_without_any_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none of its 1 events lies in the interval asked for"):
        check([write(tmp_path / "a.jsonl", event("u", 0))], interval=Interval(START_MS + 1))


def test_what_is_added_to_a_file_after_it_was_checked_is_not_sent(tmp_path: Path, broker: MemoryBroker) -> None:
    path = write(tmp_path / "a.jsonl", event("u", 0))
    recording = check([path])
    write(path, event("u", 0), event("u", 1))
    assert replaying.replay(recording, MemoryWriter(broker)).sent == 1


def test_item_documents_are_read_to_their_end_before_they_are_used(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"item_id": "i"}\n' * 10_000)
    cut = tmp_path / "items.jsonl.gz"
    cut.write_bytes(whole[:-20])
    with pytest.raises(RecordingError, match="cut or damaged"):
        check_items(cut)
    cut.write_bytes(whole)
    assert len(list(check_items(cut))) == 10_000


SEGMENT = Path(__file__).resolve().parents[1] / "golden" / "formats" / "segment.jsonl"


def test_what_is_no_interaction_is_left_out_and_counted(broker: MemoryBroker) -> None:
    report = replay([SEGMENT], MemoryWriter(broker))
    assert [json.loads(line)["type"] for line in sent(broker)] == ["impression", "click", "view", "cart", "purchase"]
    assert (report.read, report.sent, report.malformed) == (5, 5, 0)
    assert report.left_out == {"call identify": 1, "call page": 1, "event Product Removed": 1}


def test_a_recording_of_nothing_but_what_is_left_out_is_refused(tmp_path: Path, broker: MemoryBroker) -> None:
    page = json.dumps({"type": "page", "messageId": "m", "userId": "u", "timestamp": "2026-11-24T10:00:00Z"})
    with pytest.raises(RecordingError, match=r"holds no records but those that are no interactions \(2 of kind call page\)"):
        replay([write(tmp_path / "file", page, page)], MemoryWriter(broker))
    assert sent(broker) == []


def test_events_of_a_session_that_stand_behind_later_ones_are_refused_by_its_line(tmp_path: Path, broker: MemoryBroker) -> None:
    events = [{"aid": 1, "ts": START_MS + 5, "type": "clicks"}, {"aid": 2, "ts": START_MS, "type": "carts"}]
    array = write(tmp_path / "file", json.dumps([{"session": 1, "events": []}, {"session": 2, "events": events}]))
    with pytest.raises(UnsortedError, match=r"record 2: an event of .* stands behind one of .* \(record 2\)"):
        replay([array], MemoryWriter(broker))
    assert sent(broker) == []
