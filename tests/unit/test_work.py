"""What polled records become, and what one that cannot be used does to the others."""

import logging

import numpy as np

from consumers.work import decode
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.events.items import encode_vectors
from streamer.events.model import ITEMS, VECTORS, ItemVectors, RejectReason
from streamer.ports import RecordBatch

EVENT = b'{"event_id":"e%d","type":"click","user_id":"u1","item_id":"i1","timestamp":1795485458344}'


def batch(topic, values, keys=None, partition=0):
    count = len(values)
    return RecordBatch(topic, partition, count, list(range(count)), [1_795_485_458_400] * count, keys or [None] * count, values)


def vector(item_id, width):
    raw = np.ones(width, np.float16).tobytes()
    return encode_vectors(ItemVectors(item_id=item_id, fingerprint="f", content_hash="c", text=raw))


def test_adjacent_batches_of_events_are_one_piece_and_others_keep_their_place():
    batches = [
        batch("events", [EVENT % 1]),
        batch("events", [EVENT % 2, b"{"], partition=1),
        batch(ITEMS, [b'{"item_id":"i1"}'], keys=[b"i1"]),
        batch("events", [EVENT % 3]),
    ]
    works = decode(batches, {"events": "topic-1"})
    assert [work.records for work in works] == [3, 1, 1]
    assert works[0].columns.partition_N.tolist() == [0, 1]
    (letter,) = works[0].dead
    assert (letter.reject.reason, letter.topic_id, letter.partition, letter.offset) == (
        RejectReason.INVALID_JSON,
        "topic-1",
        1,
        1,
    )


def test_rejected_events_are_counted_by_the_fold_and_rejected_documents_are_not():
    engine = Engine(Config())
    for work in decode([batch("events", [EVENT % 1, b"{"]), batch(ITEMS, [b"{"], keys=[b"i1"])], {}):
        work.apply(engine)
    counters = engine.counters()
    assert (counters["applied"]["click"], counters["rejected"]) == (1, 1)


def test_a_vector_of_another_width_is_left_out_and_the_others_go_on(caplog):
    engine = Engine(Config())
    values = [vector("i1", 8), vector("i2", 16), vector("i3", 8), None]
    (work,) = decode([batch(VECTORS, values, keys=[b"i1", b"i2", b"i3", b"i1"])], {})
    with caplog.at_level(logging.WARNING):
        work.apply(engine)
    assert engine.content.live_VE.shape == (2, 8)
    assert "i2" in caplog.text
    assert "16 dimensions" in caplog.text
