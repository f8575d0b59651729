"""What the console reads of the log: titles within bounds, documents as they are now, letters and whether they were sent again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from command import T0, Here
from line import wait_until

from consumers.compose import open_admin, open_reader, open_writer
from consumers.console import documents, letters
from consumers.console.documents import Documents
from streamer.events.dead_letters import encode_dead_letter
from streamer.events.model import DEAD, EVENTS, ITEMS, DeadLetter, Reject, RejectReason
from streamer.ports import OutRecord


def send(here: Here, *records: OutRecord) -> None:
    with contextlib.closing(open_writer(here.config)) as writer:
        for record in records:
            writer.send(record)
        writer.flush(10.0)


def document(item_id: str, **fields: object) -> OutRecord:
    return OutRecord(ITEMS, item_id.encode(), json.dumps({"item_id": item_id, **fields}).encode())


@pytest.fixture
def log(here: Here) -> Here:
    here = Here(here.settings | {"STREAMER_KAFKA__PARTITIONS": "1"})  # so that what is sent last is read last
    with contextlib.closing(open_admin(here.config)) as admin:
        admin.create_topics()
    return here


@pytest.fixture
def titles(log: Here, monkeypatch: pytest.MonkeyPatch) -> Iterator[Documents]:
    monkeypatch.setattr(documents, "AGAIN_S", 0.05)
    monkeypatch.setattr(documents, "TITLES_MAX", 3)
    found = Documents(lambda: (open_reader(log.config), open_admin(log.config)))
    yield found
    found.close()


def test_nothing_is_read_before_somebody_looks_and_then_the_newest_titles_are_kept(log: Here, titles: Documents) -> None:
    assert titles._thread is None
    send(log, *(document(f"i{n}", title=f"title {n}") for n in range(6)), document("i0", title="anew"), document("i9"))
    titles.want(10.0)
    assert titles.caught_up
    found = titles.titles([*(f"i{n}" for n in range(10)), None])
    assert len(found) <= 3
    assert found["i0"] == "anew"
    assert "i9" not in found  # it has none
    send(log, document("i7", title="later"))
    wait_until(lambda: titles.titles(["i7"]) == {"i7": "later"}, "a later one is read, too", deadline_s=10)


def test_a_document_is_shown_as_it_is_now_and_long_ones_in_part(log: Here, titles: Documents) -> None:
    send(log, document("i1", title="old"), document("i1", title="new", text="x" * 5_000, categories=["a"], provider="p"))
    titles.want(10.0)
    with contextlib.closing(open_reader(log.config)) as reader:
        found = titles.whole(reader, "i1")
        assert titles.whole(reader, "i2") is None
    assert found is not None
    assert (found["title"], len(found["text"]), found["text_cut"], found["provider"]) == ("new", 2_000, True, "p")


def letter(offset: int, reason: RejectReason, value: bytes) -> OutRecord:
    dead = DeadLetter(
        reject=Reject(reason, "so it is"),
        topic=EVENTS,
        topic_id="",
        partition=0,
        offset=offset,
        key=b"u",
        value=value,
        attempts=1,
    )
    content, headers = encode_dead_letter(dead)
    return OutRecord(DEAD, b"u", content, headers)


def newest(here: Here, reason: str | None = None) -> dict:
    with contextlib.closing(open_reader(here.config)) as reader, contextlib.closing(open_admin(here.config)) as admin:
        return letters.newest(reader, admin, reason)


def test_the_newest_letters_are_told_by_reason_and_those_sent_again_are_marked(log: Here) -> None:
    assert newest(log) == {"records": 0, "looked_at": 0, "reasons": {}, "letters": []}
    event = json.dumps({"type": "click", "user_id": "u", "item_id": "i", "timestamp": T0}).encode()
    send(log, letter(1, RejectReason.ENGINE_ERROR, event), letter(2, RejectReason.INVALID_JSON, b"\xff" * 9_000))
    found = newest(log)
    assert found["reasons"] == {"engine_error": 1, "invalid_json": 1}
    [cut] = newest(log, "invalid_json")["letters"]
    assert (cut["origin"], cut["bytes"], cut["cut"], len(cut["value"])) == ("events[0]:2", 9_000, True, letters.VALUE_CHARS_MAX)
    assert log.json("redrive", "--reason", "engine_error")["sent"] == 1
    again = {one["reason"]: one["redriven"] for one in newest(log)["letters"]}
    assert again == {"engine_error": True, "invalid_json": False}


def test_of_a_long_topic_only_the_tail_is_read(log: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "TAIL_RECORDS", 5)
    send(log, *(letter(n, RejectReason.INVALID_JSON, b"x") for n in range(40)))
    found = newest(log)
    assert (found["records"], found["looked_at"]) == (40, 5)
    assert found["letters"][0]["origin"] == "events[0]:39"
