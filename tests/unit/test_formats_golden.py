"""Samples of every format beside what becomes of them, record by record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producers.formats import FORMATS, Reading, open_events, open_items
from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import Reject

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "formats"
EXPECTED = ".expected.json"
SAMPLES = sorted(path for path in FOLDER.iterdir() if not path.name.endswith(EXPECTED))
WHOLE = [path for path in SAMPLES if "-broken" not in path.name]
BROKEN = [path for path in SAMPLES if "-broken" in path.name]


def format_of(path: Path) -> str:
    return max((known.name for known in FORMATS if path.name.startswith(known.name)), key=len)


def opened(path: Path, name: str) -> Reading:
    return open_items(path, name) if "-items" in path.name else open_events(path, name)


def told(reading: Reading) -> dict[str, Any]:
    records = [
        {"line": record.line} | ({"refused": record.error} if record.error else {"becomes": json.loads(record.value)})
        for record in reading
    ]
    return {"format": reading.format.name, "records": records, "left_out": reading.left_out.by_kind}


def test_every_format_has_samples_of_all_that_it_reads() -> None:
    for known in FORMATS:
        samples = [path for path in WHOLE if format_of(path) == known.name]
        assert any("-items" not in path.name for path in samples), known.name
        assert any("-items" in path.name for path in samples) == bool(known.items), known.name


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_becomes_what_stands_beside_it(path: Path) -> None:
    expected = json.loads(path.with_name(path.name + EXPECTED).read_text(encoding="utf-8"))
    assert told(opened(path, format_of(path))) == expected


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_the_format_of_a_sample_is_told_and_every_record_of_it_accepted(path: Path) -> None:
    reading = opened(path, "auto")
    assert reading.format.name == format_of(path)
    assert reading.why
    records = list(reading)
    assert records
    assert all(record.error is None and record.key for record in records)
    if "-items" in path.name:
        assert not [record for record in records if isinstance(decode_item(record.key, record.value), Reject)]
    else:
        decoded = decode_events([record.value for record in records])
        assert decoded.rejects == []
        assert [user.encode() for user in decoded.user_ids] == [record.key for record in records]
        assert decoded.timestamps_ms == [record.timestamp_ms for record in records]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_a_broken_sample_is_refused_by_the_worker_as_well(path: Path) -> None:
    records = list(opened(path, format_of(path)))
    broken = [record for record in records if record.error is not None or format_of(path) == "streamer-jsonl"]
    assert broken
    for record in broken:
        if "-items" in path.name:
            assert isinstance(decode_item(record.key, record.value), Reject)
        else:
            assert len(decode_events([record.value]).rejects) == 1


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_read_twice_a_sample_gives_the_same_ids(path: Path) -> None:
    reading = opened(path, format_of(path))
    assert list(reading) == list(reading)


@pytest.mark.parametrize("path", [path for path in WHOLE if "-items" not in path.name], ids=lambda path: path.name)
def test_no_two_events_of_a_sample_share_an_id(path: Path) -> None:
    decoded = decode_events([record.value for record in opened(path, format_of(path))])
    ids = [pair for pair in zip(decoded.user_ids, decoded.event_ids, strict=True) if pair[1]]
    assert len(ids) == len(set(ids))
