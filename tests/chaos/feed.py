"""A producer that goes on through everything: unique ids, known shares of duplicates, late, reordered and broken records."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter

from chaos.parts import LATENESS_MS_MAX

from consumers.compose import open_writer
from streamer.config.tree import Config
from streamer.events.model import EVENTS, FORGET
from streamer.ports import LogError, OutRecord

USERS, ITEMS = 120, 300
DUPLICATE, LATE, REORDERED, BROKEN, FORGOTTEN = 0.03, 0.02, 0.05, 0.02, 0.0005
PAUSE_S = 0.05
FLUSH_S = 120.0


class Feed:
    """Sends in a thread until closed; ``acknowledged`` are the ids of events that the log said it has."""

    def __init__(self, config: Config, seed: int, events_a_second: int) -> None:
        self.sent: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.refused: list[str] = []
        self._rng = random.Random(seed)
        self._per_turn = max(1, round(events_a_second * PAUSE_S))
        self._number = 0
        self._last: list[OutRecord] = []
        self._held: OutRecord | None = None
        self._go, self._idle, self._end = threading.Event(), threading.Event(), threading.Event()
        self._writer = open_writer(config)
        self._thread = threading.Thread(target=self._run, daemon=True, name="feed")
        self._thread.start()

    def go(self) -> None:
        self._idle.clear()
        self._go.set()

    def pause(self) -> None:
        """Returns once all that was sent is acknowledged or refused."""
        self._go.clear()
        assert self._idle.wait(FLUSH_S), "the producer does not come to rest"
        self._writer.flush(FLUSH_S)

    def close(self) -> None:
        self._end.set()
        self._go.set()
        self._thread.join(FLUSH_S)
        with contextlib.suppress(LogError):
            self._writer.close()

    def _run(self) -> None:
        pause = threading.Event()
        while not self._end.is_set():
            if not self._go.is_set():
                self._idle.set()
                self._go.wait()
                continue
            for _ in range(self._per_turn):
                self._send_next()
            pause.wait(PAUSE_S)

    def _send_next(self) -> None:
        record, kind = self._next()
        if kind == "new" and self._rng.random() < REORDERED and self._held is None:
            self._held = record
            self.sent["reordered"] += 1
            return
        self._send(record, kind)
        if self._held is not None:
            held, self._held = self._held, None
            self._send(held, "new")

    def _next(self) -> tuple[OutRecord, str]:
        chance = self._rng.random()
        user = f"u{int(USERS * self._rng.random() ** 2)}"
        if chance < BROKEN:
            return OutRecord(EVENTS, user.encode(), b"{"), "broken"
        if chance < BROKEN + DUPLICATE and self._last:
            return self._rng.choice(self._last), "duplicate"
        if chance > 1 - FORGOTTEN:
            return OutRecord(FORGET, user.encode(), None), "forget"
        late = chance > 1 - FORGOTTEN - LATE
        record = OutRecord(EVENTS, user.encode(), self._event(user, late=late))
        self._last = [*self._last[-99:], record]
        return record, "late" if late else "new"

    def _event(self, user: str, *, late: bool) -> bytes:
        self._number += 1
        now_ms = time.time_ns() // 1_000_000
        item = f"i{int(ITEMS * self._rng.random() ** 2)}"
        event: dict[str, object] = {
            "event_id": f"e{self._number}",
            "type": self._rng.choice(("view", "click", "click", "cart", "purchase")),
            "user_id": user,
            "item_id": item,
            "timestamp": now_ms - (3 * LATENESS_MS_MAX if late else 0),
        }
        if self._rng.random() < 0.05:
            event["type"] = "impression"
            event["item_ids"] = [event.pop("item_id"), "i1", "i2"]
        return json.dumps(event).encode()

    def _send(self, record: OutRecord, kind: str) -> None:
        while not self._end.is_set():
            try:
                self._writer.send(record, self._done)
            except LogError:
                self._end.wait(0.2)
                continue
            self.sent[kind] += 1
            return

    def _done(self, record: OutRecord, error: Exception | None) -> None:
        if record.topic == EVENTS and record.value and record.value != b"{":
            event_id = json.loads(record.value)["event_id"]
            if error is None:
                self.acknowledged.add(event_id)
            else:
                self.refused.append(f"{event_id}: {error}")
