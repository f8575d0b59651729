"""``streamer validate``: counts, verdicts and exit status, by the decoder of the worker and with bounded memory."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from producers.checks import UnsortedError, check
from producers.formats import read_events
from producers.validation import FAULTS_MAX, NAMED_MAX, Ids, Order, Repeats, validate_events
from streamer.cli.main import main
from streamer.events.codec import decode_events

T0 = 1_795_485_458_344
HOUR_MS = 3_600_000
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "formats"
Validate = Callable[..., Result]


def event(n: int, user: str = "u1", item: str = "i1", when_ms: int = 0, **more: object) -> dict[str, Any]:
    return {"event_id": f"e{n}", "type": "click", "user_id": user, "item_id": item, "timestamp": T0 + when_ms} | more


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["validate", *map(str, arguments)])


def told(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    result = run(*arguments, "--json")
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["status"] == result.exit_code
    return result.exit_code, said["files"]


def test_a_recording_that_would_be_accepted_whole_is_fine(tmp_path: Path) -> None:
    path = written(tmp_path / "file", [event(1), event(2, user="u2", when_ms=5, type="cart"), event(3, item="i2", when_ms=5)])
    status, [found] = told(path)
    assert (status, found["accepted"], found["by_type"]) == (0, 3, {"click": 2, "cart": 1})
    assert (found["first_ms"], found["last_ms"]) == (T0, T0 + 5)
    assert (found["users"]["count"], found["items"]["count"]) == (2, 2)
    assert (found["problems"], found["warnings"]) == ([], [])
    shown = run(path).output
    assert "streamer-jsonl: JSON with timestamp, type, user_id" in shown
    assert shown.splitlines()[-1].strip() == "fine"


def test_rejected_records_are_told_with_line_field_and_reason(tmp_path: Path) -> None:
    rows = [event(1), "{broken", event(2, timestamp=881250949), event(3, type="clique"), event(4) | {"user_id": 7}]
    path = written(tmp_path / "file", rows)
    status, [found] = told(path)
    assert (status, found["accepted"]) == (1, 1)
    assert found["rejected"] == {
        "count": 4,
        "by_reason": {"invalid_json": 1, "bad_timestamp": 1, "unknown_type": 1, "wrong_type": 1},
    }
    shown = run(path).output
    assert "line 2: the value is no valid JSON" in shown
    assert "line 3: timestamp is 881250949: below 10^11 it looks like seconds" in shown
    assert 'line 4: type is "clique", expected one of' in shown
    assert 'line 5: user_id is a JSON number (7), expected string: send it as "7" (rejected as wrong_type)' in shown


def test_the_verdict_is_that_of_the_worker_s_decoder() -> None:
    for path in GOLDEN.glob("*.jsonl"):
        if "-items" in path.name:
            continue
        values = [record.value for record in read_events(path)]
        decoded = decode_events(values)
        found = validate_events(path, lambda _: None, lateness_ms_max=HOUR_MS)
        assert (found.accepted, found.rejections.count) == (len(decoded.types), len(decoded.rejects))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(GOLDEN.iterdir()) if "-broken" not in path.name and not path.name.endswith(".expected.json")],
    ids=lambda path: path.name,
)
def test_every_sample_is_fine(path: Path) -> None:
    arguments = (GOLDEN / "movielens.csv", "--items", path) if "-items" in path.name else (path,)
    status, found = told(*arguments)
    assert status == 0, found


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 1, "is empty"),
        (b"a,b,c\n", 1, "is in no known format"),
        (
            gzip.compress(b"\n".join([json.dumps(event(n)).encode() for n in range(5_000)]))[:-50],
            1,
            "cut or damaged after line",
        ),
        (b'{"type":"page","messageId":"m","userId":"u"}\n', 1, "holds no events that would be accepted"),
        (None, 2, "cannot be read"),
    ],
)
def test_what_is_empty_cut_unknown_or_unreadable_has_its_own_status(
    tmp_path: Path, content: bytes | None, status: int, problem: str
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    found_status, [found] = told(path)
    assert found_status == status
    assert any(problem in one for one in found["problems"])


def test_an_unknown_format_is_bad_usage(tmp_path: Path) -> None:
    status, _ = told(written(tmp_path / "file", [event(1)]), "--format", "segmnt")
    assert status == 2
    assert run().exit_code == 2


def test_several_files_are_all_looked_at_and_the_worst_decides(tmp_path: Path) -> None:
    fine, broken = written(tmp_path / "a", [event(1)]), written(tmp_path / "b", [event(1), "{"])
    status, found = told(broken, tmp_path / "missing", fine)
    assert (status, [one["status"] for one in found]) == (2, [1, 2, 0])


def test_disorder_and_repeats_are_warnings(tmp_path: Path) -> None:
    rows = [event(1, when_ms=30 * HOUR_MS), event(2, when_ms=HOUR_MS), event(3), event(3), event(4) | {"event_id": None}]
    status, [found] = told(written(tmp_path / "file", rows))
    assert status == 0
    assert found["behind"] == {"events": 4, "ms_max": 30 * HOUR_MS, "late": 4, "lateness_ms_max": 24 * HOUR_MS}
    assert (found["repeated_event_ids"], found["without_event_id"]) == (1, 1)
    behind, repeated, without = found["warnings"]
    assert behind.startswith("4 events stand behind later ones, by up to 1 day, 6:00:00; 4 so far that a worker would")
    assert repeated.startswith("1 events repeat the event id")
    assert without.startswith("1 events have no event id")


@pytest.mark.parametrize(
    ("rows", "status", "verdict"),
    [
        ([event(1, when_ms=2), event(2)], 0, "fine, but out of order: `streamer replay` refuses it; `streamer sort` first"),
        (
            [event(1, when_ms=2), event(2, type="clique")],
            1,
            "not fine, and out of order: `streamer replay` refuses it; `streamer sort` first",
        ),
        ([event(1), event(2)], 0, "fine"),
    ],
)
def test_the_verdict_says_what_replay_makes_of_the_order(
    tmp_path: Path, rows: list[dict[str, Any]], status: int, verdict: str
) -> None:
    path = written(tmp_path / "file", rows)
    result = run(path)
    assert (result.exit_code, result.output.splitlines()[-1].strip()) == (status, verdict)
    assert told(path)[1][0]["out_of_order"] is (verdict != "fine")
    with contextlib.nullcontext() if verdict == "fine" else pytest.raises(UnsortedError):
        check([path])


def test_items_without_documents_are_counted(tmp_path: Path) -> None:
    basket = event(4) | {"type": "purchase", "item_id": None, "item_ids": ["i3", "i1"]}
    events = written(tmp_path / "events", [event(1), event(2, item="i2"), event(3, item="i3"), basket])
    items = written(tmp_path / "items", [{"item_id": "i1", "title": "Boots"}, {"item_id": "i9"}])
    status, [documents, found] = told(events, "--items", items)
    assert status == 0
    assert documents["documents"] == {"records": 2, "items": 2, "at_least": False}
    assert found["documents"] == {
        "events_without": 2,
        "events_without_share": 0.5,
        "items_without": 2,
        "items_without_share": pytest.approx(2 / 3),
    }
    assert found["warnings"] == ["50.0% of the events are of items without a document, 2 items (66.7%) have none"]
    broken = written(tmp_path / "broken", [{"item_id": "i1"}, {"item_id": 7}])
    status, [documents, _] = told(events, "--items", broken)
    assert (status, documents["rejected"]["count"]) == (1, 1)


def test_what_a_format_leaves_out_is_counted_and_not_rejected() -> None:
    status, [found] = told(GOLDEN / "segment.jsonl")
    assert (status, found["rejected"]["count"]) == (0, 0)
    assert found["left_out"] == {"call identify": 1, "call page": 1, "event Product Removed": 1}
    assert "left out  3: call identify 1, call page 1, event Product Removed 1" in run(GOLDEN / "segment.jsonl").output


def test_only_the_first_of_each_fault_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "file", [event(1), *[event(n, type="clique") for n in range(50)], event(2, timestamp=5)])
    _, [found] = told(path)
    assert found["rejected"]["count"] == 51
    assert len(found["problems"]) == NAMED_MAX + 1
    strange = [event(n) | {"user_id": {f"x{'y' * n}": 1}} for n in range(3 * FAULTS_MAX)]
    _, [found] = told(written(tmp_path / "file", [event(1), *strange]))
    assert len(found["problems"]) <= FAULTS_MAX * NAMED_MAX


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", *"123456789"])), max_size=60), st.integers(1, 5))
def test_repeats_are_found_among_as_many_ids_as_are_promised(pairs: list[tuple[str, str]], ids_max: int) -> None:
    repeats = Repeats(ids_max)
    for user, event_id in pairs:
        repeats.note(user, event_id)
    named = [pair for pair in pairs if pair[1]]
    exact = len(named) - len(set(named))
    near = sum(pair in named[max(0, n - ids_max) : n] for n, pair in enumerate(named))
    assert near <= repeats.count <= exact
    assert repeats.count == exact or repeats.forgot


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(0, 20))
def test_order_is_judged_against_the_latest_so_far(times: list[int], lateness: int) -> None:
    order = Order()
    for time in times:
        order.note(time, lateness)
    behind = [max(times[: n + 1]) - time for n, time in enumerate(times)]
    assert (order.first_ms, order.last_ms) == (min(times), max(times))
    assert order.behind == sum(one > 0 for one in behind)
    assert order.behind_ms_max == max(behind)
    assert order.late == sum(one > lateness for one in behind)


def test_different_ids_are_counted_up_to_a_bound() -> None:
    ids = Ids(3)
    for text in "aabbccdd":
        ids.add(text)
    assert (len(ids), ids.full, "a" in ids, "d" in ids) == (3, True, True, False)


def test_what_an_impression_lacks_is_said_in_proper_words(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"type":"impression","user_id":"u","timestamp":1795485458344}\n')
    (named,) = validate_events(path, lambda _: None, lateness_ms_max=1).rejections.named
    assert named.error == "item_ids missing: an impression needs item_ids with at least one id"
