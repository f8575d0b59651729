"""Item documents, vectors, forget requests and dead letters."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest

from streamer.events.dead_letters import Place, decode_letter, encode_dead_letter
from streamer.events.forget import decode_forget
from streamer.events.items import content_hash, decode_item, decode_vectors, encode_item, encode_vectors, text_of
from streamer.events.model import (
    ITEM_BYTES_MAX,
    DeadLetter,
    DeletedItem,
    Forget,
    ItemDocument,
    ItemVectors,
    Reject,
    RejectReason,
)

BOOTS = ItemDocument(item_id="i7", title="Boots", text="Warm.", image="a/7.jpg", categories=("shoes", "winter"), provider="p")


def refused(found: object) -> Reject:
    assert isinstance(found, Reject)
    return found


def document(**changes: object) -> bytes:
    return json.dumps({"item_id": "i7", "title": "Boots"} | changes).encode()


def test_a_document_has_every_field_of_its_value():
    raw = document(
        text="Warm.", image="a/7.jpg", categories=["shoes", "winter"], provider="p", timestamp="2026-11-24T01:17:38Z"
    )
    found = decode_item(b"i7", raw)
    assert found == ItemDocument(
        item_id="i7",
        title="Boots",
        text="Warm.",
        image="a/7.jpg",
        categories=("shoes", "winter"),
        provider="p",
        available=True,
        timestamp_ms=1795483058000,
    )


def test_an_item_needs_only_its_id_and_null_is_as_good_as_absent():
    bare = ItemDocument(item_id="i7")
    assert decode_item(b"i7", b'{"item_id": "i7"}') == bare
    nulls = dict.fromkeys(("title", "text", "image", "categories", "provider", "available", "timestamp"))
    assert decode_item(None, document(**nulls, unknown=[1])) == bare


def test_a_null_value_deletes_the_item_named_by_the_key():
    assert decode_item(b"i7", None) == DeletedItem("i7")
    assert refused(decode_item(None, None)).reason == "missing_field"
    assert refused(decode_item(b"\xff", None)).reason == "bad_id"
    assert refused(decode_item(b"", None)).reason == "bad_id"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "wrong_type"),
        (b"{}", "missing_field"),
        (document(item_id=7), "wrong_type"),
        (document(item_id=None), "wrong_type"),
        (document(item_id=""), "bad_id"),
        (document(item_id="other"), "bad_id"),
        (document(title=3), "wrong_type"),
        (document(categories="shoes"), "wrong_type"),
        (document(categories=["shoes", 3]), "wrong_type"),
        (document(categories=["x"] * 201), "too_large"),
        (document(available="yes"), "wrong_type"),
        (document(timestamp=1795483058), "bad_timestamp"),
        (document(timestamp=[]), "wrong_type"),
        (document(text="x" * ITEM_BYTES_MAX), "too_large"),
    ],
)
def test_a_broken_document_is_refused_with_its_reason(raw: bytes, reason: str):
    assert refused(decode_item(b"i7", raw)).reason == reason


def test_a_withdrawn_document_says_so():
    assert decode_item(b"i7", encode_item(ItemDocument(item_id="i7", available=False))) == ItemDocument(
        item_id="i7", available=False
    )


def test_the_content_hash_changes_with_what_an_encoder_sees_and_with_nothing_else():
    base = content_hash(BOOTS)
    assert len(base) == 64
    same = ItemDocument(item_id="i8", title="Boots", text="Warm.", image="a/7.jpg", categories=("shoes", "winter"))
    assert content_hash(same) == base
    for changes in ({"title": "Boot"}, {"text": None}, {"image": "b"}, {"categories": ("shoes, winter",)}):
        other = {"item_id": "i7", "title": "Boots", "text": "Warm.", "image": "a/7.jpg", "categories": ("shoes", "winter")}
        assert content_hash(ItemDocument(**(other | changes))) != base  # type: ignore[arg-type]


def test_the_text_of_an_item_joins_what_it_has():
    assert text_of(BOOTS) == "Boots\nshoes, winter\nWarm."
    assert text_of(ItemDocument(item_id="i7", title="  ", text="Warm.")) == "Warm."
    assert text_of(ItemDocument(item_id="i7")) == ""


def test_vectors_are_float16_without_holes():
    whole = ItemVectors(item_id="i7", fingerprint="f", content_hash="c", text=struct.pack("<3e", 1, -0.5, 0))
    assert decode_vectors(encode_vectors(whole)) == whole
    broken = {"odd": b"abc", "empty": b"", "nan": struct.pack("<e", float("nan"))}
    for buffer in broken.values():
        raw = encode_vectors(ItemVectors(item_id="i7", fingerprint="f", content_hash="c", text=buffer))
        assert refused(decode_vectors(raw)).reason == "wrong_type"


def test_vectors_of_another_format_name_both_formats():
    raw = encode_vectors(ItemVectors(item_id="i7", fingerprint="f", content_hash="c"))
    assert raw[1] == 1  # the format, after the byte that opens the array
    newer = refused(decode_vectors(raw[:1] + b"\x02" + raw[2:]))
    assert newer.reason == "wrong_type"
    assert "format 2, expected 1" in newer.error


def test_what_is_no_vectors_is_refused():
    assert refused(decode_vectors(b"")).reason == "wrong_type"
    assert refused(decode_vectors(b'{"item_id": "i7"}')).reason == "wrong_type"
    assert refused(decode_vectors(b"x" * (ITEM_BYTES_MAX + 1))).reason == "too_large"


def test_a_forget_request_names_its_user_by_key():
    assert decode_forget(b"u42", None) == Forget("u42")
    assert decode_forget(b"u42", b"") == Forget("u42")
    assert decode_forget(b"u42", b'{"user_id": "u42", "timestamp": 1795483058000.5}') == Forget("u42", 1795483058000)


@pytest.mark.parametrize(
    ("key", "raw", "reason"),
    [
        (None, b"{}", "missing_field"),
        (b"", b"{}", "bad_id"),
        (b"\xff", None, "bad_id"),
        (b"u42", b"{", "invalid_json"),
        (b"u42", b"3", "wrong_type"),
        (b"u42", b'{"user_id": "u43"}', "bad_id"),
        (b"u42", b'{"user_id": 42}', "wrong_type"),
        (b"u42", b'{"timestamp": 3}', "bad_timestamp"),
    ],
)
def test_a_broken_forget_request_is_refused_with_its_reason(key: bytes | None, raw: bytes | None, reason: str):
    assert refused(decode_forget(key, raw)).reason == reason


def letter(value: bytes | None, error: str = "broken") -> DeadLetter:
    reject = Reject(RejectReason.INVALID_JSON, error)
    return DeadLetter(reject, topic="events", topic_id="T1", partition=3, offset=17, key=b"u", value=value, attempts=2)


def test_a_dead_letter_carries_its_origin_in_headers():
    value, headers = encode_dead_letter(letter(b"{", "kaputt: ü"))
    assert value == b"{"
    assert dict(headers) == {
        "reason": b"invalid_json",
        "error": "kaputt: ü".encode(),
        "topic": b"events",
        "topic_id": b"T1",
        "partition": b"3",
        "offset": b"17",
        "attempts": b"2",
        "sha256": hashlib.sha256(b"{").hexdigest().encode(),
    }


def test_a_long_value_is_cut_and_hashed_whole():
    whole = b"x" * 100_000
    value, headers = encode_dead_letter(letter(whole, "é" * 5000))
    assert value == whole[:65_536]
    assert dict(headers)["sha256"] == hashlib.sha256(whole).hexdigest().encode()
    assert dict(headers)["error"].decode() == "é" * 1024


def test_a_dead_letter_is_read_as_it_was_written_and_one_of_a_former_version_by_its_topics_id():
    value, headers = encode_dead_letter(letter(b"{"))
    found = decode_letter(Place("events.dead", 1, 5), 7, b"u", value, headers, {})
    assert found is not None
    assert (str(found.origin), found.attempts, found.error, found.cut) == ("events[3]:17", 2, "broken", False)
    former = [one for one in headers if one[0] != "topic"]
    assert decode_letter(Place("events.dead", 1, 5), 7, b"u", value, former, {"T1": "events"}) == found
    unknown = decode_letter(Place("events.dead", 1, 5), 7, b"u", value, former, {"T2": "events"})
    assert unknown is not None
    assert (unknown.topic, unknown.identity) == ("", found.identity)
    cut = decode_letter(Place("events.dead", 1, 5), 7, b"u", b"", headers, {})
    assert cut is not None
    assert cut.cut


def test_a_dead_letter_of_a_null_value_has_none():
    value, headers = encode_dead_letter(letter(None))
    assert value is None
    assert dict(headers)["sha256"] == hashlib.sha256(b"").hexdigest().encode()
