"""Telling formats apart, reading packed and damaged files, and the records that come of them."""

import bz2
import gzip
import json
import lzma
import random
import re
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import zstandard

from producers.formats import Recorded, RecordingError, in_time_order, open_events, open_items, read_events, read_items
from producers.formats.lines import LINE_BYTES_MAX, read_lines
from producers.recordings import movielens_100k
from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import ItemDocument

EVENT = b'{"type":"click","user_id":"u1","item_id":"i1","timestamp":1795485458344}'
ITEM = b'{"item_id":"i1","title":"Boots"}'
INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float"
FILMS = b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ((EVENT,), "streamer-jsonl"),
        ((b"broken", b"", EVENT), "streamer-jsonl"),
        ((b"\xef\xbb\xbf" + EVENT + b"\r",), "streamer-jsonl"),
        ((INTER, b"196\t242\t3\t881250949"), "movielens"),
        ((b"196\t242\t3\t881250949",), "movielens"),
    ],
)
def test_the_format_of_events_is_told_from_the_file(tmp_path: Path, lines: tuple[bytes, ...], name: str) -> None:
    found = open_events(write(tmp_path / "any.name", *lines)).format.name
    assert found == name


@pytest.mark.parametrize(
    ("lines", "name"), [((ITEM,), "streamer-jsonl"), ((FILMS, b"1\tToy Story\t1995\tComedy"), "movielens")]
)
def test_the_format_of_items_is_told_from_the_file(tmp_path: Path, lines: tuple[bytes, ...], name: str) -> None:
    path = write(tmp_path / "any.name", *lines)
    found = open_items(path).format.name
    assert found == name
    with pytest.raises(RecordingError, match="holds item documents, expected events"):
        open_events(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"user,item\n1,2\n", r"no known format \(begins 'user,item'\), expected events in one of streamer-jsonl, segment"),
        (b"PK\x03\x04 and more", "cut or damaged after byte 0 .*zip"),
        (b"PAR1 and more", "cut or damaged Parquet"),
        (b"[]", "is an empty array"),
        ("{}".encode("utf-16"), "is UTF-16 text, expected UTF-8: convert it with iconv"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as raised:
        open_events(path)
    assert not raised.value.unreadable


def test_a_file_that_cannot_be_opened_is_told_from_one_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file") as raised:
        open_events(tmp_path / "missing")
    assert raised.value.unreadable


def test_an_unknown_format_names_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="did you mean movielens"):
        open_events(write(tmp_path / "file", EVENT), "movielnes")


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_are_the_same_however_packed(tmp_path: Path, packing: str, end: bytes) -> None:
    lines = [f"line {number}".encode() * (number % 50) for number in range(20_000)]
    path = tmp_path / "file"
    text = end.join(lines) + end
    pack = PACKED[packing]
    path.write_bytes(pack(text[: len(text) // 2]) + pack(text[len(text) // 2 :]))  # two members, two frames
    assert list(read_lines(path)) == lines


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo")
    assert list(read_lines(tmp_path / "file")) == [b"one", b"two"]


@pytest.mark.parametrize("packing", ["gzip", "zstd", "bzip2", "xz"])
def test_a_packed_file_that_is_cut_says_after_which_line(tmp_path: Path, packing: str) -> None:
    noise = random.Random(7).randbytes(500_000)
    packed = PACKED[packing](noise)
    (tmp_path / "file").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RecordingError, match=r"cut or damaged after line \d+ .*get the whole file again"):
        list(read_lines(tmp_path / "file"))


@pytest.mark.parametrize("magic", [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_a_packed_file_that_is_damaged_is_refused(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "file").write_bytes(magic + b"not what it says" * 100)
    with pytest.raises(RecordingError, match="cut or damaged after line 0"):
        list(read_lines(tmp_path / "file"))


def test_an_endless_line_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(EVENT + b"\n" + b"x" * (LINE_BYTES_MAX + 500_000))
    with pytest.raises(RecordingError, match="line 2 has more than"):
        list(read_lines(tmp_path / "file"))


def test_our_own_events_pass_byte_for_byte_with_their_users_as_keys(tmp_path: Path) -> None:
    spaced = (
        b'{ "user_id": "\xc3\xa9", "timestamp": "2026-11-24T03:17:38.344+02:00", "type": "view", "item_id": "i", "more": [1] }'
    )
    found = list(read_events(write(tmp_path / "file", EVENT, b"", spaced)))
    assert found == [
        Recorded(1, b"u1", EVENT, 1_795_485_458_344),
        Recorded(3, "é".encode(), spaced, 1_795_483_058_344),
    ]


@pytest.mark.parametrize(
    ("line", "key", "error"),
    [
        (b"{broken", None, "malformed"),
        (b'"text"', None, "object"),
        (b'{"user_id": 7, "timestamp": 1795485458344}', None, "user_id"),
        (b'{"user_id": "u1"}', b"u1", "timestamp"),
        (b'{"user_id": "u1", "timestamp": 881250949}', b"u1", "timestamp is 881250949: .*seconds"),
        (b'{"user_id": "u1", "timestamp": "yesterday"}', b"u1", 'timestamp is "yesterday"'),
        (b'{"user_id": "\xff", "timestamp": 1795485458344}', None, "utf-8|UTF-8"),
        (b'{"user_id": "\\ud800", "timestamp": 1795485458344}', None, "surrogate"),
    ],
)
def test_a_broken_line_is_kept_as_it_is_and_says_why(tmp_path: Path, line: bytes, key: bytes | None, error: str) -> None:
    [found] = read_events(write(tmp_path / "file", line), "streamer-jsonl")
    assert (found.key, found.value, found.timestamp_ms) == (key, line, None)
    assert re.search(error, str(found.error))


def test_our_own_items_are_keyed_by_item(tmp_path: Path) -> None:
    timed = b'{"item_id":"i2","timestamp":1795485458344}'
    found = list(read_items(write(tmp_path / "file", ITEM, timed, b'{"title":"no id"}'), "streamer-jsonl"))
    assert found[:2] == [Recorded(1, b"i1", ITEM, None), Recorded(2, b"i2", timed, 1_795_485_458_344)]
    assert found[2].key is None
    assert found[2].error is not None


@pytest.mark.parametrize(("rating", "kind"), [("5", "purchase"), ("4", "purchase"), ("3.5", "click"), ("1", "click")])
def test_a_rating_of_four_or_more_is_a_purchase(tmp_path: Path, rating: str, kind: str) -> None:
    [found] = read_events(write(tmp_path / "file", INTER, f"196\t242\t{rating}\t881250949".encode()))
    assert json.loads(found.value) == {
        "event_id": "movielens:196:242:881250949:2",
        "type": kind,
        "user_id": "196",
        "item_id": "242",
        "timestamp": 881_250_949_000,
    }
    assert (found.line, found.key, found.timestamp_ms) == (2, b"196", 881_250_949_000)


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "file",
        b"timestamp:float\tother:float\trating:float\titem_id:token\tuser_id:token",
        b"881250949.5\t0\t3\ti\tu",
    )
    [found] = read_events(path)
    assert (found.key, found.timestamp_ms) == (b"u", 881_250_949_500)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (b"196\t242\t3", "has 3 columns separated by tabs, expected 4"),
        (b"196\t242\tgood\t881250949", "rating is 'good', expected a number"),
        (b"196\t242\t3\tinf", "timestamp is inf, expected epoch seconds of a time between 1973 and 5138"),
        (b"196\t242\t3\t881250949000000", "timestamp is 881250949000000, expected epoch seconds"),
        (b"\t242\t3\t881250949", "user_id is missing, expected an id"),
        (b"\xff\t242\t3\t881250949", "valid Unicode"),
        (b"196\t" + b"2" * 257 + b"\t3\t881250949", "bad_id"),
    ],
)
def test_a_broken_rating_is_kept_as_it_is_and_says_why(tmp_path: Path, row: bytes, error: str) -> None:
    [found] = read_events(write(tmp_path / "file", INTER, row))
    assert (found.key, found.value, found.timestamp_ms) == (None, row, None)
    assert error in str(found.error)


def test_a_film_is_a_document_with_its_genres_as_categories(tmp_path: Path) -> None:
    path = write(tmp_path / "file", FILMS, b"1\tToy Story\t1995\tAnimation Children's Comedy", b"2\tunknown\t\t", b"3")
    toy_story, untold, broken = read_items(path)
    assert decode_item(toy_story.key, toy_story.value) == ItemDocument(
        item_id="1", title="Toy Story", text="1995", categories=("Animation", "Children's", "Comedy")
    )
    assert decode_item(untold.key, untold.value) == ItemDocument(item_id="2", title="unknown")
    assert broken.error == "has 1 columns separated by tabs, expected 4"


def test_time_order_is_stable_and_keeps_a_record_without_a_time_behind_its_predecessor() -> None:
    given_order = [
        Recorded(1, None, b"a", 20),
        Recorded(2, None, b"b", None),
        Recorded(3, None, b"c", 10),
        Recorded(4, None, b"d", 20),
    ]
    assert [record.value for record in in_time_order(given_order)] == [b"c", b"a", b"b", b"d"]


def test_the_installed_movielens_recording_becomes_events_and_documents_that_are_accepted() -> None:
    recording = movielens_100k()
    events = list(read_events(recording.events))
    ordered = in_time_order(events)
    assert len(events) == 100_000
    assert len({record.key for record in events}) == 943
    assert all(record.error is None for record in events)
    assert all(one.timestamp_ms <= two.timestamp_ms for one, two in zip(ordered, islice(ordered, 1, None), strict=False))  # type: ignore[operator]
    assert decode_events([record.value for record in events]).rejects == []
    items = [decode_item(record.key, record.value) for record in read_items(recording.items)]
    assert len(items) == 1_682
    assert all(isinstance(item, ItemDocument) for item in items)
    assert "recbole" not in sys.modules


def test_a_record_that_is_no_call_of_segments_is_not_left_out_as_one(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"type": "identify", "userId": "u1"}\n{"type": "click", "user_id": "u1", "item_id": "i1"}\n')
    reading = open_events(path, "segment")
    (record,) = reading
    assert record.error is not None
    assert "type is 'click', expected a call of Segment's" in record.error
    assert reading.left_out.by_kind == {"call identify": 1}
