"""``streamer diff``: two backtests, two snapshots of real workers, and runs that cannot be compared."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from command import Here
from line import movielens_events

from consumers.compose import open_snapshots, open_writer
from consumers.runtime import run_worker
from producers.replay import replay_records
from streamer.events.model import EVENTS
from streamer.snapshots import list_snapshots, read_manifest
from streamer.snapshots.manifest import chunk_file

SENT = 400
USER, ITEM = "<b>mallory", "i3"


def compared(here: Here, *arguments: object) -> tuple[Result, dict[str, Any]]:
    result = here.run("diff", *arguments, "--json")
    assert "Traceback" not in result.output
    return result, json.loads(result.stdout.splitlines()[-1]) if result.exit_code in (0, 1) else {}


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Clicks of a few users, one of whom has a name that a page must escape."""
    users = (USER, "u1", "u2", "u3", "u4")
    path = tmp_path / "clicks.jsonl"
    rows = [
        {"type": "click", "user_id": users[n * n % 5], "item_id": f"i{n * (n % 7) % 11}", "timestamp": 1_795_485_458_344 + n}
        for n in range(300)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def backtested(here: Here, events: Path, out: Path, **settings: str) -> Path:
    Here(here.settings | settings).json(
        "backtest", events, "--out", out, "--lists", "--methods", "streamer,popularity", "--processes", "1"
    )
    return out


def written(run: Path, rows: list[dict[str, Any]]) -> None:
    """Lists in the place of those that a backtest kept."""
    (run / "lists.jsonl").write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))


class Page(HTMLParser):
    """Fails where tags do not match; collects what would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str | None] = []
        self.plots = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        self.plots += tag == "svg"
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_backtests_of_one_recording_differ_only_where_what_they_ran_with_does(here: Here, clicks: Path, tmp_path: Path) -> None:
    a, b = backtested(here, clicks, tmp_path / "a"), backtested(here, clicks, tmp_path / "b")
    result, found = compared(here, a, b)
    assert result.exit_code == 0, result.output
    assert (found["equal"], found["configuration"], found["figures_differing"], found["lists"]["events"]) == (True, [], [], 300)
    assert found["a"]["results_sha256"] == found["b"]["results_sha256"]
    assert found["state"]["sha256"]["a"] == found["state"]["sha256"]["b"]
    assert "No difference: every figure" in result.stdout
    assert found["state"]["sha256"]["a"][:12] in result.stdout

    seeded = backtested(here, clicks, tmp_path / "<c>", STREAMER_SEED="7")
    result, found = compared(here, a, seeded, "--out", tmp_path / "diff.html")
    assert result.exit_code == 1
    assert [one["key"] for one in found["configuration"]] == ["seed"]
    assert found["methods"]["streamer"]["differing"]
    assert not found["methods"]["popularity"]["differing"]
    assert found["methods"]["streamer"]["over_time"]["ndcg@10"]["first"] is not None
    assert "head.free_ID" in found["state"]["differing"]
    assert "in settings, which may be why" in result.stdout
    text = (tmp_path / "diff.html").read_text()
    page = Page(text)
    assert (page.fetched, page.plots) == ([], 3)
    assert "<script" not in text
    assert "&lt;c&gt;" in text


def test_the_first_list_in_time_and_the_users_whose_lists_differ_are_named(here: Here, clicks: Path, tmp_path: Path) -> None:
    a = backtested(here, clicks, tmp_path / "a")
    b = Path(shutil.copytree(a, tmp_path / "b"))
    rows = [json.loads(line) for line in (a / "lists.jsonl").read_text().splitlines()]
    mine = [n for n, row in enumerate(rows) if row["user_id"] == USER and len(row["items"]) > 3]
    early, late = mine[0], mine[-1]
    rows[early]["timestamp"], rows[late]["timestamp"] = rows[late]["timestamp"], rows[early]["timestamp"]
    written(a, rows)
    rows[early]["items"] = rows[early]["items"][:-1]
    rows[late]["items"] = [*rows[late]["items"][1:], "new"]
    written(b, rows[:-1])
    result, found = compared(here, a, b, "--out", tmp_path / "diff.html")
    lists = found["lists"]
    assert (result.exit_code, found["configuration"], found["figures_differing"]) == (1, [], [])
    assert (lists["differing"], lists["events"], lists["only_in"]) == (2, 299, {"a": 1, "b": 0})
    assert (lists["first"]["event"], lists["first"]["user_id"]) == (late, USER)
    assert lists["equal_share"] == pytest.approx(297 / 299)
    assert [one["user_id"] for one in lists["users"]] == [USER]
    assert next(one for one in lists["most"] if one["event"] == late)["came"] == ["new"]
    assert "look for what is random" in result.stdout
    assert USER not in (tmp_path / "diff.html").read_text()


def snapshot_of(here: Here, namespace: str, **settings: str) -> tuple[Here, str]:
    """What a bounded worker of a namespace of its own makes of the log; its newest snapshot by place and name."""
    other = Here(here.settings | {"STREAMER_NAMESPACE": namespace} | settings)
    run_worker(other.config, threading.Event(), bounded=True)
    name = list_snapshots(open_snapshots(other.config))[0].name
    return other, f"{other.settings['STREAMER_SNAPSHOTS__ROOT']}/{namespace}#{name}"


def send(here: Here, first: int, stop: int) -> None:
    with contextlib.closing(open_writer(here.config)) as writer:
        replay_records(movielens_events()[first:stop], writer, topic=EVENTS)


@pytest.fixture
def two(here: Here) -> tuple[str, str]:
    """Two snapshots of one log, by two workers."""
    here.json("topics", "create")
    send(here, 0, SENT)
    return snapshot_of(here, "one")[1], snapshot_of(here, "two")[1]


def test_snapshots_of_the_same_events_do_not_differ_and_one_event_more_is_named(here: Here, two: tuple[str, str]) -> None:
    result, found = compared(here, *two)
    assert result.exit_code == 0, result.output
    assert (found["tables"]["differing"], found["lists"], found["reached"]) == ([], None, [])
    assert f"sha256 {found['a']['state_sha256'][:12]}" in result.stdout
    assert found["a"]["state_sha256"] == found["b"]["state_sha256"]

    send(here, SENT, SENT + 1)
    user = json.loads(movielens_events()[SENT].value)["user_id"]
    more, place = snapshot_of(here, "two")
    out = Path(here.settings["STREAMER_SNAPSHOTS__ROOT"]) / "diff.html"
    result, found = compared(more, two[0], "latest", "--out", out)
    assert result.exit_code == 1
    tables = {one["name"]: one for one in found["tables"]["differing"]}
    assert user in tables["users.pushed_U"]["examples"]
    assert tables["users.pushed_U"]["differing"] + tables["users.pushed_U"]["only_in"]["b"] == 1
    assert [one["b"] - one["a"] for one in found["counters"]] == [1]
    assert {one["key"] for one in found["reached"]} >= {"position", "event_ms"}
    lists = found["lists"]
    assert lists["compared"] == lists["users_in_both"] > 0
    assert lists["users"][0]["overlap"] <= lists["mean_overlap"] <= 1.0
    assert any(user["went"] + user["came"] + user["moved"] for user in lists["users"])
    assert "tables differ: " in result.stdout
    assert Page(out.read_text()).fetched == []
    assert compared(more, two[0], place, "--users", "3")[1]["lists"]["compared"] == 3


def test_states_of_another_seed_are_ranked_each_under_its_own(here: Here, two: tuple[str, str]) -> None:
    _, other = snapshot_of(here, "seeded", STREAMER_SEED="7")
    result, found = compared(here, two[0], other)
    assert result.exit_code == 1
    assert [(one["key"], one["b"]) for one in found["configuration"]] == [("seed", 7)]
    tables = {one["name"]: one for one in found["tables"]["differing"]}
    assert tables["head.free_ID"]["largest"] > 0
    assert tables["head.free_ID"]["differing"] == tables["head.free_ID"]["in_both"]
    assert "users.pushed_U" not in tables
    assert any(term for user in found["lists"]["users"] for one in user["came"] + user["moved"] for term in one["terms"])


def refused(here: Here, *runs: object) -> str:
    result = here.run("diff", *runs)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr


def test_runs_that_cannot_be_compared_end_with_2_and_say_why(here: Here, two: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "is neither a folder nor a snapshot's name" in refused(here, folder, folder)
    folder.mkdir()
    assert "holds no report.json" in refused(here, folder, folder)
    assert f"{folder} is a backtest, {two[0]} is a snapshot: name two backtests, or two snapshots" in refused(
        here, folder, two[0]
    )
    (folder / "report.json").write_text('{"format": 1, "ran_on"')
    assert "is cut or damaged" in refused(here, folder, folder)
    (folder / "report.json").write_text('{"format": 99}')
    assert "expected a report of format 1, found 99" in refused(here, folder, folder)
    store, _, name = two[0].rpartition("#")
    assert "is a store of snapshots; name one of them as" in refused(here, store, two[1])
    assert "there is no snapshot" in refused(here, f"{store}#1795485458344-aaaaaaaa", two[1])
    assert "holds no complete snapshot" in refused(here, f"{tmp_path}/nowhere#latest", two[1])
    one = Here(here.settings | {"STREAMER_NAMESPACE": "one"})
    snapshots = open_snapshots(one.config)
    table = next(table for table in read_manifest(snapshots, name).tables if table.name == "users.ids.hash")
    snapshots.put(chunk_file(table.chunks[0]), b"x")
    send(here, SENT, SENT + 1)
    assert "expected" in refused(here, two[0], snapshot_of(here, "two")[1])


def test_a_line_that_is_no_list_is_named(here: Here, clicks: Path, tmp_path: Path) -> None:
    a = backtested(here, clicks, tmp_path / "a")
    b = Path(shutil.copytree(a, tmp_path / "b"))
    lines = (a / "lists.jsonl").read_text().splitlines(keepends=True)
    (b / "lists.jsonl").write_text("".join([*lines[:4], "{\n", *lines[5:]]))
    assert "lists.jsonl, line 5: expected a list as `streamer backtest --lists` writes it" in refused(here, a, b)
