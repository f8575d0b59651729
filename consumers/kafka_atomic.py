"""Appending groups of records to Apache Kafka, each whole or not at all: the AtomicWriter port, by transactions."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kafka import KafkaProducer
from kafka.errors import IllegalStateError, InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError

from producers.kafka_client import explained, open_client
from producers.sender import BATCH_BYTES, METADATA_TIMEOUT_MS, RECORD_BYTES_MAX
from streamer.config.tree import Config
from streamer.ports import FencedError, LogError, OutRecord

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_MS = 30_000
TRANSACTION_TIMEOUT_MS = 10_000
"""After a death in the middle of a transaction, readers of its partitions wait for the next ``open``, or for this time and the
broker's own look (every 10 s)."""
APPEND_TIMEOUT_S = 8.0
"""Of a group, before its transaction is ended: below the broker's own limit, so that a slow broker is told from a second writer."""
END_TIMEOUT_S = 30.0


class KafkaAtomicWriter:
    """One transaction a group, under the transactional id ``name``: a later one fences an earlier one.

    Readers of committed records (all of ours) see a group once its transaction is committed.
    """

    def __init__(self, config: Config, name: str) -> None:
        self._kafka = config.kafka
        self._name = name
        self._producer: Any = None

    def open(self) -> None:
        """Fences earlier ones, and waits until the broker has ended what they had begun. Raises LogError."""
        self._give_up()
        self._producer = open_client(
            KafkaProducer,
            self._kafka,
            transactional_id=self._name,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            batch_size=BATCH_BYTES,
            max_request_size=RECORD_BYTES_MAX,
            max_block_ms=max(METADATA_TIMEOUT_MS, OPEN_TIMEOUT_MS),
            delivery_timeout_ms=int(END_TIMEOUT_S * 1_000),
            allow_auto_create_topics=False,
        )
        try:
            self._producer.init_transactions()
        except KafkaError as error:
            self._give_up()
            raise LogError(
                f"no transactions under the id {self._name}: {type(error).__name__}: {error}; the broker needs its topic "
                "__transaction_state (transaction.state.log.replication.factor), and the user the right to write to this id",
                retriable=isinstance(error, KafkaTimeoutError),
            ) from error

    def append(self, records: Sequence[OutRecord]) -> None:
        """One transaction. It never takes over by itself: between two ``open`` another one may have appended."""
        if self._producer is None:
            raise FencedError(f"{self._name} was not opened, is closed, or was given up after an error: open it again")
        producer = self._producer
        try:
            producer.begin_transaction()
            deadline_s = time.monotonic() + APPEND_TIMEOUT_S
            sent = [self._sent(producer, record) for record in records]
            for future in sent:
                future.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except (KafkaError, ValueError, AssertionError) as error:
            self._abort(producer, error)
        except BaseException:  # an interrupt: readers would wait for what is open until the broker ends it
            with contextlib.suppress(LogError):
                self._end(producer, producer._transaction_manager.begin_abort)  # noqa: SLF001 - as below
            raise
        self._end(producer, producer._transaction_manager.begin_commit)  # noqa: SLF001 - the public call waits without end

    def close(self) -> None:
        """Closes the connection."""
        self._give_up()

    def _sent(self, producer: Any, record: OutRecord) -> Any:
        topic, headers = self._kafka.topic_prefix + record.topic, list(record.headers)
        return producer.send(topic, value=record.value, key=record.key, headers=headers, partition=record.partition)

    def _abort(self, producer: Any, error: Exception) -> NoReturn:
        """None of the records is on the log when this raises."""
        if _of_another(error):
            self._taken_over(error)
        why = self._explained(error)
        try:
            self._end(producer, producer._transaction_manager.begin_abort)  # noqa: SLF001 - as above
        except FencedError:
            raise
        except LogError:  # after what a broker refuses this client can't abort: the next ``open`` does
            raise LogError(f"a group was given up, and is not on the log: {why}", retriable=True) from error
        raise why from error

    def _end(self, producer: Any, begin: Callable[[], Any]) -> None:
        """Commits or aborts. Raises LogError (retriable) where it is not known whether that was done."""
        try:
            result = begin()
            producer._sender.wakeup()  # noqa: SLF001
            done = result.wait(timeout_ms=int(END_TIMEOUT_S * 1_000))
        except KafkaError as error:
            if _of_another(error):
                self._taken_over(error)
            self._give_up()
            raise LogError(f"it is not known how a transaction ended, try again: {error}", retriable=True) from error
        if not done:
            self._give_up()
            raise LogError(f"Kafka did not end a transaction within {END_TIMEOUT_S:.0f} s, try again", retriable=True)

    def _taken_over(self, error: Exception) -> NoReturn:
        self._give_up()
        raise FencedError(f"another process took over as {self._name}; what this one had committed stands") from error

    def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError):
                producer.close(timeout=1.0)

    def _explained(self, error: Exception) -> LogError:
        if isinstance(error, KafkaError):
            return explained(self._kafka, error)
        return LogError(f"Kafka's client refuses a record: {error}", retriable=False)


def _of_another(error: Exception) -> bool:
    fenced = (ProducerFencedError, InvalidProducerEpochError)
    return isinstance(error, fenced) or (isinstance(error, IllegalStateError) and isinstance(error.__cause__, fenced))
