"""What becomes of records whose producer failed: the guilty are found and refused, the innocent are sent again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kafka.errors import KafkaError, RetriableError, TopicAuthorizationFailedError

from streamer.ports import Acknowledge, LogError, OutRecord

log = logging.getLogger(__name__)

CONNECT_WAIT_S = 0.5
"""Between two attempts to reach a broker."""


@dataclass(slots=True)
class Pending:
    """A record that the log has neither acknowledged nor refused."""

    sequence: int
    record: OutRecord
    on_done: Acknowledge | None


class Resend:
    """One recovery after a producer failed: every suspect ends acknowledged or refused, in the order in which it was sent.

    A refused record leaves an idempotent producer failing for ever, and everything that waited beside it fails with the
    same error. So suspects are sent again by new producers, in groups: a group that fails is halved until one record
    fails alone, and that one is guilty.

    Args:
        connect: makes a producer; raises LogError.
        append: hands a record to a producer and returns its future.
        acknowledge: told of each record that the log has.
        refuse: told of each record that it has not, with the reason.
        give_up_s: how long a broker that is away is waited for.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        append: Callable[[Any, OutRecord], Any],
        acknowledge: Callable[[Pending], None],
        refuse: Callable[[Pending, Exception], None],
        *,
        give_up_s: float,
    ) -> None:
        self._connect = connect
        self._append = append
        self._acknowledge = acknowledge
        self._refuse = refuse
        self._deadline = time.monotonic() + give_up_s
        self.producer: Any = None
        """A working producer, once ``run`` is over; None where none was needed or none could be had."""

    def run(self, suspects: list[Pending]) -> None:
        """Sends ``suspects`` again until each is acknowledged or refused."""
        left = suspects
        group = max(1, len(left) // 2)
        while left:
            try:
                failed = self._attempt(left[:group])
            except LogError as error:
                for one in left:
                    self._refuse(one, error)
                return
            alone = min(group, len(left)) == 1
            left = [one for one, _ in failed] + left[group:]
            if failed and alone:
                left = self._convict(left, failed[0][1])
            group = group * 2 if alone or not failed else max(1, len(failed) // 2)

    def _convict(self, left: list[Pending], error: Exception) -> list[Pending]:
        """Refuses the first, which failed alone; returns those still to be sent."""
        guilty, rest = left[0], left[1:]
        self._refuse(guilty, error)
        if not isinstance(error, TopicAuthorizationFailedError):
            return rest
        # what may not be written to a topic once may not be written a thousand times
        for one in rest:
            if one.record.topic == guilty.record.topic:
                self._refuse(one, error)
        return [one for one in rest if one.record.topic != guilty.record.topic]

    def _attempt(self, group: list[Pending]) -> list[tuple[Pending, Exception]]:
        producer = self._connected()
        outcomes = _Outcomes(len(group))
        for place, one in enumerate(group):
            try:
                self._append(producer, one.record).add_both(outcomes.note, place)
            except (KafkaError, ValueError) as error:
                outcomes.note(place, error)
        outcomes.done.wait()
        failed: list[tuple[Pending, Exception]] = []
        for one, outcome in zip(group, outcomes.found, strict=True):
            if not isinstance(outcome, Exception):
                self._acknowledge(one)
            elif isinstance(outcome, RetriableError):  # the client's own retries ended: its time was up
                self._refuse(one, outcome)
            else:
                failed.append((one, outcome))
        if failed:
            self.producer = None
            close_producer(producer)
        return failed

    def _connected(self) -> Any:
        while self.producer is None:
            try:
                self.producer = self._connect()
            except LogError as error:
                if not error.retriable or time.monotonic() > self._deadline:
                    raise
                threading.Event().wait(CONNECT_WAIT_S)
        return self.producer


class _Outcomes:
    """Collects the outcomes of a known number of records."""

    def __init__(self, count: int) -> None:
        self.found: list[Any] = [None] * count
        self.done = threading.Event()
        self._left = count
        self._lock = threading.Lock()

    def note(self, place: int, outcome: Any) -> None:
        self.found[place] = outcome
        with self._lock:
            self._left -= 1
            if not self._left:
                self.done.set()


def close_producer(producer: Any, timeout_s: float = 10.0) -> None:
    """Closes a producer that may have failed; what it still holds after ``timeout_s`` is failed."""
    try:
        producer.close(timeout=timeout_s)
    except KafkaError:
        # its flush ran out of time, which leaves it open: it would go on sending what is given up here
        producer._sender.force_close()  # noqa: SLF001
        producer._sender.join(timeout_s)  # noqa: SLF001
        with contextlib.suppress(KafkaError):
            producer.close(timeout=timeout_s)
