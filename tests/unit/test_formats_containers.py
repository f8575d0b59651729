"""What recordings come packed in: archives, arrays, tables with quotation marks, Parquet; whole, cut, or far too long."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from producers.formats import RecordingError, containers, open_events, parquet, read_events, read_items, rows
from producers.formats.lines import LINE_BYTES_MAX, read_lines

EVENT = b'{"type":"click","user_id":"u1","item_id":"i1","timestamp":1795485458344}'


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_zip_archive_with_one_file_is_read_like_the_file(tmp_path: Path) -> None:
    path = zipped(tmp_path / "file.zip", {"a/events": EVENT + b"\n" + EVENT, "__MACOSX/a/events": b"finder's"})
    assert [record.line for record in read_events(path)] == [1, 2]


def test_a_zip_archive_with_several_files_or_none_names_them(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"zip archive of 2 files \(a, b\), expected one: unpack it"):
        open_events(zipped(tmp_path / "two.zip", {"a": EVENT, "b": EVENT}))
    with pytest.raises(RecordingError, match="zip archive of 0 files, expected one"):
        open_events(zipped(tmp_path / "none.zip", {}))


def test_a_zip_archive_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "file.zip", {"events": b"\n".join([EVENT] * 5_000)})
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"cut or damaged after line \d+ .*get the whole file again"):
        list(read_lines(path))
    path.write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(RecordingError, match="cut or damaged after line 0"):
        list(read_lines(path))


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "file.zip", {"events": EVENT})
    content = path.read_bytes()
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(mark) + place
        content = content[:at] + b"\x01" + content[at + 1 :]
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="is encrypted"):
        list(read_lines(path))


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_records_is_read_member_by_member(tmp_path: Path, indent: int | None) -> None:
    events = [
        {"type": "click", "user_id": f"u{n}é", "item_id": "],[", "timestamp": 1_795_485_458_344 + n} for n in range(9_000)
    ]
    path = tmp_path / "file.json"
    path.write_text(" \n" + json.dumps(events, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    reading = open_events(path)
    assert (reading.unit, reading.header_lines) == ("record", 0)
    found = list(reading)
    assert [record.line for record in found] == list(range(1, 9_001))
    assert [json.loads(record.value) for record in found] == events
    assert all(record.error is None for record in found)


def test_an_array_may_be_one_long_line(tmp_path: Path) -> None:
    count = 2 * LINE_BYTES_MAX // len(EVENT)
    path = tmp_path / "file.json"
    path.write_bytes(b"[" + b",".join([EVENT] * count) + b"]")
    assert sum(1 for _ in read_events(path)) == count
    path.write_bytes(b'[{"type": "' + b"x" * (3 * LINE_BYTES_MAX) + b'"}]')
    with pytest.raises(RecordingError, match="record 1 of the array is no JSON of up to"):
        read_events(path)


def test_an_array_whose_chunks_end_anywhere_gives_the_same_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [b'{"a":"\xc3\xa9"}', b"12345", b'"x\\"]"', b"-1.5e3", b"[[], {}]", b"null", b'{"b":{"c":[1,2]}}']
    path = tmp_path / "file"
    path.write_bytes(b"[" + b" ,\n".join(members) + b"]")
    for size in range(1, 20):
        monkeypatch.setattr(containers, "CHUNK_BYTES", size)
        assert [row.raw for row in rows.json_array(path)] == members


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" + EVENT + b"," + EVENT, "the end of the file stands where ',' was expected"),
        (b"[" + EVENT + b"," + EVENT[:30], "record 2 of the array is no JSON"),
        (b"[" + EVENT + EVENT + b"]", "stands where ',' was expected"),
        (b"[" + EVENT + b"] more", "goes on behind the end of its array"),
        (b"[" + EVENT + b", {broken}]", "record 2 of the array is no JSON"),
        (b"[" + EVENT + b"," + b"[" * 100_000, "record 2 of the array is no JSON"),
    ],
)
def test_an_array_that_is_cut_or_broken_says_where(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        list(rows.json_array(path))


def test_cells_in_quotation_marks_may_hold_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "shared_articles.csv"
    header = "timestamp,eventType,contentId,contentType,url,title,text"
    path.write_bytes(
        f'{header}\r\n1459193988,CONTENT SHARED,1,HTML,u,"One, two","a\r\n\r\nb ""c"""\r\n1459193989,CONTENT SHARED,2,HTML,u,t,x\r\n'.encode()
    )
    first, second = read_items(path)
    assert (first.line, second.line) == (2, 5)
    assert json.loads(first.value)["text"] == 'a\n\nb "c"'


def test_a_row_that_is_none_is_kept_as_it_is_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(
        b'timestamp,visitorid,event,itemid\n1433221332117,"1"x,view,7\n1433221332117,2,view,8\n1433221332117,"3,view,9\n'
    )
    broken, good, unclosed = read_events(path)
    assert (broken.line, broken.value, broken.key) == (2, b'1433221332117,"1"x,view,7', None)
    assert "is no row of a table" in str(broken.error)
    assert (good.line, good.error) == (3, None)
    assert (unclosed.line, unclosed.value) == (4, b'1433221332117,"3,view,9')
    assert "unexpected end of data" in str(unclosed.error)


def test_a_quotation_mark_that_never_closes_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    row = b"1433221332117,2,view,8\n"
    path.write_bytes(b"timestamp,visitorid,event,itemid\n" + row + b'1433221332117,"3,view,9\n' + row * (LINE_BYTES_MAX // 15))
    found = read_events(path)
    assert next(found).line == 2
    with pytest.raises(RecordingError, match=r"line 3: a quotation mark opens there and does not close within \d+ bytes"):
        next(found)


def test_ends_of_lines_count_in_a_cell_that_never_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LINE_BYTES_MAX", 1_000)
    path = tmp_path / "file.csv"
    path.write_bytes(b'timestamp,visitorid,event,itemid\n1433221332117,"3' + b"\n" * 2_000)
    with pytest.raises(RecordingError, match="line 2: a quotation mark opens there and does not close within 1000 bytes"):
        list(read_events(path))


def test_a_pipe_is_refused_as_one_and_nobody_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for given in (path, Path("/dev/zero")):
        with pytest.raises(
            RecordingError, match=r"is a pipe or a device, expected a file, .* write it into one first"
        ) as raised:
            open_events(given)
        assert raised.value.unreadable


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    columns = b"timestamp,visitorid,event,itemid\n"
    row = b"1433221332117,2,view,8\n"
    peaks = []
    for count in (15_000, 150_000):
        path = tmp_path / "file.csv"
        path.write_bytes(columns + row * count)
        tracemalloc.start()
        assert sum(1 for _ in read_events(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 20_000_000
    assert peaks[1] - peaks[0] < 2_000_000  # other threads of the test run allocate a little too; the file has 3.4 MB more


def test_memory_stays_bounded_where_records_are_long(tmp_path: Path) -> None:
    events = [{"aid": n, "ts": 1_661_200_010_000 + n, "type": "clicks"} for n in range(500)]
    path = tmp_path / "sessions.jsonl"
    path.write_text("".join(json.dumps({"session": n, "events": events}) + "\n" for n in range(100)))
    tracemalloc.start()
    assert sum(1 for _ in read_events(path)) == 50_000
    assert tracemalloc.get_traced_memory()[1] < 15_000_000
    tracemalloc.stop()


def test_a_line_without_end_is_refused_before_it_fills_the_memory_whatever_it_is_packed_in(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("events", "w", force_zip64=True) as file:
        for _ in range(200):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    with pytest.raises(RecordingError, match="line 1 has more than"):
        open_events(path)
    assert tracemalloc.get_traced_memory()[1] < 8 * LINE_BYTES_MAX
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(("\ufeff" if encoding.endswith("be") else "").encode(encoding) + EVENT.decode().encode(encoding))
    with pytest.raises(RecordingError, match="UTF-16 text, expected UTF-8: convert it with iconv"):
        open_events(path)


def test_parquet_rows_of_a_table_and_of_objects_are_read(tmp_path: Path) -> None:
    from datetime import datetime

    import pyarrow as pa
    from pyarrow import parquet as written

    ids = pa.array([7, 8], pa.int64())
    times = pa.array([datetime(2019, 10, 1, 0, 0, n) for n in range(2)], pa.timestamp("us"))  # noqa: DTZ001 - as pandas writes it
    kinds, users, prices = pa.array(["view", "cart"]), pa.array([1.0, None]), pa.array([9.5, None])
    table = pa.table({"event_time": times, "event_type": kinds, "product_id": ids, "user_id": users, "price": prices})
    written.write_table(table, tmp_path / "table.parquet")
    first, second = read_events(tmp_path / "table.parquet")
    assert json.loads(first.value) == {
        "event_id": "rees46:1:2019-10-01T00:00:00+00:00:view:7:1",
        "type": "view",
        "user_id": "1",
        "item_id": "7",
        "timestamp": 1_569_888_000_000,
        "price": 9.5,
    }
    assert (second.line, second.error) == (2, "user_id is missing, expected an id: send it")
    objects = pa.table(
        {
            "event_name": ["view_item"],
            "event_timestamp": [1_612_069_522_000_001],
            "user_pseudo_id": ["1.2"],
            "items": [[{"item_id": "9", "price": 6.0}]],
        }
    )
    written.write_table(objects, tmp_path / "objects.parquet")
    [found] = read_events(tmp_path / "objects.parquet")
    assert (found.key, found.timestamp_ms, json.loads(found.value)["item_id"]) == (b"1.2", 1_612_069_522_000, "9")


def test_parquet_that_is_cut_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet as written

    whole = io.BytesIO()
    written.write_table(pa.table({"event_name": ["view_item"] * 1_000}), whole)
    (tmp_path / "file").write_bytes(whole.getvalue()[:-20])
    with pytest.raises(RecordingError, match=r"cut or damaged Parquet after row 0 .*get the whole file again"):
        open_events(tmp_path / "file")


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"PAR1")
    code = "import sys; sys.modules['pyarrow'] = None; from pathlib import Path; from producers.formats import open_events\n"
    code += f"open_events(Path({str(tmp_path / 'file')!r}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "is a Parquet file, which pyarrow reads: install it with pip install 'streamer[parquet]'" in told.stderr


def test_parquet_is_read_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    from pyarrow import parquet as written

    monkeypatch.setattr(parquet, "BATCH_ROWS", 7)
    written.write_table(pa.table({"a": list(range(50))}), tmp_path / "file", row_group_size=20)
    assert [(row.line, row.cells) for row in parquet.table(tmp_path / "file", ["a"])] == [(n + 1, (str(n),)) for n in range(50)]
