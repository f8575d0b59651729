"""The encoder worker: reads item documents, writes their vectors back to the log.

It has a group of its own, so a slow model holds nobody up and the backlog is the lag of that group. Any number of
processes may share the work. It delivers at least once, and the last document of an item wins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple

from consumers.document_vectors import DocumentVectors, Made
from consumers.lag import LagWatch
from streamer.events.dead_letters import attempts_before, encode_dead_letter
from streamer.events.items import content_hash, decode_item, encode_vectors
from streamer.events.model import (
    DEAD,
    ITEMS,
    VECTORS,
    DeadLetter,
    DeletedItem,
    ItemDocument,
    ItemVectors,
    Reject,
)
from streamer.ports import (
    Committed,
    EventLog,
    FencedError,
    LogAdmin,
    LogError,
    LogWriter,
    OffsetGapError,
    OutRecord,
    RecordBatch,
    TopicPartition,
    TopicsMissingError,
)

logger = logging.getLogger(__name__)

POLL_MS = 500
FLUSH_TIMEOUT_S = 30.0
BACKOFF_S_MIN = 0.2
BACKOFF_S_MAX = 5.0
"""Below the group's poll interval: waiting must not cost the membership."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Source(NamedTuple):
    """Where a record of ``items`` came from: a batch and the place in it."""

    batch: RecordBatch
    row: int


class _Entry(NamedTuple):
    """The last document of an item in a poll, None where it was deleted."""

    document: ItemDocument | None
    source: _Source


class _LostGeneration(Exception):  # noqa: N818 - a signal between two methods, never seen outside
    """The partitions went to another member while documents were encoded."""


class _Stopped(Exception):  # noqa: N818 - as above
    """The worker was told to stop while documents were encoded."""


class EncoderWorker:
    """Writes one ``items.vectors`` record for each item document read, and a deletion for each deletion.

    An image that cannot be used is a dead letter; the item's record is written without it.

    Offsets are committed after the log has acknowledged the vectors, so a crash repeats work and loses none; the cache
    makes the repetition cheap. A committed offset names the topic's id and the encoder: after either has changed, the
    worker reads ``items`` from the beginning. One thread runs it; the caller closes what it hands in.
    """

    def __init__(
        self,
        log: EventLog,
        writer: LogWriter,
        vectors: DocumentVectors,
        *,
        admin: LogAdmin,
        pool: Executor | None = None,
        reencode: bool = False,
    ) -> None:
        """``reencode``: every partition is read from its beginning once, whatever is committed."""
        self.counters = vectors.counters
        self.positions: dict[TopicPartition, int] = {}
        """Next offsets under the present generation, as far as committed; compare with the end offsets for the lag."""
        self._began_at: dict[TopicPartition, int] = {}
        """Next offsets at the beginning of this generation."""
        self._log = log
        self._writer = writer
        self._fingerprint = vectors.fingerprint
        self._vectors = vectors
        self._admin = admin
        self._lag = LagWatch(admin, _now_ms, self.counters.backlog, pool) if pool else None
        """``pool`` is where the log is asked for its ends; without one the backlog is not known."""
        self._stop = threading.Event()
        self._generation: int | None = None
        self._astray = True
        """Whether the log stands elsewhere than at the committed offsets, and must be sought back to them."""
        self._reencode = reencode
        self._done_anew: set[TopicPartition] = set()
        self._topic_id = ""
        self._failures: list[Exception] = []

    @property
    def generation(self) -> int | None:
        """The generation under which this member has partitions; None while it stands by."""
        return self._generation

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set, waiting out a log that is away or lacks topics.

        Raises:
            LogError: the log refused in a way that does not pass.
        """
        self._stop = stop
        backoff_s = BACKOFF_S_MIN
        while not stop.is_set():
            try:
                self.step(POLL_MS)
                backoff_s = BACKOFF_S_MIN
            except LogError as error:
                if not error.retriable:
                    raise
                logger.warning("encoder worker waits %.1f s and reads again from the committed offsets: %s", backoff_s, error)
                stop.wait(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)

    def step(self, timeout_ms: int) -> int:
        """One poll with all that follows from it; returns the number of ``items`` records finished.

        Raises:
            LogError: ``retriable`` ones leave the offsets where they were; the next step reads from there.
        """
        try:
            if self._generation is not None and self._astray:
                self._take_up(self._generation)
            polled = self._log.poll(timeout_ms)
            if polled.generation != self._generation:
                self._change_generation(polled.generation)
                return 0  # whatever this poll brought is read again
            if polled.batches:
                self._apply(polled.batches)
            self._look_at_lag()
            return sum(len(batch.offsets) for batch in polled.batches)
        except OffsetGapError as gap:
            self._astray = True
            logger.warning("encoder worker goes on where the log begins, records were removed before it read them: %s", gap)
        except (FencedError, _LostGeneration) as lost:
            self._generation = None
            logger.warning("encoder worker lost its partitions, another member does the rest: %s", lost)
        except _Stopped:
            logger.info("encoder worker stops before the end of a poll; the cache keeps what it encoded")
        return 0

    def _change_generation(self, generation: int | None) -> None:
        self._generation, self._astray = generation, True
        self.positions, self._began_at, self.counters.backlog.lag = {}, {}, {}
        if generation is None:
            logger.info("encoder worker has no partitions and stands by")
        else:
            self._take_up(generation)

    def _take_up(self, generation: int) -> None:
        """Seeks to where the group has committed, or to the beginning."""
        topic = self._admin.topics([ITEMS]).get(ITEMS)
        if topic is None:
            message = f"the topic {ITEMS!r} was removed: run `streamer topics create`"
            raise TopicsMissingError(message)
        self._topic_id = topic.topic_id
        committed = self._log.committed()
        positions = {
            where: self._first_offset(where, committed.get(where), bounds)
            for where, bounds in self._admin.bounds([ITEMS]).items()
        }
        self._log.seek(positions)
        self._astray = False
        self._began_at = dict(positions)
        if not self.counters.backlog.append_ms:
            self.counters.backlog.append_ms = _now_ms()
        logger.info("encoder worker reads under generation %d from %s", generation, positions)

    def _first_offset(self, where: TopicPartition, committed: Committed | None, bounds: tuple[int, int]) -> int:
        beginning, end = bounds
        if committed is None or (self._reencode and where not in self._done_anew):
            return beginning
        if committed.metadata != self._metadata():
            logger.warning(
                "%s is encoded from its beginning: its commit says %r, not %r", where, committed.metadata, self._metadata()
            )
            return beginning
        if not beginning <= committed.next_offset <= end:
            logger.warning("%s is encoded from its beginning: offset %d is outside %s", where, committed.next_offset, bounds)
            return beginning
        return committed.next_offset

    def _metadata(self) -> str:
        return f"encoder/1 {self._topic_id} {self._fingerprint}"

    def _apply(self, batches: Sequence[RecordBatch]) -> None:
        """1. Keep the last document of each item. 2. Send vectors: cached ones, then encoded ones. 3. Flush. 4. Commit."""
        self._astray = True  # until the commit: whatever ends this method early, the records are read again
        entries = self._latest(batches)
        self._send_vectors(entries)
        self._flush()
        positions = {TopicPartition(batch.topic, batch.partition): batch.next_offset for batch in batches}
        self._log.commit(positions, self._metadata())
        self._astray = False
        self._done_anew.update(positions)
        self.positions.update(positions)
        self.counters.backlog.append_ms = max(batch.append_ms[-1] for batch in batches)

    def _latest(self, batches: Sequence[RecordBatch]) -> dict[str, _Entry]:
        """The last document or deletion of each item; what is neither is counted: the owner, who reads it too, buries it."""
        entries: dict[str, _Entry] = {}
        rejected = self.counters.rejected
        for batch in batches:
            for row, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
                item = decode_item(key, value)
                if isinstance(item, Reject):
                    self.counters.rejected += 1
                else:
                    document = None if isinstance(item, DeletedItem) else item
                    entries[item.item_id] = _Entry(document, _Source(batch, row))
        if self.counters.rejected > rejected:
            logger.warning("%d records of %s are no item documents: see %s", self.counters.rejected - rejected, ITEMS, DEAD)
        return entries

    def _send_vectors(self, entries: dict[str, _Entry]) -> None:
        for item_id, entry in entries.items():
            if entry.document is None:
                self._send(OutRecord(VECTORS, item_id.encode(), None))
        there = [entry for entry in entries.values() if entry.document is not None]
        documents = [entry.document for entry in there if entry.document is not None]
        for place, made in self._vectors.made(documents, self._between_slices):
            for reject in made.rejects:
                self._send_dead(reject, there[place].source)
            if not made.failed:  # else the item keeps the vectors that it had
                self._send_made(documents[place], made)

    def _look_at_lag(self) -> None:
        if self._lag is not None and self._began_at:
            self._lag.look(self._began_at | self.positions)

    def _between_slices(self) -> None:
        """Keeps the membership, and ends work that nobody waits for any more."""
        self._look_at_lag()
        if self._stop.is_set():
            raise _Stopped
        if self._log.poll(0, paused=True).generation != self._generation:
            message = f"generation {self._generation} ended while documents were encoded"
            raise _LostGeneration(message)

    def _send_made(self, document: ItemDocument, made: Made) -> None:
        vectors = ItemVectors(
            item_id=document.item_id,
            fingerprint=self._fingerprint,
            content_hash=content_hash(document),
            text=made.text,
            image=made.image,
        )
        self._send(OutRecord(VECTORS, document.item_id.encode(), encode_vectors(vectors)))

    def _send_dead(self, reject: Reject, source: _Source) -> None:
        batch, row = source
        where = (batch.topic, batch.partition, batch.offsets[row])
        logger.debug("rejected %s: %s: %s", where, reject.reason, reject.error)
        attempts = 1 + attempts_before(batch.headers.get(batch.offsets[row], ()))
        letter = DeadLetter(reject, batch.topic, self._topic_id, *where[1:], batch.keys[row], batch.values[row], attempts)
        value, headers = encode_dead_letter(letter)
        self._send(OutRecord(DEAD, letter.key, value, headers))

    def _send(self, record: OutRecord) -> None:
        self._writer.send(record, self._acknowledged)

    def _acknowledged(self, record: OutRecord, error: Exception | None) -> None:
        """Runs on the writer's thread."""
        if error is not None:
            self._failures.append(error)
            logger.warning("the log did not take the record %r of %s: %s", record.key, record.topic, error)
        elif record.topic == VECTORS:
            self.counters.written += 1

    def _flush(self) -> None:
        """Waits for the log; a record that it will never take is counted and given up, any other failure is tried again."""
        self._writer.flush(FLUSH_TIMEOUT_S)
        failures, self._failures = self._failures, []
        hopeless = [error for error in failures if isinstance(error, LogError) and not error.retriable]
        self.counters.refused += len(hopeless)
        if len(failures) > len(hopeless):
            message = f"{len(failures) - len(hopeless)} records were not acknowledged, the first because: {failures[0]}"
            raise LogError(message, retriable=True)
