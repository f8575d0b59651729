"""Appending records to Apache Kafka, so that each is acknowledged or refused with its reason, never lost in silence."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RetriableError,
    UnknownTopicOrPartitionError,
)

from producers.callbacks import Callbacks
from producers.kafka_client import explained, missing_topics, open_client
from producers.resend import GIVE_UP_S, Pending, Resend, close_producer, closed_before
from producers.tracing import injector
from streamer.config.tree import Config
from streamer.events.pseudonyms import pseudonyms_of
from streamer.ports import Acknowledge, BufferFullError, LogError, OutRecord
from streamer.ports.pseudonymous import pseudonymous

log = logging.getLogger(__name__)

LINGER_MS = 5
BATCH_BYTES = 131_072
RECORD_BYTES_MAX = 1_048_576
"""A larger record is refused before it is sent; the broker's own limit (message.max.bytes) may be lower."""
DELIVERY_TIMEOUT_S = 120.0
"""How long a broker that is away is waited for before a record is refused."""
METADATA_TIMEOUT_MS = 2_000
"""How long the first record of a topic waits for the topic to be known."""
NEWS_RECORDS = 64
"""Who waits is woken once in so many records, and when none is left."""
LOOK_S = 0.05
CLOSE_TIMEOUT_S = 130.0
GRACE_S = 10.0
"""For a connection to close once nothing is left to be sent."""
EXIT_FLUSH_S = 10.0
"""How long an interpreter that ends waits for writers that nobody closed."""


class KafkaWriter:
    """LogWriter on Apache Kafka: acks=all, idempotent, in order per key, timestamps left to the log.

    At least once: a record that was in flight when the producer failed may be on the log twice. While
    ``kafka.buffer_records_max`` records wait, ``send`` blocks. Callbacks run one after the other on a thread of their own; they may
    send (which never blocks there on a full buffer), but neither flush nor close. Thread-safe, and safe to use after a fork: a
    child process starts with nothing pending and a connection of its own, and what the parent had buffered stays the parent's.
    An interpreter that ends flushes for at most ``EXIT_FLUSH_S`` what a writer that nobody closed still holds, and says so.
    Closing flushes for at most ``close_timeout_s``, ``CLOSE_TIMEOUT_S`` unless given.
    """

    def __init__(self, config: Config, *, close_timeout_s: float | None = None) -> None:
        self._close_timeout_s = close_timeout_s
        self._trace_headers = injector(config.tracing)
        self._kafka = config.kafka
        self._pseudonyms = pseudonyms_of(config.privacy.user_key, config.privacy.user_key_id)
        self._producer: Any = None
        self._reset()
        _WRITERS.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        """Buffers one record; blocks while the buffer is full or a failed producer is being replaced, at most ``timeout_s``.

        Raises:
            TopicsMissingError: the topic does not exist.
            LogError: the buffer was full for ``timeout_s``, no broker answered yet (both retriable), the writer is closed, or the
                record has neither key nor value. The record was not taken, and ``on_done`` is not called.
            InvalidEventError: users are pseudonyms (``privacy.user_key``), and the record's can't be put in place of its user.
        """
        if record.key is None and record.value is None:
            raise LogError(f"a record for {record.topic} has neither key nor value; expected at least one", retriable=False)
        if self._trace_headers is not None:
            record = dataclasses.replace(record, headers=(*record.headers, *self._trace_headers()))
        if self._pseudonyms is not None:
            record, on_done = pseudonymous(self._pseudonyms, record, on_done)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if len(self._pending) >= self._kafka.buffer_records_max and not self._callbacks.here:
            self._wait_for_room(timeout_s)
        left_s = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._order.acquire(timeout=left_s):
            raise LogError(
                f"a failed connection to Kafka at {self._kafka.bootstrap_servers} was still being replaced after {timeout_s:g} s; "
                "send the record again",
                retriable=True,
            )
        try:
            producer = self._connected()
            if record.topic not in self._topics:
                self._require_topic(producer, record.topic)
            self._buffer(producer, record, on_done)
        finally:
            self._order.release()

    def flush(self, timeout_s: float) -> None:
        """Waits until every record sent before is acknowledged or refused; raises LogError (retriable) after ``timeout_s``."""
        if self._callbacks.here:
            raise LogError("flush and close would wait for the callback that calls them; call them elsewhere", retriable=False)
        sent = self._next
        # one C call each, so that other threads may come between the records but not between looking and finding
        if not self._wait(lambda: all(sequence >= sent for sequence in list(self._pending)[:1]), timeout_s):
            raise LogError(
                f"{len(self._pending)} records are neither acknowledged nor refused by Kafka at "
                f"{self._kafka.bootstrap_servers} after {timeout_s:g} s; they stay buffered, flush again",
                retriable=True,
            )

    def close(self) -> None:
        """Flushes and closes the connection; raises LogError where records were left over, which then are refused."""
        self._close(CLOSE_TIMEOUT_S if self._close_timeout_s is None else self._close_timeout_s)

    def _close(self, timeout_s: float) -> None:
        try:
            self.flush(timeout_s)
        finally:
            if not self._callbacks.here:
                self._closed = True
                with self._order:
                    producer, self._producer = self._producer, None
                    if producer is not None:
                        close_producer(producer, GIVE_UP_S if self._pending else GRACE_S)
                    self._refuse_failed()
                self._callbacks.close()

    def _refuse_failed(self) -> None:
        """What failed and was not sent again yet will not be."""
        for one in self._take_failed():
            self._refuse(one, closed_before())

    def _close_at_exit(self) -> None:
        left = len(self._pending)
        if self._closed or not left:
            return
        log.warning(
            "a writer was never closed and still holds %d records; waiting for them for %g s at most", left, EXIT_FLUSH_S
        )
        try:
            self._close(EXIT_FLUSH_S)
        except LogError as error:
            log.error("records are lost as this process ends: %s", error)  # noqa: TRY400 - the message says it all

    def _reset(self) -> None:
        self._order = threading.RLock()
        self._idle = threading.Condition()
        self._callbacks = Callbacks(self._forget)
        self._topics: set[str] = set()
        self._pending: dict[int, Pending] = {}
        self._failed: list[Pending] = []
        self._recovering = False
        self._waiting = 0
        self._next = 0
        self._closed = False

    def _begin_anew(self) -> None:
        """In a forked child: the parent's producer has no thread here, and its locks may be held by threads that are not here."""
        producer, self._producer = self._producer, None
        if producer is not None:
            # Not let go of, which would close sockets that the parent uses; and closed in name, so that neither its exit hook
            # nor its finalizer tries to send what the parent sends.
            producer._closed = True  # noqa: SLF001
            _INHERITED.append(producer)
        self._reset()

    def _connected(self) -> Any:
        if self._closed:
            raise LogError("this writer is closed; make a new one", retriable=False)
        if self._producer is None:
            self._producer = self._connect()
            self._topics.clear()  # this one does not know them, and would wait for them while it takes a record
            # hooks run last in, first out: ours comes before that of the client, which waits for a second and says nothing
            atexit.unregister(_close_all_at_exit)
            atexit.register(_close_all_at_exit)
        return self._producer

    def _connect(self) -> Any:
        return open_client(
            KafkaProducer,
            self._kafka,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_request_size=RECORD_BYTES_MAX,
            max_block_ms=METADATA_TIMEOUT_MS,
            delivery_timeout_ms=int(DELIVERY_TIMEOUT_S * 1000),
            allow_auto_create_topics=False,
        )

    def _require_topic(self, producer: Any, topic: str) -> None:
        name = self._kafka.topic_prefix + topic
        try:
            producer.partitions_for(name)
        except KafkaTimeoutError as error:
            with open_client(KafkaAdminClient, self._kafka) as admin:
                [described] = admin.describe_topics([name])
            if described["error_code"] == UnknownTopicOrPartitionError.errno:
                raise missing_topics(self._kafka, [name]) from error
            raise explained(self._kafka, error) from error
        except KafkaError as error:
            raise explained(self._kafka, error) from error
        self._topics.add(topic)

    def _buffer(self, producer: Any, record: OutRecord, on_done: Acknowledge | None) -> None:
        one = Pending(self._next, record, on_done)
        self._next += 1
        self._pending[one.sequence] = one
        try:
            future = self._append(producer, record)
        except (KafkaError, ValueError) as error:
            self._refuse(one, error)
        else:
            future.add_both(self._settle, one)

    def _append(self, producer: Any, record: OutRecord) -> Any:
        topic = self._kafka.topic_prefix + record.topic
        return producer.send(
            topic, value=record.value, key=record.key, headers=list(record.headers), partition=record.partition
        )

    def _settle(self, one: Pending, outcome: Any) -> None:
        """Runs on the producer's thread, once a record."""
        if not isinstance(outcome, Exception):
            self._acknowledge(one)
        elif self._closed or isinstance(outcome, RetriableError):  # the client's own retries ended: its time was up
            self._refuse(one, outcome)
        else:
            with self._idle:
                self._failed.append(one)
                start, self._recovering = not self._recovering, True
            if start:
                log.warning("a producer failed (%s); replacing it, and sending what it held again", outcome)
                threading.Thread(target=self._recover, name="streamer-sender-recovery", daemon=True).start()

    def _recover(self) -> None:
        """Replaces the failed producer while nobody sends; runs until no failed record is left."""
        with self._order:
            producer, self._producer = self._producer, None
            if producer is not None:
                close_producer(producer)
            if self._closed:
                self._refuse_failed()
            while suspects := self._take_failed():
                resend = Resend(
                    self._connect,
                    self._require_topic,
                    self._append,
                    self._acknowledge,
                    self._refuse,
                    give_up_s=DELIVERY_TIMEOUT_S,
                    closing=lambda: self._closed,
                )
                resend.run(suspects)
                if self._producer is not None:
                    close_producer(self._producer)
                self._producer = resend.producer

    def _take_failed(self) -> list[Pending]:
        with self._idle:
            suspects, self._failed = sorted(self._failed, key=lambda one: one.sequence), []
            self._recovering = bool(suspects)
        return suspects

    def _acknowledge(self, one: Pending) -> None:
        self._callbacks.tell(one, None)

    def _refuse(self, one: Pending, error: Exception) -> None:
        self._callbacks.tell(one, error if isinstance(error, LogError) else self._reason(one.record, error))

    def _forget(self, one: Pending) -> None:
        del self._pending[one.sequence]
        if self._waiting and len(self._pending) % NEWS_RECORDS == 0:
            with self._idle:
                self._idle.notify_all()

    def _wait_for_room(self, timeout_s: float | None) -> None:
        if not self._wait(lambda: len(self._pending) < self._kafka.buffer_records_max, timeout_s):
            raise BufferFullError(
                f"the buffer of {self._kafka.buffer_records_max} records (kafka.buffer_records_max) was full for {timeout_s:g} s: "
                f"Kafka at {self._kafka.bootstrap_servers} is away or slower than what is sent; send the record again later"
            )

    def _wait(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Whether the condition came to hold within the time."""
        with self._idle:
            self._waiting += 1
            try:
                deadline = None if timeout_s is None else time.monotonic() + timeout_s
                while not condition():
                    left_s = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
                    if left_s <= 0:
                        return False
                    # looked at again after a while, since news of every single record would cost more than sending it
                    self._idle.wait(left_s)
            finally:
                self._waiting -= 1
        return True

    def _reason(self, record: OutRecord, error: Exception) -> LogError:
        name = self._kafka.topic_prefix + record.topic
        size = len(record.key or b"") + len(record.value or b"") + sum(len(key) + len(value) for key, value in record.headers)
        what = f"record for {name} with key {record.key!r} ({size} bytes)"
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return LogError(
                f"{what} is too large: at most {RECORD_BYTES_MAX} bytes are sent, and the topic's max.message.bytes may be lower; "
                "make the record smaller or raise the topic's limit",
                retriable=False,
            )
        if isinstance(error, KafkaTimeoutError):
            return LogError(
                f"{what} was not acknowledged in {DELIVERY_TIMEOUT_S:.0f} s: {error}; send it again", retriable=True
            )
        if isinstance(error, AuthorizationError):
            return LogError(
                f"{what} is not allowed: {error}; check the ACLs of user {self._kafka.sasl_username!r}", retriable=False
            )
        return LogError(f"{what} was refused: {error}", retriable=isinstance(error, RetriableError))


_WRITERS: weakref.WeakSet[KafkaWriter] = weakref.WeakSet()
"""Of this process."""
_INHERITED: list[Any] = []
"""Producers of a parent process."""


def _close_all_at_exit() -> None:
    for writer in list(_WRITERS):
        writer._close_at_exit()  # noqa: SLF001


def _begin_all_anew() -> None:
    for writer in list(_WRITERS):
        writer._begin_anew()  # noqa: SLF001


os.register_at_fork(after_in_child=_begin_all_anew)
