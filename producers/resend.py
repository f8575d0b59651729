"""What becomes of records whose producer failed: the guilty are found and refused, the innocent are sent again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka.errors import KafkaError, RetriableError, TopicAuthorizationFailedError

from streamer.ports import Acknowledge, LogError, OutRecord, TopicsMissingError

log = logging.getLogger(__name__)

CONNECT_WAIT_S = 0.5
"""Between two attempts to reach a broker."""
LOOK_S = 0.2
"""Between two looks whether the sender is closing."""
GIVE_UP_S = 1.0
"""For a connection to close where what it still holds is given up."""


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
        know: returns once a producer knows a topic; raises TopicsMissingError where there is none, LogError where nobody answers.
        append: hands a record to a producer and returns its future.
        acknowledge: told of each record that the log has.
        refuse: told of each record that it has not, with the reason.
        give_up_s: how long a broker that is away is waited for.
        closing: whether the sender waits no more: then what is left is refused.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        know: Callable[[Any, str], None],
        append: Callable[[Any, OutRecord], Any],
        acknowledge: Callable[[Pending], None],
        refuse: Callable[[Pending, Exception], None],
        *,
        give_up_s: float,
        closing: Callable[[], bool],
    ) -> None:
        self._connect = connect
        self._know = know
        self._append = append
        self._acknowledge = acknowledge
        self._refuse = refuse
        self._deadline = time.monotonic() + give_up_s
        self._closing = closing
        self.producer: Any = None
        """A working producer, once ``run`` is over; None where none was needed or none could be had."""

    def run(self, suspects: list[Pending]) -> None:
        """Sends ``suspects`` again until each is acknowledged or refused."""
        left = suspects
        group = max(1, len(left) // 2)
        while left:
            try:
                missing = self._prepare({one.record.topic for one in left[:group]})
            except LogError as error:
                for one in left:
                    self._refuse(one, error)
                return
            if missing:
                left = self._refuse_topics(left, missing)
                continue
            failed = self._attempt(left[:group])
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
        return self._refuse_topics(rest, {guilty.record.topic: error})

    def _refuse_topics(self, left: list[Pending], errors: Mapping[str, Exception]) -> list[Pending]:
        """Refuses all records of some topics; returns the others."""
        for one in left:
            if one.record.topic in errors:
                self._refuse(one, errors[one.record.topic])
        return [one for one in left if one.record.topic not in errors]

    def _prepare(self, topics: set[str]) -> dict[str, Exception]:
        """A producer that knows the topics, so that it takes their records at once; returns those that can't be had, and why.

        Raises LogError where nobody answers for too long, or the sender is closing.
        """
        missing: dict[str, Exception] = {}
        for topic in sorted(topics):
            try:
                self._await_topic(topic)
            except LogError as error:
                if error.retriable and not isinstance(error, TopicsMissingError):
                    raise
                missing[topic] = error
        return missing

    def _attempt(self, group: list[Pending]) -> list[tuple[Pending, Exception]]:
        producer = self.producer
        outcomes = _Outcomes(len(group))
        for place, one in enumerate(group):
            try:
                self._append(producer, one.record).add_both(outcomes.note, place)
            except (KafkaError, ValueError) as error:
                outcomes.note(place, error)
        while not outcomes.done.wait(LOOK_S):
            if self._closing():
                close_producer(producer, GIVE_UP_S)  # which ends the wait: it fails what it holds
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
        if self.producer is None:
            self.producer = self._connect()
        return self.producer

    def _await_topic(self, topic: str) -> None:
        while True:
            if self._closing():
                raise closed_before()
            try:
                return self._know(self._connected(), topic)
            except TopicsMissingError:
                raise
            except LogError as error:
                if not error.retriable or time.monotonic() > self._deadline:
                    raise
                threading.Event().wait(CONNECT_WAIT_S)


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


def closed_before() -> LogError:
    """Why a record that failed is not sent again."""
    return LogError("the writer was closed before this record could be sent again", retriable=True)


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
