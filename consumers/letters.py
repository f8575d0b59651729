"""Dead letters on their way to ``events.dead``: none is left behind by a commit.

They wait here until the log has taken them. What it gives back is sent again; a snapshot that was begun before may not be committed,
for its offsets would leave the letter behind. A letter that the log will never take (too large for it) is an error in the worker's own
log, which names its place, and holds nothing up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from itertools import groupby

from consumers.measurements import Measurements
from streamer.events.dead_letters import LEFT_OUT, encode_dead_letter
from streamer.events.model import DEAD, DeadLetter
from streamer.ports import BufferFullError, Clock, LogError, LogWriter, OutRecord

logger = logging.getLogger(__name__)

RETRY_S = 5.0


class DeadLetters:
    """The polling thread adds and sends; the writer's thread tells what became of each."""

    def __init__(self, writer: LogWriter, clock: Clock, measurements: Measurements) -> None:
        self._writer = writer
        self._clock = clock
        self._measurements = measurements
        self._waiting: deque[OutRecord] = deque()
        self._send_at_s = 0.0
        self._returned = self._returned_before = 0

    def __bool__(self) -> bool:
        """Whether any waits for the log to take it."""
        return bool(self._waiting)

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Takes letters in; they are counted and logged: those that an operator left out, adjacent ones as one."""
        for asked, some in groupby(letters, lambda letter: (letter.topic, letter.partition, letter.reject is LEFT_OUT)):
            adjacent = list(some)
            if asked[2]:
                topic, partition, first, last = *asked[:2], adjacent[0].offset, adjacent[-1].offset
                logger.info("%s[%d]:%d-%d: %d records left out by an operator", topic, partition, first, last, len(adjacent))
            for letter in adjacent:
                self._add(letter)

    def _add(self, letter: DeadLetter) -> None:
        value, headers = encode_dead_letter(letter)
        reason, error = letter.reject.reason.value, letter.reject.error
        self._measurements.rejected[reason] = self._measurements.rejected.get(reason, 0) + 1
        if letter.reject is not LEFT_OUT:
            logger.warning(
                "dead letter from %s[%d] at %d: %s: %s", letter.topic, letter.partition, letter.offset, reason, error
            )
        self._waiting.append(OutRecord(DEAD, letter.key, value, headers))

    def clear(self) -> None:
        """Forgets those that wait: their records will be read again."""
        self._waiting.clear()

    def send_if_due(self) -> None:
        """Sends, unless an attempt failed a moment ago; never waits in between. Raises LogError that is not retriable."""
        now_s = self._clock.monotonic_s()
        if not self._waiting or now_s < self._send_at_s:
            return
        try:
            self.send()
        except BufferFullError:
            return  # the log is slower than letters come: nothing is polled meanwhile, and the next turn tries again
        except LogError as error:
            if not error.retriable:
                raise
            self._send_at_s = now_s + RETRY_S
            self._measurements.log_errors += 1
            logger.warning("dead letters wait, sent again in %.1f s: %s", RETRY_S, error)

    def send(self) -> bool:
        """Sends those that wait, each once, and waits for nothing; what the log does not take stays, or comes back. Raises LogError."""
        for _ in range(len(self._waiting)):
            self._writer.send(self._waiting[0], self._done, timeout_s=0.0)
            self._waiting.popleft()
        return True

    def _done(self, record: OutRecord, error: Exception | None) -> None:
        """Runs on the writer's thread."""
        if error is None:
            return
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        logger.error(
            "the dead letter of %s[%s] offset %s could not be written (%d bytes): %s",
            headers.get("topic_id"),
            headers.get("partition"),
            headers.get("offset"),
            len(record.value or b""),
            error,
        )
        if isinstance(error, LogError) and error.retriable:
            self._send_at_s = self._clock.monotonic_s() + RETRY_S
            self._waiting.append(record)
            self._returned += 1  # only now: who sees the old number and no letters has missed nothing

    @property
    def returned(self) -> int:
        """How many came back so far; read it before looking whether any waits."""
        return self._returned

    def begin_snapshot(self, returned: int | None = None) -> None:
        """A snapshot begins; ``returned`` was read before its tables were gathered, by default now."""
        self._returned_before = self._returned if returned is None else returned

    def require_none_returned(self) -> None:
        """Raises LogError where letters came back since the snapshot was begun: it would leave them behind."""
        if self._returned != self._returned_before:
            raise LogError("dead letters were not acknowledged, they are sent again", retriable=True)
