"""Laws of the formats: nothing raises, every row is accounted for, what is accepted is accepted by the worker's codec as well."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.formats import FORMATS, LeftOut, Recorded
from producers.formats.base import Row
from producers.formats.reader import Format, JsonReader, Reader, TableReader
from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import DeletedItem, Reject

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "formats"
OBJECTS = [
    json.loads(line) for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()
]
ODD = [None, True, -1, 0, 7, 1.5, 1e308, 10**30, "", "7", "x" * 300, "é", "\ud800", "nan", "(not set)", [], [1], {}, {"id": 1}]
CELLS = [
    "",
    "1",
    "-1",
    "7.5",
    "nan",
    "inf",
    "1e400",
    "1433221332117",
    "1465413032",
    "2019-10-01 00:00:00 UTC",
    "2014-04-07T10:51:09.277Z",
]
CELLS += ["view", "cart", "VIEW", "CONTENT SHARED", "categoryid", "available", "0", "A|B", "x" * 300, "\udcff", "a:b", "٣"]

READERS = [
    pytest.param(known, kind, reader, id=f"{known.name}-{kind}-{place}")
    for known in FORMATS
    for kind, readers in (("events", known.events), ("items", known.items))
    for place, reader in enumerate(readers)
]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value that could hold something else."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [place for one in value.values() for place in places(one)]
    if isinstance(value, list):
        return [(value, n) for n in range(len(value))] + [place for one in value for place in places(one)]
    return []


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A record of some format with a few of its members replaced or taken out; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60))
    value = copy.deepcopy(draw(st.sampled_from(OBJECTS)))
    for _ in range(draw(st.integers(0, 3))):
        found = places(value)
        if not found:
            break
        holder, key = draw(st.sampled_from(found))
        if draw(st.booleans()):
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            del holder[key]
    return json.dumps(value).encode()


@st.composite
def table_rows(draw: st.DrawFn, reader: TableReader) -> Row:
    width = len(reader.columns) + len(reader.optional)
    cells = tuple(draw(st.lists(st.sampled_from(CELLS) | st.text(max_size=5), min_size=width, max_size=width)))
    return Row(0, ",".join(cells).encode(errors="replace"), cells, draw(st.sampled_from([None, None, None, "is no row"])))


def rows_for(reader: Reader) -> st.SearchStrategy[list[Row]]:
    one = objects().map(lambda raw: Row(0, raw)) if isinstance(reader, JsonReader) else table_rows(reader)
    return st.lists(one, max_size=6).map(lambda rows: [row._replace(line=n) for n, row in enumerate(rows, 1)])


def check_accepted(known: Format, kind: str, record: Recorded) -> None:
    """What a format hands on as good is good; where it passes records unread, the codec may still refuse."""
    if record.error is not None:
        return
    assert record.key is not None
    if kind == "items":
        item = decode_item(record.key, record.value)
        assert known.verbatim or (not isinstance(item, Reject | DeletedItem) and item.timestamp_ms == record.timestamp_ms)
        return
    decoded = decode_events([record.value])
    if known.verbatim and decoded.rejects:
        return
    assert (decoded.user_ids[0].encode(), decoded.timestamps_ms[0]) == (record.key, record.timestamp_ms)


@pytest.mark.parametrize(("known", "kind", "reader"), READERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_row_becomes_records_or_is_left_out_and_none_raises(
    known: Format, kind: str, reader: Reader, data: st.DataObject
) -> None:
    rows = data.draw(rows_for(reader))
    left_out = LeftOut()
    records = list(reader.read(rows, left_out))
    lines = Counter(record.line for record in records)
    assert len(lines) + left_out.count == len(rows)
    assert set(lines) <= {row.line for row in rows}
    for record in records:
        check_accepted(known, kind, record)
        if record.error is not None:
            assert record.error
            assert record.timestamp_ms is None


@given(raw=objects())
@settings(max_examples=200, deadline=None)
def test_no_object_makes_the_recognition_of_a_format_raise(raw: bytes) -> None:
    from producers.formats.choose import _objects

    for _, fields in _objects([Row(1, raw)]):
        for known in FORMATS:
            for reader in (*known.events, *known.items):
                if isinstance(reader, JsonReader):
                    reader.recognise(fields)
