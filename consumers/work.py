"""What was polled, decoded: events as columns, everything else as operations, in the order in which the log gave them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.engine.columns import Columns, columns_of
from streamer.engine.engine import Engine
from streamer.engine.state import LOST, REJECTED
from streamer.events.codec import decode_events
from streamer.events.forget import decode_forget
from streamer.events.items import decode_item, decode_vectors
from streamer.events.model import (
    EVENTS,
    FORGET,
    ITEMS,
    VECTORS,
    DeadLetter,
    DeletedItem,
    Forget,
    ItemDocument,
    ItemVectors,
    Reject,
)
from streamer.ports import RecordBatch, TopicPartition

logger = logging.getLogger(__name__)

Operation = ItemDocument | DeletedItem | ItemVectors | Forget
OWNER_TOPICS = (EVENTS, ITEMS, VECTORS, FORGET)
"""What the owner folds."""


@dataclass(slots=True)
class Work:
    """Adjacent batches of one kind: ``columns`` of events, or ``operations``; the runs they came from; what was refused."""

    columns: Columns | None = None
    operations: list[Operation] = field(default_factory=list)
    runs: list[tuple[TopicPartition, int, int]] = field(default_factory=list)
    """(partition, records, next offset)."""
    dead: list[DeadLetter] = field(default_factory=list)
    lost: int = 0
    """Events that retention removed before these."""

    @property
    def records(self) -> int:
        """Records taken from the log."""
        return sum(count for _, count, _ in self.runs)

    def apply(self, engine: Engine) -> None:
        """Folds it."""
        engine.count(LOST, self.lost)
        if self.columns is not None:
            engine.count(REJECTED, len(self.dead))
            engine.apply(self.columns)
        for operation in self.operations:
            _apply(engine, operation)


def _apply(engine: Engine, operation: Operation) -> None:
    if isinstance(operation, ItemDocument):
        engine.apply_item(operation)
    elif isinstance(operation, DeletedItem):
        engine.apply_item_deleted(operation.item_id)
    elif isinstance(operation, Forget):
        engine.apply_forget(operation.user_id, operation.timestamp_ms or 0)
    elif operation.text is not None:
        _apply_vector(engine, operation.item_id, operation.text)


def _apply_vector(engine: Engine, item_id: str, text: bytes) -> None:
    try:
        engine.apply_vector(item_id, np.frombuffer(text, np.float16))
    except ValueError as error:  # another encoder's: the same at every restart, so it must not end the fold
        logger.warning("item %r is recommended without its text: %s", item_id, error)


def decode(batches: Sequence[RecordBatch], topic_ids: Mapping[str, str]) -> list[Work]:
    """The work of polled batches: adjacent batches of events are one piece, each other batch is one."""
    works: list[Work] = []
    waiting: list[RecordBatch] = []
    for batch in batches:
        if batch.topic == EVENTS:
            waiting.append(batch)
            continue
        if waiting:
            works.append(_decode_event_batches(waiting, topic_ids))
            waiting = []
        works.append(_decode_operations(batch, topic_ids))
    if waiting:
        works.append(_decode_event_batches(waiting, topic_ids))
    return works


def _runs(batches: Sequence[RecordBatch]) -> list[tuple[TopicPartition, int, int]]:
    return [(TopicPartition(batch.topic, batch.partition), len(batch.offsets), batch.next_offset) for batch in batches]


def _decode_event_batches(batches: Sequence[RecordBatch], topic_ids: Mapping[str, str]) -> Work:
    values = [value for batch in batches for value in batch.values]
    append_ms = [time for batch in batches for time in batch.append_ms]
    partitions: NDArray[np.int64] = np.repeat(
        np.array([batch.partition for batch in batches], np.int64), [len(batch.offsets) for batch in batches]
    )
    decoded = decode_events(values)
    work = Work(columns=columns_of(decoded, append_ms, partitions), runs=_runs(batches))
    if decoded.rejects:
        places = [(batch, row) for batch in batches for row in range(len(batch.offsets))]
        work.dead = [_dead(*places[at], reject, topic_ids) for at, reject in decoded.rejects]
    return work


def _decode_operations(batch: RecordBatch, topic_ids: Mapping[str, str]) -> Work:
    work = Work(runs=_runs([batch]))
    for row in range(len(batch.offsets)):
        operation = _decode_operation(batch, row)
        if isinstance(operation, Reject):
            work.dead.append(_dead(batch, row, operation, topic_ids))
        elif operation is not None:
            work.operations.append(operation)
    return work


def _decode_operation(batch: RecordBatch, row: int) -> Operation | Reject | None:
    key, value = batch.keys[row], batch.values[row]
    if batch.topic == ITEMS:
        return decode_item(key, value)
    if batch.topic == FORGET:
        request = decode_forget(key, value)
        if isinstance(request, Forget) and request.timestamp_ms is None:
            return Forget(user_id=request.user_id, timestamp_ms=batch.append_ms[row])
        return request
    return None if value is None else decode_vectors(value)


def _dead(batch: RecordBatch, row: int, reject: Reject, topic_ids: Mapping[str, str]) -> DeadLetter:
    return DeadLetter(
        reject=reject,
        topic=batch.topic,
        topic_id=topic_ids.get(batch.topic, ""),
        partition=batch.partition,
        offset=batch.offsets[row],
        key=batch.keys[row],
        value=batch.values[row],
    )
