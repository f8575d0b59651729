"""Laws of the codec: nothing raises, every value has one outcome, both paths agree, what is written is read."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.events.codec import InvalidEventError, decode_events, encode_event, examine
from streamer.events.forget import decode_forget, encode_forget
from streamer.events.items import decode_item, decode_vectors, encode_item, encode_vectors
from streamer.events.model import (
    EVENT_TYPE_NAMES,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
    DeletedItem,
    Event,
    Forget,
    ItemDocument,
    ItemVectors,
    Reject,
)

plain = st.characters(exclude_categories=["Cs"])
ids = st.text(plain, min_size=1, max_size=70).filter(lambda text: len(text.encode()) <= 256)
times_ms = st.integers(TIMESTAMP_MS_MIN, TIMESTAMP_MS_MAX)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=8,
)

good = st.fixed_dictionaries(
    {"user_id": ids, "timestamp": times_ms | times_ms.map(float) | st.just("2026-11-24T03:17:38.3449+02:00")},
    optional={
        "event_id": ids | st.none(),
        "session_id": ids | st.none(),
        "request_id": ids | st.none(),
        "quantity": numbers | st.none(),
        "price": numbers | st.none(),
        "context": st.none() | st.dictionaries(st.text(plain), st.text(plain) | numbers, max_size=3),
        "unknown": st.text(plain) | numbers,
    },
).flatmap(
    lambda fields: st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["view", "click", "cart", "purchase"]), "item_id": ids}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["impression", "purchase"]), "item_ids": st.lists(ids, min_size=1, max_size=9)},
            optional={"item_id": ids | st.none()},
        ),
    ).map(lambda rest: fields | rest)
)
names = ["type", "user_id", "item_id", "item_ids", "timestamp", "event_id", "session_id", "quantity", "price", "context"]
odd = anything | ids | times_ms | st.sampled_from(EVENT_TYPE_NAMES) | st.lists(ids, max_size=3)
mutated = st.tuples(good, st.dictionaries(st.sampled_from(names), odd, max_size=3)).map(lambda pair: pair[0] | pair[1])
written = st.tuples(good | mutated | anything, st.booleans()).map(
    lambda pair: json.dumps(pair[0], ensure_ascii=pair[1]).encode(errors="surrogatepass")
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(written))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(raw)))
        raw[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b'"', b"{", b"]", b"\\"]))
    return bytes(raw)


values = st.none() | st.binary(max_size=40) | written | damaged()


@dataclass
class Row:
    """What the columns hold of one event."""

    type: int
    timestamp_ms: int
    event_id: str
    user_id: str
    item_ids: list[str]


def rows(batch: list[bytes | None]) -> dict[int, Row]:
    decoded = decode_events(batch)
    columns = (
        decoded.positions,
        decoded.types,
        decoded.timestamps_ms,
        decoded.event_ids,
        decoded.user_ids,
        decoded.item_counts,
    )
    flat = iter(decoded.item_ids)
    found = {
        position: Row(kind, at_ms, event_id, user_id, [next(flat) for _ in range(count)])
        for position, kind, at_ms, event_id, user_id, count in zip(*columns, strict=True)
    }
    assert next(flat, None) is None
    assert list(found) == sorted(found)
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(values, max_size=6))
def test_every_value_has_exactly_one_outcome_at_its_own_place(batch: list[bytes | None]):
    accepted = rows(batch)
    rejects = decode_events(batch).rejects
    assert sorted([*accepted, *(position for position, _ in rejects)]) == list(range(len(batch)))
    for position, raw in enumerate(batch):
        alone = rows([raw])
        assert alone.get(0) == accepted.get(position)
    for _, reject in rejects:
        assert 0 < len(reject.error) < 600


@settings(max_examples=500, deadline=None)
@given(values)
def test_the_fast_path_and_the_slow_path_agree(raw: bytes | None):
    slow = examine(raw)
    fast = rows([raw])
    if isinstance(slow, Reject):
        assert fast == {}
        assert decode_events([raw]).rejects == [(0, slow)]
        return
    items = slow.item_ids or [slow.item_id]
    assert fast[0] == Row(EVENT_TYPE_NAMES.index(slow.type), slow.timestamp, slow.event_id or "", slow.user_id, items)


@settings(max_examples=300, deadline=None)
@given(good)
def test_good_events_are_accepted_with_what_they_say(fields: dict[str, object]):
    row = rows([json.dumps(fields).encode()])[0]
    assert EVENT_TYPE_NAMES[row.type] == fields["type"]
    assert row.user_id == fields["user_id"]
    assert row.event_id == (fields.get("event_id") or "")
    assert len(set(row.item_ids)) == len(row.item_ids)
    if isinstance(fields["timestamp"], int):
        assert row.timestamp_ms == fields["timestamp"]


@settings(max_examples=300, deadline=None)
@given(mutated)
def test_an_event_is_either_refused_by_the_encoder_or_read_again(fields: dict[str, object]):
    known = {name: found for name, found in fields.items() if name != "unknown"}
    event = Event(**known)  # type: ignore[arg-type]
    try:
        raw = encode_event(event)
    except InvalidEventError:
        return
    row = rows([raw])[0]
    assert (row.user_id, row.event_id) == (event.user_id, event.event_id or "")


documents = st.builds(
    ItemDocument,
    item_id=ids,
    title=st.none() | st.text(plain),
    text=st.none() | st.text(plain),
    image=st.none() | st.text(plain),
    categories=st.lists(st.text(plain), max_size=4).map(tuple),
    provider=st.none() | st.text(plain),
    available=st.booleans(),
    timestamp_ms=st.none() | times_ms,
)


@settings(max_examples=150, deadline=None)
@given(documents)
def test_an_item_document_survives_writing_and_reading(document: ItemDocument):
    assert decode_item(document.item_id.encode(), encode_item(document)) == document


@settings(max_examples=300, deadline=None)
@given(st.none() | st.binary(max_size=300), values)
def test_no_key_or_value_makes_the_other_codecs_raise(key: bytes | None, value: bytes | None):
    assert isinstance(decode_item(key, value), ItemDocument | DeletedItem | Reject)
    assert isinstance(decode_forget(key, value), Forget | Reject)
    assert isinstance(decode_vectors(value or b""), ItemVectors | Reject)


halves = st.none() | st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), min_size=1, max_size=8).map(
    lambda numbers: struct.pack(f"<{len(numbers)}e", *numbers)
)


@settings(max_examples=150, deadline=None)
@given(st.builds(ItemVectors, item_id=ids, fingerprint=st.text(plain), content_hash=ids, text=halves, image=halves))
def test_vectors_survive_writing_and_reading(vectors: ItemVectors):
    assert decode_vectors(encode_vectors(vectors)) == vectors


@settings(max_examples=150, deadline=None)
@given(encoded=st.builds(ItemVectors, item_id=ids, fingerprint=ids, content_hash=ids, text=halves), data=st.data())
def test_damaged_vectors_are_read_or_refused_but_never_raise(encoded: ItemVectors, data: st.DataObject):
    raw = bytearray(encode_vectors(encoded))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(decode_vectors(bytes(raw)), ItemVectors | Reject)


@settings(max_examples=100, deadline=None)
@given(st.builds(Forget, user_id=ids, timestamp_ms=st.none() | times_ms))
def test_a_forget_request_survives_writing_and_reading(request: Forget):
    assert decode_forget(*encode_forget(request)) == request
