"""Resets seen from the command: what they say before, and that nothing undoes one in silence."""

from __future__ import annotations

from pathlib import Path

from command import Here

from consumers.compose import open_snapshots
from streamer.snapshots.manifest import manifest_file


def test_a_start_that_brings_back_what_a_reset_left_out_is_refused_until_it_is_asked_for(here: Here, recording: Path) -> None:
    here.json("topics", "create")
    assert here.run("replay", recording).exit_code in (0, 1)
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
