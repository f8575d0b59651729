"""A forgotten user on the whole line, on Apache Kafka and Valkey: nothing of him is left, and nothing brings him back."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import redis
from command import Here, ends
from line import WITHOUT_ENCODER, Line, Process, wait_until
from test_line_control import ok, snapshot_with, url
from test_redrive import on_log

from consumers.compose import open_writer, redis_url
from streamer.events.model import EVENTS
from streamer.ports import OutRecord

GONE, OTHERS = "gone-for-good-é7", [f"u{n}" for n in range(20)]
DAY_MS = 86_400_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


NOW_MS = now_ms()
"""As the tests were collected, which may be long before one of them runs."""


def click(user: str, n: int, **fields: object) -> bytes:
    event = {
        "event_id": f"{user}-{n}",
        "type": "click",
        "user_id": user,
        "item_id": f"i{n % 17}",
        "timestamp": NOW_MS - 60_000 + n,
    }
    return json.dumps(event | fields, ensure_ascii=False).encode()


def segment(user: str) -> bytes:
    call = {
        "type": "track",
        "event": "Product Clicked",
        "userId": user,
        "messageId": f"m-{user}",
        "timestamp": NOW_MS + 9 * DAY_MS,
    }
    return json.dumps(call | {"properties": {"product_id": "i1"}}, ensure_ascii=False).encode()


def send(line: Line, records: Iterable[tuple[str, bytes]]) -> None:
    with contextlib.closing(open_writer(line.config)) as writer:
        for user, value in records:
            writer.send(OutRecord(EVENTS, user.encode(), value))
        writer.flush(30)


def files_with(line: Line, text: str) -> list[Path]:
    """Files of snapshots that hold an id's bytes."""
    root = Path(line.config.snapshots.root)
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in read(path)]


def read(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):  # retired meanwhile
        return path.read_bytes()
    return b""


def in_redis(line: Line, text: str) -> dict[bytes, bytes]:
    """Keys of the namespace that hold an id, in key or value."""
    with contextlib.closing(redis.Redis.from_url(redis_url(line.config))) as client:
        found = {key: client.get(key) or b"" for key in client.scan_iter(f"{line.config.namespace}:*")}
        for key, value in found.items():
            assert text.encode() not in key + value or 0 < client.ttl(key) <= 3_600 or json.loads(value)["items"]
    return {key: value for key, value in found.items() if text.encode() in key + value}


def marks(told: dict[str, Any], user: str = GONE) -> dict[str, str]:
    """By place, its first word."""
    (found,) = (one for one in told["users"] if one["user_id"] == user)
    return {trace["place"].split()[0]: trace["mark"] for trace in found["traces"]}


def require_gone(line: Line, worker: Process) -> None:
    """He has no list but an empty one that soon expires, and the snapshot in force does not know him."""
    worker.wait(lambda: all(json.loads(value)["items"] == [] for value in in_redis(line, GONE).values()), "an empty list")
    told = line.here.json("forget", GONE, "--statement", "--url", url(worker))
    assert (marks(told)["state"], marks(told)["list"]) == ("erased", "erased")


def test_nothing_is_left_of_a_forgotten_user_and_nothing_brings_him_back(kafka_line: Callable[..., Line]) -> None:
    line = kafka_line(**WITHOUT_ENCODER, STREAMER_SNAPSHOTS__KEEP="20").create_topics()
    began_ms = now_ms()
    worker = line.start("worker")
    send(line, [(user, click(user, n)) for n in range(30) for user in (GONE, *OTHERS)])
    send(
        line, [(user, click(user, 0, type="clack")) for user in (GONE, "u1")] + [(user, segment(user)) for user in (GONE, "u1")]
    )
    worker.wait(lambda: worker.counters.get("rejected") == 4, "four dead letters")
    worker.wait(lambda: any(json.loads(value)["items"] for value in in_redis(line, GONE).values()), "his list")
    old = snapshot_with(line, EVENTS, line.ends()[EVENTS])["name"]
    assert files_with(line, GONE)
    assert len(line.here.run("dead-letters", "--lines").stdout.split(GONE)) > 1
    dry = line.here.json("forget", GONE, "--dry-run", "--url", url(worker))
    assert (ends(line.config)["forget"], marks(dry)["state"], dry["users"][0]["request"]) == (0, "unknown", None)

    done = line.here.json("forget", GONE, "u19", "--url", url(worker))
    assert (done["done"], done["users"][0]["request"], ends(line.config)["forget"]) == (True, "forget[0]:0", 2)
    assert {place: marks(done)[place] for place in ("state", "list", "log", "dead")} == {
        "state": "erased",
        "list": "erased",
        "log": "remains",
        "dead": "remains",
    }
    (letters,) = (trace for trace in done["users"][0]["traces"] if trace["place"] == "dead letters")
    assert "2 on" in letters["what"]
    written_ms = letters["gone_ms"] - 14 * DAY_MS  # a broker's defaults: 7 days and a segment's 7
    assert began_ms <= written_ms <= now_ms()
    require_gone(line, worker)

    # what he did before comes again: as a letter, mended with a time that no request covers, and as it was
    assert GONE not in line.here.run("dead-letters", "--lines").stdout
    redriven = line.here.json("redrive", "--fix", "segment")
    assert (redriven["sent"], redriven["left"]["of a user who was forgotten since"]) == (1, 2)
    assert [key for key, value in on_log(line.config, EVENTS) if b"m-" in (value or b"") and b"event_id" in (value or b"")] == [
        b"u1"
    ]
    send(line, [(GONE, click(GONE, n, event_id=f"again-{n}")) for n in range(5)])
    worker.wait(lambda: worker.counters.get("forgotten") == 5, "his old events dropped")

    # a rollback to a snapshot that holds him, then a reset to it
    ok(line.here.run("rollback", old, "--url", url(worker)))
    require_gone(line, worker)
    worker.stop()
    assert line.here.run("reset", "--to", old, "--leave-out", "forget[0]:0", "--yes").exit_code == 2
    ok(line.here.run("reset", "--to", old, "--yes"))
    worker = line.start("worker")
    worker.wait_position(line.ends()[EVENTS])
    require_gone(line, worker)

    # the older snapshots
    assert files_with(line, GONE)
    dropped = line.here.json("forget", GONE, "u19", "--statement", "--drop-snapshots", "--url", url(worker))
    assert old in dropped["dropped_snapshots"]
    assert marks(dropped)["snapshots"] == "erased"
    turns = iter(range(10_000))

    def clean() -> bool:
        send(line, [("u2", click("u2", 100 + next(turns)))])  # retention follows the snapshots of what comes
        return not files_with(line, GONE)

    worker.wait(clean, "no file of a snapshot with his id")
    worker.stop()
    assert files_with(line, GONE) == []
    assert files_with(line, "u18") != []


@pytest.mark.usefixtures("_restored_logging")
def test_users_are_read_from_a_file_and_what_is_no_id_is_refused_before_anything_is_asked(here: Here, tmp_path: Path) -> None:
    assert here.run("forget").exit_code == 2
    missing = here.run("forget", "u1")
    assert (missing.exit_code, "run STREAMER_KAFKA__TOPIC_PREFIX" in missing.output) == (1, True), missing.output
    here.json("topics", "create")
    path = tmp_path / "users.txt"
    path.write_text("u1\nu2\n\nu1\n" + "x" * 300 + "\n")
    refused = here.run("forget", "--file", path)
    assert (refused.exit_code, "is no user's id" in refused.output, ends(here.config)["forget"]) == (2, True, 0)
    path.write_bytes(b"u1\n\xff\n")
    assert "not UTF-8 at byte 3" in here.run("forget", "--file", path).output
    path.write_text("u1\nu2\n\nu1\n")
    late = here.run("forget", "--file", path, "--wait", "0", "--json")
    told = json.loads(late.stdout.splitlines()[-1])
    assert (late.exit_code, told["done"], ends(here.config)["forget"]) == (1, False, 2)
    assert [(user["user_id"], user["mark"]) for user in told["users"]] == [("u1", "unknown"), ("u2", "unknown")]
    assert "no owner could be asked" in late.stdout
    wait_until(lambda: here.json("forget", "u3", "--statement")["users"][0]["request"] is None, "a stranger")
