"""Ids, numbers and times of others, and the events that one record of several items becomes."""

from __future__ import annotations

import doctest

import pytest

from producers.formats import values
from producers.formats.values import MICROSECOND, SECOND, made_id, number, of_items, short, time_ms
from streamer.events.codec import decode_events, encode_event
from streamer.events.model import ID_BYTES_MAX, ITEM_IDS_MAX, EventTypeName


def test_what_the_docstrings_show_is_so() -> None:
    assert doctest.testmod(values) == doctest.TestResults(failed=0, attempted=4)


@pytest.mark.parametrize(
    ("found", "unit", "expected"),
    [
        (1465413032, SECOND, 1_465_413_032_000),
        ("1396860669.277", SECOND, 1_396_860_669_277),
        ("1612069510766593", MICROSECOND, 1_612_069_510_766),
        (1612069510766593, MICROSECOND, 1_612_069_510_766),
        ("1599391467000", 1.0, 1_599_391_467_000),
        ("2019-10-01 00:00:01 UTC", 1.0, 1_569_888_001_000),
        ("2019-10-01 00:00:01", SECOND, 1_569_888_001_000),
        ("2026-11-24 10:00:05.123", 1.0, 1_795_514_405_123),
        ("2026-11-24T12:00:05.123+02:00", 1.0, 1_795_514_405_123),
        ("2026-11-24T08:00:05.123-02:00", 1.0, 1_795_514_405_123),
        ("2026-11-24T10:00:05.123456789Z", MICROSECOND, 1_795_514_405_123),
    ],
)
def test_times_are_read_as_they_are_written(found: str | int, unit: float, expected: int) -> None:
    assert time_ms("t", found, unit) == expected


@pytest.mark.parametrize(
    ("found", "unit", "message"),
    [
        (None, 1.0, "t is missing, expected a time"),
        ("", 1.0, "t is missing, expected a time"),
        ("yesterday", 1.0, 't is "yesterday", expected RFC 3339'),
        ("2019-10-01", 1.0, 't is "2019-10-01", expected RFC 3339'),
        ("2019-13-01 00:00:01", 1.0, "no real time"),
        (1465413032, 1.0, "looks like seconds"),
        (1465413032000, SECOND, "t is 1465413032000, expected epoch seconds of a time between 1973 and 5138"),
        ("1612069510766", MICROSECOND, "t is 1612069510766, expected epoch microseconds"),
        ("nan", SECOND, "t is nan, expected epoch seconds"),
        ("9" * 5_000, SECOND, 't is "9999'),
    ],
)
def test_what_is_no_time_says_what_it_is(found: str | int | None, unit: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_ms("t", found, unit)


def test_numbers_that_are_none_are_left_away() -> None:
    assert [number(one) for one in ("9.5", 3, "", None, "free", "inf", 10**400)] == [9.5, 3.0, None, None, None, None, None]


@pytest.mark.parametrize("part", ["x" * 300, "é" * 200, "𝄞" * 100])
def test_a_made_id_is_never_too_long_and_always_the_same(part: str) -> None:
    assert len(made_id("name", part, 7).encode()) <= ID_BYTES_MAX
    assert made_id("name", part, 7) == made_id("name", part, 7) != made_id("name", part, 8)
    assert short(part) is None


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("impression", [200, 200, 50]), ("purchase", [200, 200, 50]), ("view", [1] * 450), ("cart", [1] * 450)],
)
def test_a_record_of_many_items_becomes_events_that_are_accepted(kind: EventTypeName, counts: list[int]) -> None:
    items = [f"i{n}" for n in range(2 * ITEM_IDS_MAX + 50)]
    events = list(of_items(kind, items, event_id="e", user_id="u", timestamp=1_795_485_458_344, price=1.0))
    decoded = decode_events([encode_event(event) for event in events])
    assert (decoded.item_ids, decoded.item_counts) == (items, counts)
    assert decoded.event_ids == ["e", *(f"e:{n}" for n in range(1, len(counts)))]
    assert all(event.price is None for event in events)


def test_one_item_keeps_its_price_and_a_purchase_of_one_is_no_basket() -> None:
    [event] = of_items("purchase", ["i"], event_id="e", user_id="u", timestamp=1_795_485_458_344, price=1.0, quantity=2.0)
    assert (event.item_id, event.item_ids, event.price, event.quantity) == ("i", None, 1.0, 2.0)
    [shown] = of_items("impression", ["i"], event_id="e", user_id="u", timestamp=1_795_485_458_344)
    assert (shown.item_id, shown.item_ids) == (None, ("i",))
