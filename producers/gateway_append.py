"""Records of one request onto the log, and what became of each, within a bounded time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from producers.gateway_body import Held
from producers.gateway_records import Refused
from streamer.ports import BufferFullError, LogError, LogWriter, OutRecord

SENDERS = 16
"""Threads in which a request may wait for room in the writer's buffer."""
NOT_SENT = "not_sent"
NOT_ACKNOWLEDGED = "not_acknowledged"


@dataclass(slots=True)
class Appended:
    """What became of the records of one request.

    ``failed`` names those that the log refused, did not take, or has not acknowledged in time (which may still arrive).
    ``status`` is None where every record was acknowledged or refused for good, else 429 or 503: send the failed ones again.
    """

    acknowledged: int = 0
    failed: list[Refused] = field(default_factory=list)
    status: int | None = None


class Appender:
    """Sends records in threads and waits for their acknowledgement without one.

    Args:
        writer: appends; thread-safe.
        timeout_s: for one request, from its first record to its last acknowledgement.
    """

    def __init__(self, writer: LogWriter, *, timeout_s: float) -> None:
        self._writer = writer
        self._timeout_s = timeout_s
        self._senders: anyio.CapacityLimiter | None = None

    async def append(self, records: Sequence[tuple[int, OutRecord]], held: Held | None = None) -> Appended:
        """Appends all, each with its place in the request; returns after ``timeout_s`` at the latest, and never raises LogError.

        Records that are not settled then keep their bytes of what is ``held`` until they are.
        """
        if self._senders is None:
            self._senders = anyio.CapacityLimiter(SENDERS)
        request = _Request(self._writer, records, time.monotonic() + self._timeout_s, held)
        try:
            with anyio.move_on_after(self._timeout_s):
                await anyio.to_thread.run_sync(request.send, limiter=self._senders, abandon_on_cancel=True)
                await request.settled.wait()
            return request.outcome(self._timeout_s)
        finally:
            request.leave()


class _Request:
    """The records of one request on their way. Everything but ``send`` runs on the event loop."""

    def __init__(
        self, writer: LogWriter, records: Sequence[tuple[int, OutRecord]], deadline_s: float, held: Held | None
    ) -> None:
        self._writer = writer
        self._records = records
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._done: dict[int, Exception | None] = {}
        self._handing = threading.Lock()
        self._over = False
        self._taken = 0
        self._stopped: LogError | None = None
        self._held = held
        self._lent: dict[int, int] = {}
        """Bytes of records that are on their way still, by place."""
        self.settled = asyncio.Event()

    def send(self) -> None:
        """In a thread: hands the records over until one is not taken; what comes after it would overtake it."""
        for place, (_, record) in enumerate(self._records):
            left_s = self._deadline_s - time.monotonic()
            with self._handing:
                if self._over or left_s <= 0:
                    return
                self._taken = place + 1  # from here on the answer must not say that it was not sent

            def on_done(_: OutRecord, error: Exception | None, place: int = place) -> None:
                self._tell(place, error)

            try:
                self._writer.send(record, on_done, timeout_s=left_s)
            except LogError as error:
                self._taken, self._stopped = place, error
                self._tell(None, None)
                return

    def _tell(self, place: int | None, error: Exception | None) -> None:
        """From any thread; a loop that has ended waits for nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, place, error)

    def _note(self, place: int | None, error: Exception | None) -> None:
        if place is not None:
            self._done[place] = error
            if self._held is not None and place in self._lent:
                self._held.give_back(self._lent.pop(place))
        wanted = len(self._records) if self._stopped is None else self._taken
        if len(self._done) >= wanted:
            self.settled.set()

    def leave(self) -> None:
        """The request is answered, or given up: nothing more is handed over, and what is on its way holds its bytes."""
        with self._handing:
            self._over = True
        if self._held is not None and not self._lent:
            on_their_way = [place for place in range(self._taken) if place not in self._done]
            self._lent = {place: len(self._records[place][1].value or b"") for place in on_their_way}
            self._held.lend(sum(self._lent.values()))

    def outcome(self, timeout_s: float) -> Appended:
        with self._handing:
            self._over = True
        found = Appended()
        for place, (index, _) in enumerate(self._records):
            if place not in self._done:
                taken = place < self._taken
                found.failed.append(Refused(index, *self._unsettled(taken=taken, timeout_s=timeout_s)))
                found.status = 429 if isinstance(self._stopped, BufferFullError) else 503
                continue
            error = self._done[place]
            if error is None:
                found.acknowledged += 1
                continue
            retriable = isinstance(error, LogError) and error.retriable
            found.failed.append(Refused(index, "log_away" if retriable else "log_refused", str(error)))
            found.status = 503 if retriable else found.status
        return found

    def _unsettled(self, *, taken: bool, timeout_s: float) -> tuple[str, str]:
        if taken:
            message = f"the log has not acknowledged the record in {timeout_s:g} s and may still take it; send it again with its event_id"
            return NOT_ACKNOWLEDGED, message
        why = f"the log did not take the record in {timeout_s:g} s" if self._stopped is None else str(self._stopped)
        return NOT_SENT, f"{why}; send the record again"
