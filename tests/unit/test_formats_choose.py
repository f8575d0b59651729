"""Telling formats apart: why a file is taken for what it is, and what is said of one that is ambiguous, mixed or wrongly cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.formats import RecordingError, open_events, open_items

SEGMENT = b'{"type":"track","event":"Product Viewed","messageId":"m","userId":"u","timestamp":"2026-11-24T10:00:00Z","properties":{"product_id":"i"}}'
GA4 = b'{"event_name":"view_item","event_timestamp":"1612069522000001","user_pseudo_id":"1.2","items":[{"item_id":"9"}]}'
OURS = b'{"type":"click","user_id":"u1","item_id":"i1","timestamp":1795485458344}'
BOTH = b'{"type":"track","user_id":"u","event":"Product Viewed","messageId":"m","userId":"u","timestamp":"2026-11-24T10:00:00Z","properties":{}}'
REES46 = b"event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
REES46_ROW = b"2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d7"


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((SEGMENT,), "Segment's calls with type and messageId"),
        ((b"{broken", GA4), "rows of GA4's export with event_name, event_timestamp and user_pseudo_id"),
        ((REES46, REES46_ROW), "a header with event_time, event_type, product_id, user_id"),
        ((b"1,2014-04-07T10:51:09.277Z,214536502,0",), "rows of session, time, item, category"),
        ((OURS,), "JSON with timestamp, type, user_id"),
    ],
)
def test_a_file_says_why_it_is_taken_for_what_it_is(tmp_path: Path, lines: tuple[bytes, ...], why: str) -> None:
    reading = open_events(write(tmp_path / "file", *lines))
    assert reading.why == why
    assert [record for record in reading if record.error is None]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            (b"user_id:token\titem_id:token\trating:float\ttimestamp:float", b"1\t2\t3\t881250949", b"1,2,3,881250950"),
            r"line 1 is movielens \(.*\), line 3 has its columns separated by commas instead of tabs, expected one format a file",
        ),
        (
            (SEGMENT, SEGMENT, GA4),
            r"line 1 is segment \(.*\), line 3 is ga4-bigquery \(.*\), expected one format a file: split it",
        ),
        ((BOTH,), r"line 1: fits streamer-jsonl and segment \(.*\), expected one format: name it with --format"),
        (
            (REES46.replace(b",", b";"),),
            r"line 1: the columns of rees46 stand there separated by semicolons, expected commas: write",
        ),
        ((REES46.replace(b",", b"\t"),), r"line 1: the columns of rees46 stand there separated by tabs, expected commas"),
        ((b"SessionId,ItemId,Time",), r"the columns of yoochoose stand there separated by commas, expected tabs"),
        (
            (REES46.replace(b"user_id", b"customer"),),
            r"rees46 would need the columns user_id as well\), expected events in one of",
        ),
        ((b'{"who":"u","what":"i"}',), r"line 1 is JSON with what, who\), expected events in one of"),
        ((b"{", b'  "who": "u"', b"}"), r"JSON over several lines\? expected a record a line, as `jq -c \.` writes them"),
        ((b"timestamp,itemid,property,value",), "holds item documents, expected events"),
    ],
)
def test_what_no_format_fits_alone_is_refused_in_words(tmp_path: Path, lines: tuple[bytes, ...], message: str) -> None:
    with pytest.raises(RecordingError, match=message) as raised:
        open_events(write(tmp_path / "file", *lines))
    assert not raised.value.unreadable


def test_a_file_of_events_given_as_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds events, expected item documents"):
        open_items(write(tmp_path / "file", SEGMENT))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "rees46",
            (SEGMENT,),
            r"line 1: is no events of rees46 \(.*expected the columns event_time, event_type, product_id, user_id",
        ),
        ("rees46", (REES46.replace(b",", b"|"),), "separated by bars, expected commas"),
        ("yoochoose", (b"1;2;3",), "expected the columns SessionId, ItemId, Time or session, time, item, category"),
    ],
)
def test_a_named_format_that_a_file_is_not_in_is_refused(
    tmp_path: Path, name: str, lines: tuple[bytes, ...], message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        open_events(write(tmp_path / "file", *lines), name)


def test_naming_a_format_settles_what_is_ambiguous_or_mixed(tmp_path: Path) -> None:
    reading = open_events(write(tmp_path / "file", SEGMENT, GA4), "segment")
    good, broken = reading
    assert (good.line, good.error, good.key) == (1, None, b"u")
    assert (broken.line, broken.error, broken.key) == (2, "event is missing, expected its name in a track call: send it", None)
    assert open_events(write(tmp_path / "file", BOTH), "segment").format.name == "segment"


def test_columns_may_stand_in_any_order_and_more_may_be_there(tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"more,itemid,event,visitorid,timestamp", b"x,7,view,9,1433221332117")
    [found] = open_events(path)
    assert found.key == b"9"
    assert found.timestamp_ms == 1_433_221_332_117
