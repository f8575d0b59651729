"""A recording through Kafka over four partitions, again and again: every run ends with the same tables, also one that was killed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from line import Line, wait_until

from benchmarks.deskdrop import FILE, FOLDERS
from producers.recordings import movielens_100k
from streamer.events.model import EVENTS

logger = logging.getLogger(__name__)

QUICK_EVENTS = 4_000
KILLED_AT = 0.3
"""Share of a recording that is on the log when its replay is killed."""


def movielens_start(here: Line, folder: Path) -> Path:
    """The first thousands, put in order by the command."""
    whole, short = folder / "whole.jsonl", folder / "short.jsonl"
    assert here.here.run("sort", movielens_100k().events, "-o", whole).exit_code == 0
    with whole.open("rb") as lines, short.open("wb") as out:
        out.writelines(line for line, _ in zip(lines, range(QUICK_EVENTS), strict=False))
    return short


def deskdrop(here: Line, folder: Path) -> Path:
    """All that readers did in a year, put in order by the command."""
    found = [root / FILE for root in FOLDERS if (root / FILE).is_file()]
    if not found:
        pytest.skip(f"DeskDrop was looked for as {FILE} in {', '.join(map(str, FOLDERS))}")
    ordered = folder / "deskdrop.jsonl"
    assert here.here.run("sort", found[0], "-o", ordered).exit_code == 0
    return ordered


def played(line: Line, recording: Path, events: int) -> None:
    """All of it at one go, as fast as the log takes it."""
    report = line.here.json("replay", recording, "--configured", "--speed", "max")
    assert (report["sent"], report["refused"], report["malformed"]) == (events, 0, 0)
    logger.warning("replayed %d events in %.1f s", report["sent"], report["seconds"])


def played_with_a_kill(line: Line, recording: Path, events: int, speed: str) -> None:
    """Killed on its way, and gone on with by the same command."""
    replaying = line.start("replay", str(recording), "--configured", "--speed", speed)
    wait_until(lambda: line.ends()[EVENTS] > events * KILLED_AT or not replaying.alive, "part of the recording is on the log")
    replaying.kill()
    landed = line.ends()[EVENTS]
    assert 0 < landed < events, "it was too quick to be killed"
    report = line.here.json("replay", recording, "--configured", "--speed", "max")
    logger.warning("killed with %d of %d events on the log; %d sent after that", landed, events, report["sent"])
    assert report["resumed"] is True
    assert report["landed"] >= landed
    assert (report["landed"] + report["sent"], line.ends()[EVENTS]) == (events, events)


def folded(line: Line) -> dict[str, Any]:
    """The snapshot of a bounded worker."""
    began_s = time.monotonic()
    assert line.start("worker", "--bounded").end(deadline_s=400) == 0
    logger.warning("folded in %.1f s", time.monotonic() - began_s)
    return line.snapshot()


def folded_with_a_kill(line: Line) -> dict[str, Any]:
    """The same of one that was killed on its way, too."""
    total = line.ends()[EVENTS]
    worker = line.start("worker", "--bounded")
    worker.wait_position(round(total * KILLED_AT))
    reached = worker.position()
    worker.kill()
    assert 0 < reached < total, "it was too quick to be killed"
    return folded(line)


@pytest.mark.parametrize(
    ("recorded", "undisturbed", "killed_speed"),
    [
        pytest.param(movielens_start, 1, "50000", id="quick"),  # at max it would be over before it can be killed
        pytest.param(deskdrop, 3, "max", id="whole", marks=[pytest.mark.chaos, pytest.mark.timeout(1_800)]),
    ],
)
def test_each_replay_of_a_recording_ends_with_the_same_tables(
    kafka_line: Callable[..., Line],
    tmp_path: Path,
    recorded: Callable[[Line, Path], Path],
    undisturbed: int,
    killed_speed: str,
) -> None:
    lines = [kafka_line(STREAMER_KAFKA__PARTITIONS="4").create_topics() for _ in range(undisturbed + 1)]
    recording = recorded(lines[0], tmp_path)
    with recording.open("rb") as values:
        events = sum(1 for _ in values)
    for line in lines[:-1]:
        played(line, recording, events)
    played_with_a_kill(lines[-1], recording, events, killed_speed)
    shown = [*map(folded, lines[:-1]), folded_with_a_kill(lines[-1])]
    for one in shown:
        logger.warning("applied %s, tables %s", one["counters"]["applied"], json.dumps(one["tables"], sort_keys=True)[:200])
    assert all(sum(one["counters"]["applied"].values()) == events for one in shown)
    assert [one["counters"] for one in shown] == [shown[0]["counters"]] * len(shown)
    assert [one["tables"] for one in shown] == [shown[0]["tables"]] * len(shown)
