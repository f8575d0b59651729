"""What operators do to a running line, on Apache Kafka and Valkey: freeze, roll back, reset."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from line import WITHOUT_ENCODER, Line, Lists, Process, movielens_events, users_of

from consumers.compose import redis_url

FIRST, ALL = 2_000, 4_000
LEARNED = ("gate.weight", "gate.inverse", "head.turn_DD", "head.place_C", "head.key_D")
KEEP = {"STREAMER_SNAPSHOTS__KEEP": "200"}


def url(worker: Process) -> str:
    host, port = worker._place or ("", 0)
    return f"http://{host}:{port}"


def ok(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def learned(snapshot: dict[str, Any]) -> dict[str, str]:
    return {name: snapshot["tables"][name] for name in LEARNED}


def snapshot_with(line: Line, topic: str, offset: int) -> dict[str, Any]:
    """The committed snapshot, once it has read so far."""
    deadline_s = time.monotonic() + 60
    while True:
        shown = line.here.run("snapshots", "show", "latest", "--json")
        if shown.exit_code == 0:
            found: dict[str, Any] = json.loads(shown.stdout.splitlines()[-1])
            if found["offsets"].get(topic, {}).get("0", 0) >= offset:
                return found
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_a_freeze_holds_over_kill_9_and_ends_with_unfreeze(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(**KEEP).create_topics()
    events = movielens_events()
    worker = line.start("worker")
    line.send(events[:FIRST])
    worker.wait_position(FIRST)
    shown = ok(line.here.run("freeze", "--reason", "drift", "--by", "ada", "--url", url(worker)))
    assert "applied by the owner" in shown.output
    worker.wait(lambda: "learning is frozen by an operator: drift (ada)" in worker.text, "a line in its log")
    frozen = snapshot_with(line, "control", 1)
    line.send(events[FIRST:ALL])
    worker.kill()
    worker = line.start("worker")
    worker.wait_position(ALL)
    worker.stop()
    after = line.snapshot()
    assert learned(after) == learned(frozen)
    assert sum(after["counters"]["applied"].values()) == ALL
    assert after["tables"]["stream"] != frozen["tables"]["stream"]
    worker = line.start("worker")
    worker.wait_role("owner")
    ok(line.here.run("unfreeze", "--url", url(worker)))
    line.send(events[ALL : ALL + FIRST])
    worker.wait_position(ALL + FIRST)
    worker.stop()
    assert set(learned(line.snapshot()).values()).isdisjoint(learned(after).values())


def test_a_rollback_brings_back_weights_and_writes_every_list_under_a_new_epoch(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(**KEEP).create_topics()
    events = movielens_events()
    worker = line.start("worker")
    line.send(events[:FIRST])
    worker.wait_position(FIRST)
    worker.stop()
    saved = line.snapshot()
    worker = line.start("worker")
    line.send(events[FIRST:ALL])
    worker.wait_position(ALL)
    before = worker.get("/status")[1]["epoch"]
    dry = line.here.json("rollback", saved["name"], "--dry-run")
    assert dry["snapshot"] == saved["name"]
    assert 0 < dry["items_restored"] <= dry["items"]
    missing = line.here.run("rollback", "1795485458344-9f3c02aa")
    assert missing.exit_code == 1
    assert "there is no snapshot" in missing.output
    assert worker.position("control") == 0
    ok(line.here.run("rollback", saved["name"], "--url", url(worker)))
    worker.wait(lambda: worker.get("/status")[1]["epoch"] > before, "a new epoch")
    epoch = worker.get("/status")[1]["epoch"]
    users = users_of(events[:ALL])
    with contextlib.closing(Lists(redis_url(line.config), line.config.namespace)) as lists:

        def all_new() -> bool:
            versions = lists.versions(users)
            return versions.keys() == users and all(version.startswith(f"{epoch:013d}-") for version in versions.values())

        worker.wait(all_new, "every list under the new epoch")
        worker.wait(lambda: (lists.shared("status") or {}).get("epoch") == epoch, "the status of the new epoch")
    worker.stop()
    after = line.snapshot()
    assert learned(after) == learned(saved)
    assert after["epoch"] == epoch
    assert sum(after["counters"]["applied"].values()) == ALL


def test_a_reset_to_a_snapshot_comes_out_where_an_undisturbed_run_does(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(**KEEP).create_topics()
    events = movielens_events()
    worker = line.start("worker")
    line.send(events[:FIRST])
    worker.wait_position(FIRST)
    refused = line.here.run("reset", "--to", "beginning", "--yes")
    assert refused.exit_code == 1
    assert "live members" in refused.output
    worker.stop()
    saved = line.snapshot()
    worker = line.start("worker")
    line.send(events[FIRST:ALL])
    worker.wait_position(ALL)
    worker.stop()
    undisturbed = line.snapshot()
    dry = line.here.json("reset", "--to", saved["name"], "--dry-run")
    assert dry["read_again"]["events"] == {"0": ALL - FIRST}
    assert line.snapshot()["name"] == undisturbed["name"]
    done = line.here.json("reset", "--to", saved["name"], "--yes")
    assert line.snapshot()["name"] == done["snapshot"]
    assert done["epoch"] > undisturbed["epoch"]
    worker = line.start("worker")
    worker.wait_position(ALL)
    worker.stop()
    again = line.snapshot()
    assert again["counters"] == undisturbed["counters"]
    assert again["tables"] == undisturbed["tables"]
    assert again["epoch"] == done["epoch"]


@pytest.mark.parametrize("world", ["kafka", "embedded"])
def test_a_reset_to_the_beginning_leaves_out_what_it_is_told_to(world: str, request: pytest.FixtureRequest) -> None:
    line = request.getfixturevalue(f"{world}_line")(**KEEP, **WITHOUT_ENCODER).create_topics()
    worker = line.start("worker")
    line.send(movielens_events()[:FIRST])
    worker.wait_position(FIRST)
    refused = line.here.run("reset", "--to", "beginning", "--yes")
    assert refused.exit_code == 1
    worker.stop()
    beyond = line.here.run("reset", "--to", "beginning", "--leave-out", f"events[0]:0-{FIRST}", "--yes")
    assert (beyond.exit_code, "the log ends at offset" in beyond.output) == (2, True), beyond.output
    ok(line.here.run("reset", "--to", "beginning", "--leave-out", "events[0]:100-149", "--yes"))
    worker = line.start("worker")
    worker.wait_position(FIRST)
    worker.stop()
    counters = line.snapshot()["counters"]
    assert (sum(counters["applied"].values()), counters["rejected"], counters["lost"]) == (FIRST - 50, 50, 0)
