"""What was polled, decoded: events as columns, everything else as operations, in the order in which the log gave them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumers.apart import Apart, Fate, singles
from consumers.traced import Traced
from streamer.engine.columns import Columns, columns_of
from streamer.engine.engine import Engine
from streamer.engine.state import LOST, REJECTED
from streamer.events.codec import decode_events
from streamer.events.control import Control, Freeze, Rollback, Unfreeze, decode_control
from streamer.events.dead_letters import LEFT_OUT, attempts_before
from streamer.events.forget import decode_forget
from streamer.events.items import decode_item, decode_vectors
from streamer.events.model import (
    CONTROL,
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
    RejectReason,
)
from streamer.ports import RecordBatch, TopicPartition
from streamer.snapshots.rollback import SavedHead, restore_head

logger = logging.getLogger(__name__)

Operation = ItemDocument | DeletedItem | ItemVectors | Forget
OWNER_TOPICS = (EVENTS, ITEMS, VECTORS, FORGET, CONTROL)
"""What the owner folds."""


@dataclass(slots=True)
class Ordered:
    """An operator's word, when the log got it, and the dead letter that it becomes where it can't be done."""

    control: Control
    append_ms: int
    letter: DeadLetter
    saved: SavedHead | None = None
    """Of a rollback, once its snapshot is read."""


@dataclass(slots=True)
class Work:
    """Adjacent batches of one kind: ``columns`` of events, ``operations``, or an operator's word; where they came from; what was refused.

    A ``suspect`` is one record that is applied alone, as the dead letter that it becomes if the fold fails at it.
    """

    columns: Columns | None = None
    operations: list[Operation] = field(default_factory=list)
    runs: list[tuple[TopicPartition, int, int]] = field(default_factory=list)
    """(partition, records, next offset)."""
    dead: list[DeadLetter] = field(default_factory=list)
    lost: int = 0
    """Events that retention removed before these."""
    suspect: DeadLetter | None = None
    ordered: Ordered | None = None
    traced: tuple[Traced, ...] = ()
    """Events among these whose way is traced."""

    @property
    def records(self) -> int:
        """Records taken from the log."""
        return sum(count for _, count, _ in self.runs)

    def apply(self, engine: Engine) -> None:
        """Folds it."""
        engine.count(LOST, self.lost)
        engine.count(REJECTED, sum(letter.topic == EVENTS for letter in self.dead))
        if self.columns is not None:
            engine.apply(self.columns)
        for operation in self.operations:
            _apply(engine, operation)
        if self.ordered is not None:
            _obey(engine, self.ordered)

    def impossible(self, error: Exception) -> Work:
        """The same with its operator's word rejected: the fold goes on as it is."""
        assert self.ordered is not None
        reject = Reject(RejectReason.ENGINE_ERROR, f"nothing is rolled back: {error}")
        return Work(runs=self.runs, dead=[msgspec.structs.replace(self.ordered.letter, reject=reject)])

    def without_suspect(self, error: Exception) -> Work:
        """The same with its suspect convicted: what the fold applies is that it is rejected."""
        assert self.suspect is not None
        reject = Reject(RejectReason.ENGINE_ERROR, f"the fold failed at it: {type(error).__name__}: {error}")
        return Work(runs=self.runs, dead=[msgspec.structs.replace(self.suspect, reject=reject)])


def _apply(engine: Engine, operation: Operation) -> None:
    if isinstance(operation, ItemDocument):
        engine.apply_item(operation)
    elif isinstance(operation, DeletedItem):
        engine.apply_item_deleted(operation.item_id)
    elif isinstance(operation, Forget):
        engine.apply_forget(operation.user_id, operation.timestamp_ms or 0)
    else:
        _apply_vectors(engine, operation)


def _obey(engine: Engine, ordered: Ordered) -> None:
    control = ordered.control
    why = f"{control.reason or 'no reason given'} ({control.by or 'unnamed'})"
    if isinstance(control, Freeze):
        engine.freeze()
        logger.warning("learning is frozen by an operator: %s", why)
    elif isinstance(control, Unfreeze):
        engine.unfreeze()
        logger.warning("learning goes on by an operator's word: %s", why)
    elif isinstance(control, Rollback):
        assert ordered.saved is not None
        items = restore_head(engine, ordered.saved)
        logger.warning("what was learned is back at snapshot %s, of %d items: %s", control.snapshot, items, why)
    else:
        assert_never(control)


def _apply_vectors(engine: Engine, vectors: ItemVectors) -> None:
    text_E, image_E = (None if part is None else np.frombuffer(part, "<f2") for part in (vectors.text, vectors.image))
    if text_E is None and image_E is None:
        return
    try:
        engine.apply_vectors(vectors.item_id, text_E, image_E, vectors.fingerprint)
    except ValueError as error:  # another encoder's: the same at every restart, so it must not end the fold
        logger.warning("item %r is recommended without its content: %s", vectors.item_id, error)


def decode(batches: Sequence[RecordBatch], topic_ids: Mapping[str, str], apart: Apart | None = None) -> list[Work]:
    """The work of polled batches: adjacent batches of events are one piece, each other batch is one, and so are each operator's word and each suspect."""
    works: list[Work] = []
    waiting: list[RecordBatch] = []
    for batch, fate in _with_fates(batches, apart):
        if batch.topic == EVENTS and fate is Fate.TOGETHER:
            waiting.append(batch)
            continue
        if waiting:
            works.append(_decode_event_batches(waiting, topic_ids))
            waiting = []
        works.append(_decode_other(batch, fate, topic_ids))
    if waiting:
        works.append(_decode_event_batches(waiting, topic_ids))
    return works


def _with_fates(batches: Sequence[RecordBatch], apart: Apart | None) -> Iterable[tuple[RecordBatch, Fate]]:
    for batch in batches:
        for part in singles(batch) if batch.topic == CONTROL else (batch,):
            if apart is None:
                yield part, Fate.TOGETHER
            else:
                yield from apart.cut(part)


def _decode_other(batch: RecordBatch, fate: Fate, topic_ids: Mapping[str, str]) -> Work:
    if fate is Fate.LEFT_OUT:
        dead = [_dead(batch, row, LEFT_OUT, topic_ids) for row in range(len(batch.offsets))]
        return Work(runs=_runs([batch]), dead=dead)
    if batch.topic == EVENTS:
        work = _decode_event_batches([batch], topic_ids)
    elif batch.topic == CONTROL:
        work = _decode_control(batch, topic_ids)
    else:
        work = _decode_operations(batch, topic_ids)
    if fate is Fate.ALONE:
        work.suspect = _dead(batch, 0, LEFT_OUT, topic_ids)
    return work


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


def _decode_control(batch: RecordBatch, topic_ids: Mapping[str, str]) -> Work:
    work = Work(runs=_runs([batch]))
    for value, append_ms in zip(batch.values, batch.append_ms, strict=True):  # one at most
        control = decode_control(value)
        if isinstance(control, Reject):
            work.dead.append(_dead(batch, 0, control, topic_ids))
        else:
            work.ordered = Ordered(control, append_ms, _dead(batch, 0, LEFT_OUT, topic_ids))
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
        attempts=1 + attempts_before(batch.headers.get(batch.offsets[row], ())),
    )
