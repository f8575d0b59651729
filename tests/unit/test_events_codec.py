"""What becomes of each kind of event value."""

from __future__ import annotations

import json
import time

import pytest

from streamer.events.codec import InvalidEventError, decode_events, encode_event
from streamer.events.model import EVENT_BYTES_MAX, Event, EventType, Reject

GOOD = {"type": "click", "user_id": "u42", "item_id": "i7", "timestamp": 1795485458344}


def value(**changes: object) -> bytes:
    return json.dumps(GOOD | changes).encode()


def without(*names: str, **changes: object) -> bytes:
    return json.dumps({name: found for name, found in (GOOD | changes).items() if name not in names}).encode()


def rejected(raw: bytes | None) -> Reject:
    decoded = decode_events([raw])
    assert decoded.positions == []
    ((position, reject),) = decoded.rejects
    assert position == 0
    return reject


def items(raw: bytes) -> list[str]:
    decoded = decode_events([raw])
    assert decoded.rejects == []
    assert decoded.item_counts == [len(decoded.item_ids)]
    return decoded.item_ids


def time_of(found: object) -> int:
    decoded = decode_events([value(timestamp=found)])
    assert decoded.rejects == []
    return decoded.timestamps_ms[0]


def test_a_whole_event_becomes_one_row_of_columns():
    extras = {"session_id": "s1", "request_id": "r9", "quantity": 1, "price": 9.5, "context": {"page": "home"}}
    decoded = decode_events([value(event_id="01J9", **extras)])
    assert decoded.types == [EventType.CLICK]
    assert decoded.timestamps_ms == [1795485458344]
    assert (decoded.event_ids, decoded.user_ids, decoded.item_ids) == (["01J9"], ["u42"], ["i7"])
    assert (decoded.positions, decoded.item_counts, decoded.rejects) == ([0], [1], [])


def test_positions_tell_accepted_and_refused_values_apart():
    decoded = decode_events([b"{", value(), None, value(type="purchase", item_ids=["a", "b"]), value(user_id=3), value()])
    assert decoded.positions == [1, 3, 5]
    assert [position for position, _ in decoded.rejects] == [0, 2, 4]
    assert decoded.item_counts == [1, 3, 1]
    assert decoded.item_ids == ["i7", "i7", "a", "b", "i7"]


def test_unknown_fields_are_ignored():
    assert items(value(referrer={"deep": [1, None]}, timestamp_ms="x")) == ["i7"]


def test_no_values_make_empty_columns():
    decoded = decode_events([])
    assert (decoded.positions, decoded.item_ids, decoded.rejects) == ([], [], [])


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"  ",
        b"{",
        b"not json",
        value() + b"x",
        value(title="x").replace(b"x", b"\xff"),
        value(context={"page": "x"}).replace(b'"x"', b'"\xff"'),
        b"\xef\xbb\xbf" + value(),
        value(user_id="\ud800"),
        value(title="\ud800"),
        value(context={"page": "\udc00"}),
        value(context={"score": float("nan")}),
        b"[" * 10_000,
        value(context=1).replace(b": 1}", b": " + b"[" * 300 + b"]" * 300 + b"}"),
        value().replace(b"}", b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        json.dumps(GOOD).encode("utf-16"),
    ],
)
def test_what_is_no_json_is_invalid_json(raw: bytes | None):
    assert rejected(raw).reason == "invalid_json"


def test_nesting_within_the_bound_is_accepted():
    assert items(value(x=1).replace(b": 1}", b": " + b"[" * 255 + b"]" * 255 + b"}")) == ["i7"]
    assert items(value(context={"text": "[" * 400})) == ["i7"]


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 300 + b'"' + b'\\"' * 32_000,
        b"[" * 300 + b'"' * 64_000,
        b"\\" * 64_000 + b"[" * 300,
        (b"[" * 250 + b"]" * 250) * 128,
        b'{"a":' * 13_000,
        b"]" * 32_000 + b"[" * 32_000,
    ],
)
def test_no_bytes_make_the_count_of_brackets_slow(raw: bytes):
    started_s = time.thread_time()
    assert rejected(raw).reason in {"invalid_json", "wrong_type"}
    assert time.thread_time() - started_s < 0.5  # a search that starts again at every quote takes twenty seconds


@pytest.mark.parametrize("depth", [254, 255, 256, 257])
def test_how_deep_a_value_may_be_does_not_hang_on_what_stands_beside(depth: int):
    beside = b'[[],{"a":[{}]},"[[[\\"[[", "\\\\"],' * 40
    nested = value(x=1).replace(b": 1}", b": [" + beside + b"[" * depth + b"]" * depth + b"]}")
    expected = ["i7"] if depth + 2 <= 256 else None
    decoded = decode_events([nested])
    assert (decoded.item_ids or None) == expected


@pytest.mark.parametrize("raw", [b"[]", b"3", b'"text"', b"null", b"true", b" [1]"])
def test_json_that_is_no_object_is_a_wrong_type(raw: bytes):
    reject = rejected(raw)
    assert reject.reason == "wrong_type"
    assert "expected an object" in reject.error


@pytest.mark.parametrize("name", ["type", "user_id", "timestamp", "item_id"])
def test_a_missing_field_is_named(name: str):
    reject = rejected(without(name))
    assert reject.reason == "missing_field"
    assert name in reject.error


@pytest.mark.parametrize(
    "raw",
    [
        value(type="impression"),
        value(type="impression", item_ids=[]),
        without("item_id", type="purchase"),
        without("item_id", type="purchase", item_ids=[]),
        without("item_id", item_ids=["a"]),
    ],
)
def test_an_event_without_the_items_that_its_type_needs_misses_a_field(raw: bytes):
    assert rejected(raw).reason == "missing_field"


def test_an_impression_needs_only_item_ids():
    assert items(without("item_id", type="impression", item_ids=["a", "b", "a"])) == ["a", "b"]
    assert items(value(type="impression", item_ids=["a"])) == ["a"]
    assert items(value(type="impression", item_id=None, item_ids=["a"])) == ["a"]


def test_a_purchase_has_one_interaction_an_item_in_order_without_duplicates():
    assert items(value(type="purchase")) == ["i7"]
    assert items(value(type="purchase", item_ids=["b", "i7", "a", "b"])) == ["i7", "b", "a"]
    assert items(without("item_id", type="purchase", item_ids=["b", "a", "b"])) == ["b", "a"]
    assert items(value(type="purchase", item_ids=[])) == ["i7"]


def test_item_ids_mean_nothing_to_other_types():
    assert items(value(item_ids=["a", "b"])) == ["i7"]


@pytest.mark.parametrize(
    "changes",
    [
        {"type": 3},
        {"type": None},
        {"user_id": 42},
        {"user_id": None},
        {"user_id": ["u"]},
        {"item_id": 7},
        {"item_id": None},
        {"event_id": 1},
        {"session_id": {}},
        {"request_id": False},
        {"quantity": "x"},
        {"quantity": True},
        {"price": "9.5"},
        {"price": [1]},
        {"price": float("inf")},
        {"quantity": float("nan")},
        {"context": "home"},
        {"context": []},
        {"item_ids": "a"},
        {"item_ids": ["a", 1]},
        {"type": "impression", "item_ids": None},
        {"timestamp": None},
        {"timestamp": True},
        {"timestamp": [1]},
        {"timestamp": {}},
    ],
)
def test_a_wrong_json_type_of_a_known_field_is_named(changes: dict[str, object]):
    reject = rejected(value(**changes))
    assert reject.reason == "wrong_type"
    assert list(changes)[-1] in reject.error


def test_a_number_beyond_floats_is_a_wrong_type():
    assert rejected(value(quantity=1).replace(b'"quantity": 1', b'"quantity": 1e999')).reason == "wrong_type"
    assert rejected(value(price=1).replace(b'"price": 1', b'"price": ' + b"9" * 5000)).reason == "wrong_type"


def test_null_is_as_good_as_absent_where_a_field_is_optional():
    names = ("event_id", "session_id", "request_id", "quantity", "price", "context", "item_ids")
    assert items(value(**dict.fromkeys(names))) == ["i7"]
    assert decode_events([value(event_id=None)]).event_ids == [""]


def test_a_large_context_is_ignored_and_not_refused():
    assert items(value(context={"text": "x" * 10_000})) == ["i7"]


def test_the_message_for_a_number_shows_the_string_to_send():
    assert rejected(value(user_id=42)).error == 'user_id is a JSON number (42), expected string: send it as "42"'


@pytest.mark.parametrize("found", ["clicks", "CLICK", "", "Purchase", "x" * 1000])
def test_an_unknown_type_is_refused_with_the_known_ones(found: str):
    reject = rejected(value(type=found))
    assert reject.reason == "unknown_type"
    assert "impression, view, click, cart, purchase" in reject.error
    assert len(reject.error) < 300


def test_ids_are_measured_in_bytes_not_characters():
    assert items(value(item_id="ü" * 128)) == ["ü" * 128]
    assert rejected(value(item_id="ü" * 129)).reason == "bad_id"
    assert rejected(json.dumps(GOOD | {"item_id": "ü" * 129}, ensure_ascii=False).encode()).reason == "bad_id"
    assert items(value(item_id="x" * 256)) == ["x" * 256]
    assert rejected(value(item_id="x" * 257)).reason == "bad_id"


@pytest.mark.parametrize("name", ["user_id", "item_id", "event_id", "session_id", "request_id"])
@pytest.mark.parametrize("found", ["", "x" * 257, "😀" * 65])
def test_a_bad_id_is_named(name: str, found: str):
    reject = rejected(value(**{name: found}))
    assert reject.reason == "bad_id"
    assert name in reject.error
    assert len(reject.error) < 300


def test_members_of_item_ids_are_ids_too():
    assert rejected(value(type="impression", item_ids=["a", ""])).reason == "bad_id"
    assert rejected(value(type="impression", item_ids=["é" * 129])).reason == "bad_id"


def test_more_than_200_items_are_too_large():
    assert len(items(value(type="impression", item_ids=[f"i{n}" for n in range(200)]))) == 200
    assert rejected(value(type="impression", item_ids=["i"] * 201)).reason == "too_large"


def test_size_is_checked_before_anything_else():
    padded = value(context={"text": "x" * EVENT_BYTES_MAX})
    assert rejected(padded).reason == "too_large"
    assert rejected(b"{" * (EVENT_BYTES_MAX + 1)).reason == "too_large"
    exact = value() + b" " * (EVENT_BYTES_MAX - len(value()))
    assert items(exact) == ["i7"]


def test_of_members_with_equal_names_the_last_counts():
    assert items(value().replace(b'"user_id"', b'"item_id": 3, "user_id"', 1)) == ["i7"]


def test_an_encoded_event_is_accepted_again():
    event = Event(type="purchase", user_id="ü", item_ids=("a", "b"), timestamp="2026-11-24T03:17:38Z", event_id="e")
    decoded = decode_events([encode_event(event)])
    assert (decoded.user_ids, decoded.item_ids, decoded.event_ids) == (["ü"], ["a", "b"], ["e"])
    assert b"quantity" not in encode_event(event)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user_id": ""}, "bad_id"),
        ({"item_id": None}, "missing_field"),
        ({"timestamp": 1_700_000_000}, "bad_timestamp"),
        ({"price": float("nan")}, "wrong_type"),
        ({"user_id": "\ud800"}, "wrong_type"),
        ({"context": {"x": object()}}, "wrong_type"),
        ({"context": {"x": "y" * 70_000}}, "too_large"),
    ],
)
def test_an_event_that_readers_would_refuse_is_not_encoded(changes: dict[str, object], reason: str):
    event = Event(**(GOOD | changes))  # type: ignore[arg-type]
    with pytest.raises(InvalidEventError) as raised:
        encode_event(event)
    assert raised.value.reject.reason == reason


def test_milliseconds_pass_as_they_are():
    assert time_of(1795485458344) == 1795485458344
    assert time_of(10**11) == 10**11
    assert time_of(10**14) == 10**14


def test_fractions_of_a_millisecond_are_floored():
    assert time_of(1795485458344.0) == 1795485458344
    assert time_of(1795485458344.9) == 1795485458344
    assert time_of(10**14 + 0.5) == 10**14


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("2026-11-24T01:17:38.344Z", 1795483058344),
        ("2026-11-24t01:17:38.344z", 1795483058344),
        ("2026-11-24 03:17:38.344+02:00", 1795483058344),
        ("2026-11-23T20:17:38.344-05:00", 1795483058344),
        ("2026-11-24T01:17:38Z", 1795483058000),
        ("2026-11-24T01:17:38.3Z", 1795483058300),
        ("2026-11-24T01:17:38.344999999999Z", 1795483058344),
        ("2016-12-31T23:59:60Z", 1483228800000),
        ("2026-11-24T01:17:38-00:00", 1795483058000),
    ],
)
def test_rfc_3339_becomes_milliseconds(text: str, expected_ms: int):
    assert time_of(text) == expected_ms


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (1795485458, "seconds"),
        (1795485458.3, "seconds"),
        (0, "seconds"),
        (-5, "seconds"),
        (10**11 - 1, "seconds"),
        (1795485458344000, "microseconds"),
        (1.795485458344e15, "microseconds"),
        (10**14 + 1, "microseconds"),
        (10**400, "microseconds"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ("NaN", "RFC 3339"),
        ("1795485458344", "RFC 3339"),
        ("yesterday", "RFC 3339"),
        ("", "RFC 3339"),
        ("2026-11-24", "RFC 3339"),
        ("20261124T011738Z", "RFC 3339"),
        ("٢٠٢٦-11-24T01:17:38Z", "RFC 3339"),
        ("2026-11-24T01:17:38", "offset"),
        ("2026-11-24T01:17:38.344", "offset"),
        ("2026-13-24T01:17:38Z", "no real time"),
        ("2026-02-30T01:17:38Z", "no real time"),
        ("2026-11-24T25:17:38Z", "no real time"),
        ("2026-11-24T01:17:61Z", "no real time"),
        ("2026-11-24T01:17:38+99:00", "no real time"),
        ("0000-11-24T01:17:38Z", "no real time"),
        ("0001-01-01T00:00:00+23:00", "outside 1973"),
        ("1970-01-02T00:00:00Z", "outside 1973"),
        ("9999-12-31T23:59:60Z", "outside 1973"),
        ("x" * 5000, "5000 characters"),
    ],
)
def test_a_bad_timestamp_is_refused_by_name(found: object, said: str):
    reject = rejected(value(timestamp=found))
    assert reject.reason == "bad_timestamp"
    assert said in reject.error
    assert len(reject.error) < 300


def test_numbers_that_no_time_can_be_are_bad_timestamps():
    for digits in (b"1e999", b"9" * 5000):
        raw = value().replace(b"1795485458344", digits)
        assert rejected(raw).reason == "bad_timestamp"
