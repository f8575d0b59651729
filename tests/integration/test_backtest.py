"""``streamer backtest`` as people call it: files in, report, lists and exit status out."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import DEADLINE_S, T0, Here

FEW = "streamer,fixed"


def event(n: int, user: str, item: str, when: int, kind: str = "click") -> dict[str, Any]:
    return {"event_id": f"e{n}", "type": kind, "user_id": user, "item_id": item, "timestamp": T0 + 1_000 * when}


def events(seed: int, count: int) -> list[dict[str, Any]]:
    """Users walk along the items with jumps; some purchases, some impressions, ties, out of order."""
    rng = random.Random(seed)
    at, found, when = [0] * 8, [], 0
    for n in range(count):
        when += rng.choice((0, 1, 500))
        user = rng.randrange(8)
        at[user] = (at[user] + 1) % 30 if rng.random() < 0.7 else rng.randrange(30)
        found.append(event(n, f"u{user}", f"i{at[user]}", when, rng.choice(("click", "view", "purchase"))))
        if rng.random() < 0.1:
            found[-1] = found[-1] | {"type": "impression", "item_ids": ["i1", "i2"]}
    rng.shuffle(found)
    return found


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return written(tmp_path / "events.jsonl", events(1, 300))


def lists(out: Path) -> list[list[str]]:
    rows = [json.loads(line) for line in (out / "lists.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows] == list(range(len(rows)))
    return [row["items"] for row in rows]


def test_figures_made_from_the_lists_are_those_of_the_report(here: Here, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = here.json("backtest", recording, "--out", out, "--lists", "--methods", FEW)
    report = json.loads((out / "report.json").read_text())
    rows = [json.loads(line) for line in recording.read_text().splitlines()]
    found = lists(out)
    assert len(found) == len(rows) == report["ran_on"]["events"]
    in_time = sorted(range(len(rows)), key=lambda n: rows[n]["timestamp"])
    hits, gains, purchases = [], [], []
    for place, n in enumerate(in_time):
        if rows[n]["type"] == "impression" or place < 0.1 * len(rows):
            continue
        items, target = found[n], rows[n]["item_id"]
        rank = items.index(target) + 1 if target in items else np.inf
        hits.append(rank <= 10)
        gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
        if rows[n]["type"] == "purchase":
            purchases.append(rank <= 10)
    ours = report["methods"]["streamer"]
    assert ours["windows"]["10-100"]["targets"] == len(hits)
    assert ours["windows"]["10-100"]["hr@10"] == pytest.approx(np.mean(hits))
    assert ours["windows"]["10-100"]["ndcg@10"] == pytest.approx(np.mean(gains))
    assert ours["purchases"]["10-100"]["hr@10"] == pytest.approx(np.mean(purchases))
    assert told["methods"]["streamer"]["10-100"] == ours["windows"]["10-100"]
    assert np.mean(hits) > 0.3


def test_the_report_names_the_file_by_its_hash_and_the_settings_that_were_changed(
    here: Here, recording: Path, tmp_path: Path
) -> None:
    changed = Here(here.settings | {"STREAMER_RANKING__EXCLUDE_SEEN": "true"})
    changed.json("backtest", recording, "--out", tmp_path / "out", "--methods", "streamer")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["ran_on"]["events_file"]["sha256"] == hashlib.sha256(recording.read_bytes()).hexdigest()
    assert report["ran_on"]["in_order"] is False
    assert report["config"]["ranking.exclude_seen"] == "true"
    assert report["protocol"]["exclude_seen_share"] == 1.0


def test_the_same_file_packed_gives_the_same_lists(here: Here, recording: Path, tmp_path: Path) -> None:
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(gzip.compress(recording.read_bytes()))
    for name, path in (("plain", recording), ("packed", packed)):
        here.json("backtest", path, "--out", tmp_path / name, "--lists", "--methods", "streamer")
    assert lists(tmp_path / "plain") == lists(tmp_path / "packed")


def test_names_and_periods_may_be_separated_by_commas_or_spaces(here: Here, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ways = (
        ("--methods", "streamer,fixed", "--served", "60,off", recording),
        ("--methods", "streamer", "fixed", "--served", "60", "off", recording),
        (recording, "--served", "60 off", "--methods", "streamer fixed"),
    )
    for arguments in ways:
        told = here.json("backtest", *arguments, "--out", out)
        assert (list(told["methods"]), list(told["served"])) == (["streamer", "fixed"], ["60", "off"])
    assert list(here.json("backtest", recording, "--out", out, "--methods", "streamer", "--served")["served"]) == ["60", "off"]


def test_headers_and_blank_lines_do_not_move_the_numbers_of_events(here: Here, tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.inter"
    rows = "".join(f"{n % 5}\t{n % 7}\t{n % 6}\t{880_000_000 + n}\n" for n in range(40))
    ratings.write_text("user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows)
    here.json("backtest", ratings, "--out", tmp_path / "out", "--lists", "--methods", "streamer")
    assert len(lists(tmp_path / "out")) == 40
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text("\n" + json.dumps(event(0, "u", "i", 0)) + "\n\n" + json.dumps(event(1, "u", "j", 1)) + "\n")
    here.json(
        "backtest", spaced, "--out", tmp_path / "spaced", "--lists", "--methods", "streamer", "--format", "streamer-jsonl"
    )
    numbers = [json.loads(line)["event"] for line in (tmp_path / "spaced" / "lists.jsonl").read_text().splitlines()]
    assert numbers == [1, 3]


def test_rejected_records_are_named_and_the_rest_is_used(here: Here, recording: Path, tmp_path: Path) -> None:
    with recording.open("a") as file:
        file.write('{"type": "click", "user_id": "u1", "timestamp": 3}\nnot an event\n')
    result = here.run("backtest", recording, "--out", tmp_path / "out", "--methods", "streamer", "--lists", "--json")
    assert result.exit_code == 1
    assert "line 301: " in result.stderr
    assert "line 302: invalid_json" in result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["ran_on"]["rejected"]["count"] == 2
    assert told["ran_on"]["events"] == len(lists(tmp_path / "out")) == 300
    assert "2 records could not be used" in (tmp_path / "out" / "report.html").read_text()


def test_item_documents_are_encoded_listed_and_withdrawn_at_their_time(here: Here, recording: Path, tmp_path: Path) -> None:
    last_ms = max(json.loads(line)["timestamp"] for line in recording.read_text().splitlines())
    documents = [{"item_id": f"i{n}", "title": f"boots number {n}"} for n in range(30)]
    documents.append({"item_id": "i3", "available": False, "timestamp": (T0 + last_ms) // 2})
    items = written(tmp_path / "items.jsonl", documents)
    told = here.json("backtest", recording, "--items", items, "--out", tmp_path / "out", "--lists", "--methods", "streamer")
    assert told["ran_on"]["documents"] == 31
    rows = [json.loads(line) for line in recording.read_text().splitlines()]
    shown = {True: 0, False: 0}
    for row, listed in zip(rows, lists(tmp_path / "out"), strict=True):
        shown[row["timestamp"] >= (T0 + last_ms) // 2] += "i3" in listed
    assert shown[False] > 0
    assert shown[True] == 0


def test_files_that_cannot_be_used_end_with_their_exit_status(here: Here, tmp_path: Path) -> None:
    empty, unknown, bad = (tmp_path / name for name in ("empty.jsonl", "unknown.txt", "bad.jsonl"))
    empty.write_text("")
    unknown.write_text("a,b\n1,2\n")
    bad.write_text('{"type": "click", "user_id": "u1", "timestamp": 3}\n')
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(written(tmp_path / "x", events(1, 300)).read_bytes())[:-20])
    cases = (
        (empty, 1, "is empty"),
        (unknown, 1, "no known format"),
        (bad, 1, "holds no event that can be used"),
        (cut, 1, "cut or damaged"),
        (tmp_path / "nowhere.jsonl", 2, "cannot be read"),
    )
    for path, status, words in cases:
        result = here.run("backtest", path, "--out", tmp_path / "out", "--methods", "streamer")
        assert (result.exit_code, words in result.stderr) == (status, True), (path, result.stderr)
        assert "Traceback" not in result.stderr


def test_bad_usage_ends_with_2_and_says_what_to_do(here: Here, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        (("--out", out, "--methods", "magic"), "no method is called magic"),
        (("--out", out, "--methods", "fair-1.5"), "no method is called fair-1.5"),
        (("--out", out, "--methods", "diverse-0.95"), "diverse-X"),
        (("--out", out, "--methods", "fixed", "--lists"), "name it among --methods"),
        (("--out", out, "--served", "0"), "'0' is no period"),
        ((), "Missing option '--out'"),
    )
    for arguments, words in cases:
        result = here.run("backtest", recording, *arguments)
        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_the_executable_runs_methods_beside_each_other_with_progress_on_stderr(
    here: Here, recording: Path, tmp_path: Path
) -> None:
    process = here.start("backtest", recording, "--out", tmp_path / "out", "--methods", FEW, "--processes", "2", "--json")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert list(json.loads(out.splitlines()[-1])["methods"]) == ["streamer", "fixed"]
    assert len(out.splitlines()) == 1
    assert "streamer" in err
    assert "sorted by time" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "report.json"}


def test_one_command_tells_what_fairness_and_diversity_cost_and_buy(here: Here, recording: Path, tmp_path: Path) -> None:
    """A third of the items is of a provider whose items are chosen less than others."""
    items = [
        {"item_id": f"i{n}", "provider": "small" if n % 3 == 0 else "large", "categories": [f"c{n % 4}", "all"]}
        for n in range(30)
    ]
    documents, out = written(tmp_path / "items.jsonl", items), tmp_path / "out"
    rows = [json.loads(line) for line in recording.read_text().splitlines()]
    for n, row in enumerate(rows):  # one in three choices of the small provider's items stays: enough to be candidates
        if int(row["item_id"][1:]) % 3 == 0 and n % 3:
            row["item_id"] = f"i{int(row['item_id'][1:]) + 1}"
    skewed = written(tmp_path / "skewed.jsonl", rows)
    names = ("streamer", "fair-0", "fair-1", "diverse-0.5", "diverse-0")
    told = here.json("backtest", skewed, "--items", documents, "--out", out, "--methods", *names)
    by_name = {row["method"]: row for row in told["reranking"]}
    assert list(by_name) == ["streamer", "diverse-0", "diverse-0.5", "fair-0", "fair-1"]
    plain, fair, diverse = by_name["streamer"], by_name["fair-1"], by_name["diverse-0.5"]
    assert fair["providers"]["gini"] < plain["providers"]["gini"]
    assert fair["providers"]["catalogue_gini"] < plain["providers"]["catalogue_gini"] / 2
    assert plain["providers"]["parity"]["least"] < 0.9 < fair["providers"]["parity"]["least"]
    assert diverse["likeness"]["vectors"] < plain["likeness"]["vectors"] - 0.02
    report = json.loads((out / "report.json").read_text())
    states = {report["methods"][name]["state"]["sha256"] for name in names}
    assert len(states) == 1, "re-ranking changes no state"
    for name in ("fair-0", "diverse-0"):
        assert by_name[name] | {"method": "", "setting": "", "ndcg@10_lost": None, "interval": None} == plain | {
            "method": "",
            "setting": "",
        }
        assert by_name[name]["ndcg@10_lost"] == 0.0
    assert "What fairness and diversity cost" in (out / "report.html").read_text()
    assert "ranking.provider_exposure_min = 1" in (out / "report.html").read_text()
    result = here.run("backtest", skewed, "--items", documents, "--out", out, "--methods", "streamer", "diverse-0.5")
    assert "ranking.diversity = 0.5" in result.stdout


def test_a_first_category_stands_for_a_provider_only_where_that_is_asked_for(
    here: Here, recording: Path, tmp_path: Path
) -> None:
    items = [
        {"item_id": f"i{n}", "categories": [f"c{n % 4}", "all"]} | ({"provider": "p"} if n == 0 else {}) for n in range(30)
    ]
    documents = written(tmp_path / "items.jsonl", items)
    shares = {}
    for source in ("documents", "category"):
        arguments = ("--items", documents, "--out", tmp_path / source, "--methods", "streamer", "--providers-from", source)
        told = here.json("backtest", recording, *arguments)
        assert told["ran_on"]["items_file"]["providers_from"] == source
        report = json.loads((tmp_path / source / "report.json").read_text())
        shares[source] = set(report["methods"]["streamer"]["exposure"]["providers"]["most"])
    assert shares == {"documents": {"p"}, "category": {"p", "c0", "c1", "c2", "c3"}}
    assert "--providers-from category" in (tmp_path / "category" / "report.html").read_text()


def test_a_zipped_table_and_its_documents_run_as_they_are_published(here: Here, tmp_path: Path) -> None:
    rng = random.Random(5)
    header = "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry\n"
    rows = [f'{T0 // 1_000 + n},VIEW,{rng.randrange(9)},{n % 4},1,"Mozilla (X11, Linux)",,\n' for n in range(80)]
    with zipfile.ZipFile(tmp_path / "users_interactions.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users_interactions.csv", header + "".join(rows))
    articles = (
        "timestamp,eventType,contentId,title,text\n" + f'{T0 // 1_000 - 5},CONTENT SHARED,77,"One, shared","By\nnobody read"\n'
    )
    (tmp_path / "shared_articles.csv").write_text(articles)
    told = here.json(
        *("backtest", tmp_path / "users_interactions.csv.zip", "--items", tmp_path / "shared_articles.csv"),
        *("--out", tmp_path / "out", "--lists", "--methods", "streamer"),
    )
    assert told["ran_on"]["events_file"]["format"] == "deskdrop"
    assert (told["ran_on"]["events"], told["ran_on"]["rejected"]["count"]) == (80, 0)
    assert len(lists(tmp_path / "out")) == 80
    assert any("77" in items for items in lists(tmp_path / "out"))


def test_no_process_outlives_a_backtest_that_was_killed(here: Here, tmp_path: Path) -> None:
    long = written(tmp_path / "long.jsonl", events(2, 20_000))
    process = here.start("backtest", long, "--out", tmp_path / "out", "--methods", FEW, "--processes", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline_s = time.monotonic() + DEADLINE_S
    while len(started := [pid for pid in children.read_text().split() if "spawn_main" in command_of(pid)]) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
    process.kill()
    process.communicate()
    while any("spawn_main" in command_of(pid) for pid in started):
        assert time.monotonic() < deadline_s


def command_of(pid: str) -> str:
    """What a process runs, "" where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
