"""What a backtest reads: any format, numbered by lines, with what was rejected and left out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from streamer.cli.backtest_input import Read, read_stream
from streamer.config import Config
from streamer.events.model import EventType

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "formats"


def read(events: Path) -> Read:
    return read_stream(events, None, "auto", Config(), reading=lambda _: None, encoding=lambda _: None)


def test_events_are_numbered_by_their_lines_whatever_is_left_out_before_them() -> None:
    found = read(GOLDEN / "segment.jsonl")
    assert (found.format, found.problems.count) == ("segment", 0)
    assert found.stream.line_N.tolist() == [2, 3, 4, 5, 7]
    assert found.left_out == {"call identify": 1, "call page": 1, "event Product Removed": 1}


def test_rows_are_numbered_below_the_header() -> None:
    assert sorted(read(GOLDEN / "rees46.csv").stream.line_N.tolist()) == [0, 1, 3]
    assert read(GOLDEN / "yoochoose-clicks.dat").stream.line_N.tolist() == [0, 1]


def test_events_of_one_record_share_its_number() -> None:
    found = read(GOLDEN / "otto.jsonl")
    assert set(found.stream.line_N.tolist()) == {0}
    assert [EventType(code).name for code in found.stream.type_N] == ["CLICK", "CLICK", "CART", "PURCHASE"]


def test_the_members_of_an_array_are_numbered(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (GOLDEN / "segment.jsonl").read_text(encoding="utf-8").splitlines()]
    path = tmp_path / "array.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
    assert read(path).stream.line_N.tolist() == [2, 3, 4, 5, 7]


def test_a_rejected_record_is_told_with_its_line_and_what_its_format_says_of_it() -> None:
    found = read(GOLDEN / "otto-broken.jsonl")
    assert found.stream.events == 1
    assert found.problems.count == 2
    assert found.problems.named[0].endswith(
        "line 1: missing_field: events[1].type is 'views', expected one of clicks, carts, orders"
    )
