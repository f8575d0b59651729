"""The encoder worker: reads item documents, writes their vectors back to the log.

It has a group of its own, so a slow model holds nobody up and the backlog is the lag of that group. Any number of
processes may share the work. It delivers at least once, and the last document of an item wins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from streamer.config.tree import Config
from streamer.encoders import CacheError, TextEncoder, VectorCache
from streamer.events.dead_letters import encode_dead_letter
from streamer.events.items import content_hash, decode_item, encode_vectors, text_of
from streamer.events.model import (
    DEAD,
    ITEMS,
    VECTORS,
    DeadLetter,
    DeletedItem,
    ItemDocument,
    ItemVectors,
    Reject,
    RejectReason,
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

SLICE_DOCUMENTS_FIRST = 8
SLICE_S_LOW = 0.25
SLICE_S_HIGH = 1.0
"""A slice of documents is encoded between two polls: it grows below the first time and shrinks above the second."""

PROBE = "probe"
"""A text that any encoder can encode; where it fails, the encoder is broken and not the document."""


@dataclass(slots=True)
class EncoderCounters:
    """What a worker did since it was made; each grows only. Read by metrics from other threads."""

    encoded: int = 0
    """Texts that went through the encoder."""
    cached: int = 0
    """Texts whose vectors the cache had."""
    written: int = 0
    """Vector records acknowledged by the log, of documents and of deletions."""
    rejected: int = 0
    """Records of ``items`` that are no documents."""
    failed: int = 0
    """Documents that the encoder could not encode."""
    refused: int = 0
    """Records that the log will never take."""
    cache_errors: int = 0
    encode_seconds: float = 0.0


class _Source(NamedTuple):
    """Where a record of ``items`` came from: a batch and the place in it."""

    batch: RecordBatch
    row: int


class _Entry(NamedTuple):
    """The last document of an item in a poll, None where it was deleted."""

    document: ItemDocument | None
    source: _Source


class _Text(NamedTuple):
    """A text to encode, once for all items that share its content."""

    content_hash: str
    text: str


class _LostGeneration(Exception):  # noqa: N818 - a signal between two methods, never seen outside
    """The partitions went to another member while documents were encoded."""


class EncoderWorker:
    """Writes one ``items.vectors`` record for each item document read, and a deletion for each deletion.

    Offsets are committed after the log has acknowledged the vectors, so a crash repeats work and loses none; the cache
    makes the repetition cheap. A committed offset names the topic's id and the encoder: after either has changed, the
    worker reads ``items`` from the beginning. One thread runs it; the caller closes what it hands in.
    """

    def __init__(
        self,
        log: EventLog,
        writer: LogWriter,
        encoder: TextEncoder,
        cache: VectorCache,
        config: Config,
        *,
        admin: LogAdmin,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = EncoderCounters()
        self.positions: dict[TopicPartition, int] = {}
        """Next offsets under the present generation, as far as committed; compare with the end offsets for the lag."""
        self._log = log
        self._writer = writer
        self._encoder = encoder
        self._cache = cache
        self._admin = admin
        self._clock = clock
        self._slice_max = config.encoder.batch_items_max
        self._slice = min(SLICE_DOCUMENTS_FIRST, self._slice_max)
        self._generation: int | None = None
        self._topic_id = ""
        self._failures: list[Exception] = []

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set, waiting out a log that is away or lacks topics.

        Raises:
            LogError: the log refused in a way that does not pass.
        """
        backoff_s = BACKOFF_S_MIN
        while not stop.is_set():
            try:
                self.step(POLL_MS)
                backoff_s = BACKOFF_S_MIN
            except LogError as error:
                if not error.retriable:
                    raise
                logger.warning("encoder worker waits %.1f s and reads again from the committed offsets: %s", backoff_s, error)
                self._generation = None
                stop.wait(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)

    def step(self, timeout_ms: int) -> int:
        """One poll with all that follows from it; returns the number of ``items`` records finished.

        Raises:
            LogError: ``retriable`` ones leave the offsets where they were; the next step reads from there.
        """
        try:
            polled = self._log.poll(timeout_ms)
            if polled.generation != self._generation:
                self._start(polled.generation)
                return 0  # positions were just set, whatever this poll brought is read again
            if polled.batches:
                self._apply(polled.batches)
            return sum(len(batch.offsets) for batch in polled.batches)
        except OffsetGapError as gap:
            logger.warning("encoder worker takes up its partitions again, records were removed before it read them: %s", gap)
            self._generation = None
        except (FencedError, _LostGeneration) as lost:
            logger.warning("encoder worker lost its partitions, another member does the rest: %s", lost)
            self._generation = None
        except LogError:
            self._generation = None
            raise
        return 0

    def _start(self, generation: int | None) -> None:
        """Takes up the partitions of a new generation where the group has committed, or at the beginning."""
        self._generation = None  # until the seek has succeeded
        self.positions = {}
        if generation is None:
            logger.info("encoder worker has no partitions and stands by")
            return
        topic = self._admin.topics().get(ITEMS)
        if topic is None:
            message = f"the topic {ITEMS!r} was removed: run `streamer topics create`"
            raise TopicsMissingError(message)
        self._topic_id = topic.topic_id
        committed = self._log.committed()
        positions = {
            where: self._first_offset(where, committed.get(where), bounds)
            for where, bounds in self._admin.bounds().items()
            if where.topic == ITEMS
        }
        self._log.seek(positions)
        self._generation = generation
        logger.info("encoder worker reads under generation %d from %s", generation, positions)

    def _first_offset(self, where: TopicPartition, committed: Committed | None, bounds: tuple[int, int]) -> int:
        beginning, end = bounds
        if committed is None:
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
        return f"encoder/1 {self._topic_id} {self._encoder.fingerprint}"

    def _apply(self, batches: Sequence[RecordBatch]) -> None:
        """1. Keep the last document of each item. 2. Send vectors: cached ones, then encoded ones. 3. Flush. 4. Commit."""
        entries = self._latest(batches)
        self._send_vectors(entries)
        self._flush()
        positions = {TopicPartition(batch.topic, batch.partition): batch.next_offset for batch in batches}
        self._log.commit(positions, self._metadata())
        self.positions.update(positions)

    def _latest(self, batches: Sequence[RecordBatch]) -> dict[str, _Entry]:
        """The last document or deletion of each item; what is neither goes to the dead letters."""
        entries: dict[str, _Entry] = {}
        rejected = self.counters.rejected
        for batch in batches:
            for row, (key, value) in enumerate(zip(batch.keys, batch.values, strict=True)):
                item = decode_item(key, value)
                if isinstance(item, Reject):
                    self.counters.rejected += 1
                    self._send_dead(item, _Source(batch, row))
                else:
                    document = None if isinstance(item, DeletedItem) else item
                    entries[item.item_id] = _Entry(document, _Source(batch, row))
        if self.counters.rejected > rejected:
            logger.warning("%d records of %s are no item documents: see %s", self.counters.rejected - rejected, ITEMS, DEAD)
        return entries

    def _send_vectors(self, entries: dict[str, _Entry]) -> None:
        waiting: dict[str, list[_Entry]] = {}
        texts: dict[str, str] = {}
        for item_id, entry in entries.items():
            if entry.document is None:
                self._send(OutRecord(VECTORS, item_id.encode(), None))
                continue
            content, text = content_hash(entry.document), text_of(entry.document)
            if not text.strip():
                self._send_vector(entry.document, content, None)
                continue
            waiting.setdefault(content, []).append(entry)
            texts[content] = text
        for content, vector in self._vectors(texts, waiting):
            for entry in waiting[content]:
                assert entry.document is not None  # only documents wait
                self._send_vector(entry.document, content, vector)

    def _vectors(self, texts: dict[str, str], waiting: dict[str, list[_Entry]]) -> Iterator[tuple[str, bytes]]:
        """Pairs of content hash and vector: first those in the cache, then the others as they are encoded."""
        known = self._cached(list(texts))
        self.counters.cached += len(known)
        yield from known.items()
        unknown = sorted((_Text(content, text) for content, text in texts.items() if content not in known), key=_length)
        while unknown:
            now, unknown = unknown[: self._slice], unknown[self._slice :]
            vectors, guilty = self._encode(now)
            self._keep(vectors)
            yield from vectors.items()
            for content, error in guilty.items():
                self._send_failed(waiting[content], error)
            if unknown:
                self._keep_membership()

    def _encode(self, texts: Sequence[_Text]) -> tuple[dict[str, bytes], dict[str, Exception]]:
        """Vectors of a slice, and the texts that no encoder call could take; raises where the encoder itself is broken."""
        started_s = self._clock()
        try:
            rows = self._encoder.encode([text.text for text in texts])
            if not np.isfinite(rows).all():
                message = "it gave numbers that are not finite"
                raise ValueError(message)  # noqa: TRY301 - handled as any other failure of the model
            vectors = {text.content_hash: row.astype("<f2").tobytes() for text, row in zip(texts, rows, strict=True)}
        except Exception as error:  # noqa: BLE001 - a model raises what it likes
            if len(texts) > 1:
                return self._encode_singly(texts)
            self._encoder.encode([PROBE])
            return {}, {texts[0].content_hash: error}
        self.counters.encoded += len(vectors)
        self._pace(self._clock() - started_s)
        return vectors, {}

    def _encode_singly(self, texts: Sequence[_Text]) -> tuple[dict[str, bytes], dict[str, Exception]]:
        vectors: dict[str, bytes] = {}
        guilty: dict[str, Exception] = {}
        for text in texts:
            good, bad = self._encode([text])
            vectors.update(good)
            guilty.update(bad)
        return vectors, guilty

    def _pace(self, took_s: float) -> None:
        """Keeps the time between two polls short on any machine and for any model."""
        self.counters.encode_seconds += took_s
        if took_s > SLICE_S_HIGH:
            self._slice = max(1, self._slice // 2)
        elif took_s < SLICE_S_LOW:
            self._slice = min(2 * self._slice, self._slice_max)

    def _keep_membership(self) -> None:
        if self._log.poll(0, paused=True).generation != self._generation:
            message = f"generation {self._generation} ended while documents were encoded"
            raise _LostGeneration(message)

    def _cached(self, hashes: Sequence[str]) -> dict[str, bytes]:
        try:
            return self._cache.get_many(self._encoder.fingerprint, hashes)
        except CacheError as error:
            self._note_cache_error(error)
            return {}

    def _keep(self, vectors: dict[str, bytes]) -> None:
        try:
            self._cache.put_many(self._encoder.fingerprint, vectors)
        except CacheError as error:
            self._note_cache_error(error)

    def _note_cache_error(self, error: CacheError) -> None:
        """The cache saves time and holds nothing else: work goes on without it."""
        self.counters.cache_errors += 1
        logger.warning("encoder worker goes on without its cache: %s", error)

    def _send_vector(self, document: ItemDocument, content: str, text: bytes | None) -> None:
        vectors = ItemVectors(item_id=document.item_id, fingerprint=self._encoder.fingerprint, content_hash=content, text=text)
        self._send(OutRecord(VECTORS, document.item_id.encode(), encode_vectors(vectors)))

    def _send_failed(self, entries: Sequence[_Entry], error: Exception) -> None:
        """Documents that break the encoder: their items keep the vectors they had."""
        for entry in entries:
            self.counters.failed += 1
            found = f"the text encoder failed: {type(error).__name__}: {error}"
            self._send_dead(Reject(RejectReason.ENGINE_ERROR, found), entry.source)

    def _send_dead(self, reject: Reject, source: _Source) -> None:
        batch, row = source
        where = (batch.topic, batch.partition, batch.offsets[row])
        logger.debug("rejected %s: %s: %s", where, reject.reason, reject.error)
        letter = DeadLetter(reject, batch.topic, self._topic_id, *where[1:], batch.keys[row], batch.values[row])
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


def _length(text: _Text) -> int:
    return len(text.text)
