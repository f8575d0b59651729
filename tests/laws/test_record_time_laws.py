"""The time by which a bounded log is merged is the one that the codecs read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.events.codec import decode_events
from streamer.events.items import decode_item
from streamer.events.model import EVENTS, FORGET, ITEMS, VECTORS, ItemDocument
from streamer.events.record_time import record_time_ms

TEXTS = st.sampled_from(
    ["2026-11-24T03:17:38.344+02:00", "2026-11-24t03:17:38z", "2026-11-24 03:17", "2026-11-24T03:17:38", ""]
)
TIMES = (
    st.integers(10**11 - 3, 10**11 + 3)
    | st.integers(10**14 - 3, 10**14 + 3)
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.none()
    | st.booleans()
    | st.lists(st.integers(), max_size=1)
)


@given(TIMES)
def test_it_is_the_decoded_time_of_what_can_be_decoded_and_0_of_what_has_no_time(time: object) -> None:
    event = json.dumps({"type": "click", "user_id": "u", "item_id": "i", "timestamp": time}).encode()
    decoded = decode_events([event])
    assert [record_time_ms(EVENTS, event)] == (decoded.timestamps_ms or [0])
    item = json.dumps({"item_id": "i", "timestamp": time}).encode()
    document = decode_item(None, item)
    found = document.timestamp_ms or 0 if isinstance(document, ItemDocument) else 0
    assert record_time_ms(ITEMS, item) == found


@given(st.binary())
def test_nothing_raises(value: bytes) -> None:
    assert record_time_ms(EVENTS, value) >= 0
    assert record_time_ms(FORGET, value) >= 0


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        (EVENTS, None),
        (EVENTS, b""),
        (EVENTS, b"[" * 5_000),
        (EVENTS, b"[1]"),
        (VECTORS, b'{"timestamp": 1795485458344}'),
        (ITEMS, b'{"item_id": "i"}'),
        (EVENTS, b'{"timestamp": 1' + b"0" * 400 + b"}"),
    ],
)
def test_a_record_without_a_time_that_can_be_read_has_0(topic: str, value: bytes | None) -> None:
    assert record_time_ms(topic, value) == 0
