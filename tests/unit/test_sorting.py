"""``streamer sort``: the order is that of the times, whatever memory it has, and nothing half done is left."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from producers import sorting
from producers.formats import Recorded, in_time_order, open_events
from producers.sorting import Sorter
from streamer.cli.main import main

TIMES = st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=40)


def recorded(times: list[int | None]) -> list[Recorded]:
    return [Recorded(line, b"k", b"%d" % line, time, None) for line, time in enumerate(times)]


def ordered(*files: list[Recorded]) -> list[bytes]:
    with contextlib.closing(Sorter()) as sorter:
        for records in files:
            assert sorter.add(records) == len(records)
        return list(sorter)


@given(TIMES)
@settings(max_examples=50, deadline=None)
def test_the_order_is_that_of_time_and_place(times: list[int | None]) -> None:
    assert ordered(recorded(times)) == [record.value for record in in_time_order(recorded(times))]


def test_of_equal_time_the_file_named_first_comes_first() -> None:
    first, second = (
        [Recorded(line, b"k", b"%d of %b" % (line, name), 7, None) for line in range(3)] for name in (b"one", b"two")
    )
    assert ordered(second, first) == [record.value for record in [*second, *first]]


def test_the_order_is_the_same_where_memory_does_not_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "CACHE_BYTES", 65_536)
    records = [Recorded(n, b"k", b"%d" % n * 200, n * 7_919 % 20_011, None) for n in range(20_000)]
    assert ordered(records) == [record.value for record in in_time_order(records)]


@pytest.mark.parametrize("name", ["sorted.jsonl", "sorted.jsonl.gz"])
def test_a_file_sorted_is_one_in_order_and_one_that_is_cut_leaves_none(tmp_path: Path, name: str) -> None:
    events = [
        {"type": "click", "user_id": "u", "item_id": f"i{n}", "timestamp": 1_795_485_458_344 - 1_000 * n} for n in range(50)
    ]
    source, out = tmp_path / "backwards.jsonl.gz", tmp_path / name
    source.write_bytes(gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode()))
    assert CliRunner().invoke(main, ["sort", str(source), "-o", str(out)]).exit_code == 0
    assert [json.loads(record.value)["item_id"] for record in open_events(out)] == [f"i{n}" for n in range(49, -1, -1)]
    out.unlink()
    source.write_bytes(source.read_bytes()[:-20])
    assert CliRunner().invoke(main, ["sort", str(source), "-o", str(out)]).exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_what_is_sorted_goes_into_a_pipe_that_stays_one_and_not_onto_a_folder(tmp_path: Path) -> None:
    source, pipe = tmp_path / "events.jsonl", tmp_path / "pipe"
    source.write_text('{"type":"click","user_id":"u","item_id":"i","timestamp":1795485458344}\n')
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert CliRunner().invoke(main, ["sort", str(source), "-o", str(pipe)]).exit_code == 0
    assert os.read(reading, 1_000) == source.read_bytes()
    os.close(reading)
    assert pipe.is_fifo()
    refused = CliRunner().invoke(main, ["sort", str(source), "-o", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is a folder, expected a file to write" in refused.stderr
