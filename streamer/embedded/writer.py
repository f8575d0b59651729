"""Appending to the embedded log: a bounded buffer and one thread that commits it in batches."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from streamer.config.tree import Config
from streamer.embedded.appending import Appending
from streamer.embedded.database import Database
from streamer.events.pseudonyms import pseudonyms_of
from streamer.ports import Acknowledge, BufferFullError, LogError, OutRecord
from streamer.ports.pseudonymous import pseudonymous

log = logging.getLogger(__name__)

_YIELD_S = 0.0005
"""Pause between two commits, so that other processes' writers and the owner's commit find the file free."""


def wall_clock_ms() -> int:
    """Epoch milliseconds UTC."""
    return time.time_ns() // 1_000_000


class _Sent(NamedTuple):
    record: OutRecord
    on_done: Acknowledge | None


class EmbeddedWriter:
    """LogWriter of the embedded log: a record is acknowledged once the transaction that holds it is committed.

    Acknowledged records survive the death of any process, ``kill -9`` included; see ``database`` for loss of power.
    Callbacks run on the writer's thread, in the order in which the records were sent. After a fork the child gets a buffer
    and a thread of its own; what the parent had sent is the parent's alone.

    Args:
        config: ``log.root``, ``kafka.topic_prefix``, ``kafka.buffer_records_max``, ``kafka.request_timeout_ms``.
        now_ms: the log's clock, by which records are stamped; never goes back within a partition.
    """

    def __init__(self, config: Config, *, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._config = config
        self._pseudonyms = pseudonyms_of(config.privacy.user_key, config.privacy.user_key_id)
        self._now_ms = now_ms
        self._making = threading.Lock()
        self._appender: _Appender | None = None
        self._pid = os.getpid()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def send(self, record: OutRecord, on_done: Acknowledge | None = None, *, timeout_s: float | None = None) -> None:
        """Buffers one record; blocks while ``kafka.buffer_records_max`` records wait, at most ``timeout_s``.

        Raises BufferFullError after that time, and LogError once closed: the record was not taken.
        """
        if self._pseudonyms is not None:
            record, on_done = pseudonymous(self._pseudonyms, record, on_done)
        self._own().send(_Sent(record, on_done), timeout_s)

    def flush(self, timeout_s: float) -> None:
        """Waits until every record sent before is acknowledged or refused; raises LogError after ``timeout_s``."""
        if self._appender is not None and self._pid == os.getpid():
            self._appender.flush(timeout_s)

    def close(self) -> None:
        """Appends what is buffered and ends the thread."""
        self._closed = True
        if self._appender is not None and self._pid == os.getpid():
            self._appender.close()
            self._appender = None

    def _own(self) -> _Appender:
        appender = self._appender
        if appender is not None and self._pid == os.getpid():
            return appender
        if self._closed:
            raise _closed()
        if self._pid != os.getpid():  # a forked child: the parent's thread, and whoever held this lock, are not here
            self._pid, self._making, self._appender = os.getpid(), threading.Lock(), None
        with self._making:
            if self._appender is None:
                self._appender = _Appender(self._config, self._now_ms)
            return self._appender


class _Appender:
    """The buffer and the thread of one process."""

    def __init__(self, config: Config, now_ms: Callable[[], int]) -> None:
        self._root = config.log.root
        self._limit = config.kafka.buffer_records_max
        self._batch = max(1, self._limit // 2)  # the other half fills up meanwhile
        self._database = Database(config, synchronous="NORMAL")
        self._appending = Appending(self._database, now_ms)
        self._changed = threading.Condition()
        self._waiting: deque[_Sent] = deque()
        self._sent = 0
        self._done = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="embedded-log-writer", daemon=True)
        self._thread.start()

    def send(self, sent: _Sent, timeout_s: float | None) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._closing or self._sent - self._done < self._limit, timeout_s):
                raise BufferFullError(
                    f"the buffer of {self._limit} records (kafka.buffer_records_max) was full for {timeout_s:g} s: the embedded "
                    f"log in {self._root} is slower than what is sent, or another process holds it; send the record again later"
                )
            if self._closing:
                raise _closed()
            self._waiting.append(sent)
            self._sent += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        with self._changed:
            target = self._sent
            if self._changed.wait_for(lambda: self._done >= target, timeout_s):
                return
            left = target - self._done
        message = (
            f"{left} records still wait for the embedded log in {self._root} after {timeout_s} s; another process may hold it"
        )
        raise LogError(message, retriable=True)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            for sent, error in zip(batch, self._append(batch), strict=True):
                _acknowledge(sent, error)
            with self._changed:
                self._done += len(batch)
                self._changed.notify_all()
            time.sleep(_YIELD_S)
        self._database.close()

    def _take(self) -> list[_Sent]:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]

    def _append(self, batch: Sequence[_Sent]) -> list[LogError | None]:
        """Appends all that can be; returns for each record why not, or None."""
        try:
            with self._database.transaction():
                return self._appending.refusals([sent.record for sent in batch])
        except LogError as error:
            return [error] * len(batch)
        except Exception as error:  # whatever it is, it must reach the senders: the thread goes on
            log.exception("embedded log %s: %d records refused", self._root, len(batch))
            return [LogError(f"embedded log {self._root}: {error!r} while appending", retriable=False)] * len(batch)


def _closed() -> LogError:
    return LogError("this writer of the embedded log is closed; send before close, or make another one", retriable=False)


def _acknowledge(sent: _Sent, error: LogError | None) -> None:
    if sent.on_done is None:
        if error is not None:
            log.error("record for topic %s was not appended: %s", sent.record.topic, error)
        return
    try:
        sent.on_done(sent.record, error)
    except Exception:
        log.exception("the callback of a record for topic %s raised", sent.record.topic)
