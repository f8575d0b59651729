"""Synthetic records: equal bytes for equal settings, defects at the rates chosen, a schedule that waits for nobody."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from synthetic import labelled, within

from producers.replay import Pace
from producers.synthetic import Extent, SyntheticStream, Traffic, send, write_events, write_items
from producers.synthetic.broken import REASONS, WAYS, spoilt
from producers.synthetic.tally import Tally
from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import EVENT_TYPE_NAMES, ITEMS, ItemDocument, RejectReason
from streamer.ports import Acknowledge, OutRecord

ALL = Traffic(late=0.1, duplicate=0.2, broken=0.05, future=0.03, disorder=0.15, users=500, items=300)
RECORDS = 30_000


def values(traffic: Traffic, count: int) -> list[bytes]:
    return [record.value for _, _, record in labelled(traffic, count)]


def test_the_bytes_are_those_of_every_machine() -> None:
    digest = hashlib.sha256(b"\n".join(values(ALL, 5_000))).hexdigest()
    assert digest == "3a7009312ca392e911931bf582bfa4adb9227cbb1b4a51a11eaa9aac38c7d72d", (
        "a change of the generator: every seed now makes another stream; say so in the changelog"
    )


def test_a_seed_repeats_itself_and_no_other() -> None:
    assert not set(values(Traffic(seed=2**64 - 1), 500)) & set(values(Traffic(seed=2**64 - 2), 500))
    ours, again = values(ALL, 2_000), values(ALL, 5_000)
    assert ours == again[:2_000]
    other = values(Traffic(**{**vars(ALL), "seed": 8}), 2_000)
    assert not set(ours) & set(other)


@pytest.mark.parametrize("setting", ["users", "rate", "late", "broken", "drift", "start_ms", "lateness_ms_max"])
def test_streams_of_other_settings_share_no_event_id(setting: str) -> None:
    other = Traffic(**{**vars(ALL), setting: 1_700_000_000_000 if setting == "start_ms" else getattr(ALL, setting) * 2})
    ids = [set(decode_events(values(traffic, 500)).event_ids) for traffic in (ALL, other)]
    assert not ids[0] & ids[1]


def test_defects_come_at_the_rates_chosen() -> None:
    tally = Tally()
    tally.note_all(label for _, label, _ in labelled(ALL, RECORDS))
    counts = tally.counts()
    events = sum(counts["applied"].values())
    assert counts["records"] == RECORDS == events + counts["late"] + counts["duplicate"] + sum(counts["rejected"].values())
    for name in ("late", "duplicate", "future"):
        assert within(counts[name], events, getattr(ALL, name)), (name, counts[name], events)
    assert within(counts["disordered"], events, ALL.disorder)
    assert within(counts["bots"], events, ALL.bots)
    broken = sum(counts["rejected"].values())
    assert within(broken, events, ALL.broken)
    assert all(within(count, broken, 1 / len(REASONS)) for count in counts["rejected"].values())
    assert set(counts["rejected"]) == set(RejectReason) - {RejectReason.ENGINE_ERROR, RejectReason.BAD_IMAGE}


def test_what_is_delayed_comes_behind_younger_events() -> None:
    stream = labelled(Traffic(disorder=0.1, late=0, duplicate=0, broken=0), 20_000)
    stamps = np.array([record.timestamp_ms for _, _, record in stream])
    behind = (stamps < np.maximum.accumulate(stamps)).mean()
    assert behind == pytest.approx(0.1, abs=0.02)
    level = [record.timestamp_ms or 0 for _, _, record in labelled(Traffic(disorder=0, late=0, duplicate=0, broken=0), 5_000)]
    assert level == sorted(level)


@pytest.mark.parametrize(("reason", "way"), [(reason, way) for reason, ways in WAYS.items() for way in range(len(ways))])
def test_every_way_of_breaking_an_event_gives_its_reason(reason: RejectReason, way: int) -> None:
    found = decode_events(values(Traffic(late=0, duplicate=0, broken=0), 3_000))
    assert set(found.types) == set(range(len(EVENT_TYPE_NAMES)))
    for value in values(Traffic(late=0, duplicate=0, broken=0), 300):
        ((_, reject),) = decode_events([spoilt(value, REASONS.index(reason), way)]).rejects
        assert reject.reason == reason, (value, reject)


@pytest.mark.parametrize(
    ("setting", "value"), [("users", 0), ("rate", 0.0), ("rate", float("nan")), ("late", -0.1), ("bots", 0.9), ("start_ms", 5)]
)
def test_what_makes_no_stream_is_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{setting} is .*, expected "):
        Traffic(**{setting: value})


class SlowLog:
    """Takes a while for every record, on a clock of its own."""

    def __init__(self, takes_s: float) -> None:
        self.now_s, self.takes_s = 0.0, takes_s
        self.events: list[bytes | None] = []
        self.items: list[OutRecord] = []

    def clock_s(self) -> float:
        return self.now_s

    def sleep(self, span_s: float) -> None:
        self.now_s += span_s

    def send(self, record: OutRecord, on_done: Acknowledge | None = None) -> None:
        assert on_done is not None
        if record.topic == ITEMS:
            self.items.append(record)
        else:
            self.now_s += self.takes_s
            self.events.append(record.value)
        on_done(record, None)

    def flush(self, timeout_s: float) -> None:
        assert timeout_s > 0

    def close(self) -> None:
        raise AssertionError


def sent(takes_s: float, extent: Extent, stop_at: int | None = None) -> tuple[SlowLog, object]:
    log = SlowLog(takes_s)
    pace = Pace(
        speed=1.0, clock_s=log.clock_s, sleep=log.sleep, stopped=lambda: stop_at is not None and len(log.events) >= stop_at
    )
    return log, send(extent.of(SyntheticStream(ALL).batches(), ALL.start_ms), log, pace)


def test_a_fast_log_gets_every_record_when_it_is_due() -> None:
    log, made = sent(0.0, Extent(seconds=60))
    assert made.behind_s_max < 0.001
    assert log.now_s == pytest.approx(60, abs=0.5)
    assert len(log.events) / 60 == pytest.approx(ALL.rate * 1.25, rel=0.2), "at midnight the rhythm is above the mean"


def test_the_schedule_does_not_wait_for_a_slow_log() -> None:
    log, made = sent(0.05, Extent(events=2_000))
    assert made.behind_s == pytest.approx(2_000 * 0.05 - (made.last_ms - ALL.start_ms) / 1_000, abs=0.2)
    assert made.behind_s_max == made.behind_s > 50
    assert log.events == values(ALL, 2_000)


def test_a_run_that_is_stopped_counts_what_was_sent() -> None:
    log, made = sent(0.0, Extent(), stop_at=777)
    assert len(log.events) == made.tally.records == 777


def test_files_hold_the_same_bytes_packed_or_not(tmp_path: Path) -> None:
    plain, packed, again = (tmp_path / name for name in ("a.jsonl", "a.jsonl.gz", "b.jsonl.gz"))
    for path in (plain, packed, again):
        made = write_events(Extent(events=3_000).of(SyntheticStream(ALL).batches(), ALL.start_ms), path, lambda: False)
    assert plain.read_bytes() == b"".join(value + b"\n" for value in values(ALL, 3_000)) == gzip.decompress(packed.read_bytes())
    assert packed.read_bytes() == again.read_bytes()
    items = tmp_path / "items.jsonl"
    assert write_items(ALL, made.last_ms, items) == len(items.read_bytes().splitlines()) == ALL.items
    assert all(isinstance(decode_item(None, line), ItemDocument) for line in items.read_bytes().splitlines())
