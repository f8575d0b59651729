"""Resets seen from the command: what they say before, and that nothing undoes one in silence."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from command import Here

from consumers.compose import open_snapshots, open_writer
from streamer.cli.common import shown
from streamer.events.control import Freeze, Rollback, encode_control
from streamer.events.model import CONTROL
from streamer.ports import OutRecord
from streamer.snapshots.manifest import manifest_file
from streamer.snapshots.reset import parse_range


def test_a_start_that_brings_back_what_a_reset_left_out_is_refused_until_it_is_asked_for(here: Here, recording: Path) -> None:
    here.json("topics", "create")
    assert here.run("replay", recording, "--configured").exit_code == 0
    dry = here.run("reset", "--to", "beginning", "--dry-run")
    assert " 0 records" not in dry.output
    assert "events[0]" in dry.output
    done = here.json("reset", "--to", "beginning", "--leave-out", "events[0]:1-3", "--yes")
    again = here.run("reset", "--to", "beginning", "--dry-run")
    assert "warning: the reset that wrote" in again.output
    assert "applies records that it left out: events[0]:1-3" in again.output
    kept = here.run("reset", "--to", "beginning", "--leave-out", "events[0]:1-3", "--dry-run")
    assert "warning" not in kept.output
    open_snapshots(here.config).delete(manifest_file(done["snapshot"]))
    refused = here.run("worker", "--bounded", "--from-beginning")
    assert refused.exit_code == 1
    assert "applies records that it left out: events[0]:1-3" in refused.output
    assert "--from-beginning --undo-reset" in refused.output
    undone = here.run("worker", "--bounded", "--from-beginning", "--undo-reset")
    assert undone.exit_code == 0, undone.output
    assert "WARNING" in next(line for line in undone.output.splitlines() if "--undo-reset: the reset" in line)


def test_events_are_shown_with_places_as_a_reset_takes_them(here: Here, recording: Path) -> None:
    here.json("topics", "create")
    assert here.run("replay", recording, "--configured").exit_code == 0
    rows = here.json("events", "show", "--user", "u1", "--limit", 3)["records"]
    assert [json.loads(row["value"])["user_id"] for row in rows] == ["u1"] * 3
    assert len({row["key"] for row in rows}) == 1
    for row in rows:
        topic, partition, first, stop = parse_range(row["place"])
        assert (topic, stop) == ("events", first + 1)
        later = here.json("events", "show", f"events[{partition}]", "--from", first, "--limit", 1)["records"]
        assert later == [row]
        text = here.run("events", "show", f"events[{partition}]", "--from", first, "--limit", 1).stdout
        assert text.startswith(f"{row['place']}  {shown(row['append_ms'])}  u1  {{")
    by_item = here.json("events", "show", "--item", "i3", "--limit", 100)["records"]
    assert len(by_item) == 6
    from_time = here.json("events", "show", "--from", rows[0]["append_ms"], "--limit", 1_000)["records"]
    assert rows[0] in from_time
    assert here.json("events", "show", "--from", rows[0]["append_ms"] + 10**9)["records"] == []
    unknown = here.run("events", "show", "event[9]")
    assert (unknown.exit_code, "those that a worker reads are control[0]" in unknown.output) == (2, True)


def test_a_rollback_that_is_read_again_without_its_snapshot_is_said_before(here: Here) -> None:
    here.json("topics", "create")
    gone = "1795485458344-aaaaaaaa"
    with contextlib.closing(open_writer(here.config)) as writer:
        for word in (Freeze("drift", "ada"), Rollback(gone)):
            writer.send(OutRecord(CONTROL, None, encode_control(word)))
        writer.flush(30.0)
    said = here.run("reset", "--to", "beginning", "--dry-run").output
    assert "control[0]:0 freeze is applied again" in said
    assert f"warning: control[0]:1 rollback to {gone}, which the store has no more" in said
    left = here.run("reset", "--to", "beginning", "--leave-out", "control[0]:1", "--dry-run").output
    assert "warning" not in left
