"""Coding a recording to numbers, groups, and what becomes of documents."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.evaluate import stream as streams
from streamer.evaluate.stream import Document, StreamBuilder, engine_batches
from streamer.events.model import DecodedEvents, EventType, ItemDocument
from streamer.tables.ids import bytes_and_hash


def built(events, documents=()):
    """A stream of (time, user, items[, type[, event id]]), the events of one file in its order."""
    builder = StreamBuilder()
    filled = (EventType.CLICK, "")
    rows = [(*event, *filled[len(event) - 3 :]) for event in events]
    decoded = DecodedEvents(
        positions=list(range(len(rows))),
        types=[int(row[3]) for row in rows],
        timestamps_ms=[row[0] for row in rows],
        event_ids=[row[4] for row in rows],
        user_ids=[row[1] for row in rows],
        item_ids=[item for row in rows for item in row[2]],
        item_counts=[len(row[2]) for row in rows],
        rejects=[],
    )
    builder.add(decoded, list(range(len(rows))))
    return builder.finish(documents), builder.repeated_ids


def test_events_are_sorted_by_time_and_then_by_line():
    stream, _ = built([(9, "a", "x"), (5, "b", "yz"), (9, "c", "y"), (5, "a", "x")])
    assert stream.line_N.tolist() == [1, 3, 0, 2]
    assert [stream.user_ids[user] for user in stream.user_N] == ["b", "a", "a", "c"]
    assert [stream.item_ids[item] for item in stream.item_M] == ["y", "z", "x", "x", "y"]


def test_numbers_follow_the_first_appearance_in_time():
    stream, _ = built([(9, "late", "x"), (5, "early", "y")])
    assert stream.user_ids == ["early", "late"]
    assert stream.item_ids == ["y", "x"]
    assert stream.item_M.tolist() == [0, 1]


def test_a_group_is_a_run_of_adjacent_events_of_one_user_and_time():
    stream, _ = built([(5, "a", "x"), (5, "a", "y"), (5, "b", "x"), (5, "a", "z"), (6, "a", "x")])
    assert stream.first_G1.tolist() == [0, 2, 3, 4, 5]
    assert stream.group_N.tolist() == [0, 0, 1, 2, 3]


def test_what_is_only_shown_is_no_target():
    stream, _ = built(
        [(5, "a", "xyz", EventType.IMPRESSION), (6, "a", "xy", EventType.PURCHASE), (7, "a", "z", EventType.VIEW)]
    )
    assert stream.target_M.tolist() == [False, False, False, True, True, True]


def test_items_that_only_documents_name_come_last():
    documents = [Document(9, ItemDocument(item_id="new"), None), Document(0, ItemDocument(item_id="x"), None)]
    stream, _ = built([(5, "a", "x")], documents)
    assert (stream.item_ids, stream.items_in_events) == (["x", "new"], 1)
    assert [one.time_ms for one in stream.documents] == [0, 9]


def test_repeated_event_ids_are_counted_and_kept():
    event = (5, "a", "x", EventType.CLICK, "e1")
    stream, repeated = built([event, event, (5, "b", "x", EventType.CLICK, "e1")])
    assert (stream.events, repeated) == (3, 1)


EVENTS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.lists(st.sampled_from("wxyz"), min_size=1, max_size=3)),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)  # the first call loads a kernel
@given(EVENTS, st.integers(1, 8))
def test_the_engine_gets_every_event_once_in_order_however_the_stream_is_cut(events, chunk):
    before = streams.CHUNK_EVENTS
    streams.CHUNK_EVENTS = chunk
    try:
        stream, _ = built(events)
        batches = list(engine_batches(stream))
    finally:
        streams.CHUNK_EVENTS = before
    assert [batch.group for batch in batches] == list(range(stream.groups))
    hashed = {int(bytes_and_hash(item)[1]): item for item in "wxyz"}
    found = []
    for batch in batches:
        columns = batch.columns
        assert len(set(columns.time_N.tolist())) == 1
        for n, time_ms in enumerate(columns.time_N.tolist()):
            first, stop = columns.item_first_N1[n], columns.item_first_N1[n + 1]
            found.append((time_ms, [hashed[int(one)] for one in columns.item_M[first:stop]]))
            start, end = columns.user_start_N1[n], columns.user_start_N1[n + 1] - 1
            user = columns.user_text[start:end].tobytes().decode()
            assert user == stream.user_ids[stream.user_N[len(found) - 1]]
    expected = sorted(((time, items) for time, _, items in events), key=lambda event: event[0])
    assert found == expected
    assert np.array_equal(stream.time_N, [time for time, _ in expected])
