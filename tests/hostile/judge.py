"""What becomes of hostile records: each is accepted or rejected with a reason, in bounded time, and what is accepted folds."""

from __future__ import annotations

import gc
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from hostile.records import Hostile

from consumers.work import Work, decode
from producers.formats import FORMATS, RecordingError, read_events, read_items, streamer_jsonl
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.events.codec import decode_events, encode_event
from streamer.events.dead_letters import encode_dead_letter
from streamer.events.forget import decode_forget, encode_forget
from streamer.events.items import decode_item, encode_item
from streamer.events.model import EVENTS, FORGET, ITEMS, DeletedItem, Event, EventType, Forget, ItemDocument
from streamer.ports import RecordBatch

RECORD_CPU_S_MAX = 0.05
BIG_BYTES = 262_144
"""The bound is for so many bytes; what is longer may take longer in proportion."""
ATTEMPTS = 3
"""A record that seems slow is timed again: a machine that pauses is no fault of it."""
LINE_BYTES_MAX = 1_000_000
FIRST_LINE = b'{"type":"click","user_id":"u1","item_id":"i1","timestamp":1795485458344}'
"""By what a file begins with, its container is told."""
READERS_EVERY = 10
"""One poll in so many is read as a file too, in every format."""


class Judge:
    """Counts what became of records, and asserts what must be so of each."""

    def __init__(self, config: Config) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.sent = 0
        self._polls = 0
        self._engine = Engine(config)

    def take(self, records: Sequence[Hostile], now_ms: int) -> None:
        """One poll of them."""
        self.sent += len(records)
        works = self._decoded(records, now_ms)
        letters = [letter for work in works for letter in work.dead]
        for letter in letters:
            assert letter.reject.error
            encode_dead_letter(letter)
            self.outcomes[f"{letter.topic}: {letter.reject.reason}"] += 1
        self.outcomes["accepted"] += sum(work.records - len(work.dead) for work in works)
        for work in works:
            work.apply(self._engine)
        _check_encoded_again(records)
        if self._polls % READERS_EVERY == 0:
            _check_readers([record.value or b"" for record in records])
        self._polls += 1

    @property
    def counters(self) -> dict[str, object]:
        """Of the engine, which took all that was accepted."""
        return self._engine.counters()

    def _decoded(self, records: Sequence[Hostile], now_ms: int) -> list[Work]:
        batches = _batches(records, now_ms)
        started_s = time.thread_time()
        works = decode(batches, {})
        if time.thread_time() - started_s > RECORD_CPU_S_MAX:
            self._look_for_the_slow(records)
        return works

    def _look_for_the_slow(self, records: Sequence[Hostile]) -> None:
        """Halves of what took too long, down to the records that do."""
        took_s = min(_cpu_s(records) for _ in range(ATTEMPTS))
        if len(records) == 1:
            self.slowest_s = max(self.slowest_s, took_s)
            size = len(records[0].value or b"")
            bound_s = RECORD_CPU_S_MAX * max(1.0, size / BIG_BYTES)
            assert took_s < bound_s, f"{took_s:.3f} s for {size} bytes: {(records[0].value or b'')[:200]!r}"
        elif took_s > RECORD_CPU_S_MAX:
            self._look_for_the_slow(records[: len(records) // 2])
            self._look_for_the_slow(records[len(records) // 2 :])


def _cpu_s(records: Sequence[Hostile]) -> float:
    batches = _batches(records, 0)
    gc.disable()
    try:
        started_s = time.thread_time()
        decode(batches, {})
        return time.thread_time() - started_s
    finally:
        gc.enable()


def _batches(records: Sequence[Hostile], now_ms: int) -> list[RecordBatch]:
    batches = []
    for topic, run in groupby(records, key=lambda record: record.topic):
        part = list(run)
        batches.append(
            RecordBatch(
                topic=topic,
                partition=0,
                next_offset=len(part),
                offsets=list(range(len(part))),
                append_ms=[now_ms] * len(part),
                keys=[record.key for record in part],
                values=[record.value for record in part],
            )
        )
    return batches


def _check_encoded_again(records: Sequence[Hostile]) -> None:
    """What was accepted, written again, is read as the same."""
    events = decode_events([record.value for record in records if record.topic == EVENTS])
    at = 0
    for n, count in enumerate(events.item_counts):
        kind = EventType(events.types[n]).name.lower()
        items = tuple(events.item_ids[at : at + count])
        at += count
        single = kind not in ("impression", "purchase")
        event = Event(
            type=kind,  # type: ignore[arg-type]
            user_id=events.user_ids[n],
            event_id=events.event_ids[n] or None,
            timestamp=events.timestamps_ms[n],
            item_id=items[0] if single else None,
            item_ids=None if single else items[:200],
        )
        again = decode_events([encode_event(event)])
        assert (again.user_ids, again.timestamps_ms) == ([event.user_id], [event.timestamp])
        assert again.item_ids == list(items[:200])
    for record in records:
        _check_operation_encoded_again(record)


def _check_operation_encoded_again(record: Hostile) -> None:
    if record.topic == ITEMS:
        document = decode_item(record.key, record.value)
        if isinstance(document, ItemDocument):
            assert decode_item(document.item_id.encode(), encode_item(document)) == document
        elif isinstance(document, DeletedItem):
            assert record.value is None
    elif record.topic == FORGET:
        request = decode_forget(record.key, record.value)
        if isinstance(request, Forget):
            assert decode_forget(*encode_forget(request)) == request


def _check_readers(values: Sequence[bytes]) -> None:
    """A file that holds these, read as each format: nothing raises but RecordingError, and our own format loses no line."""
    lines = [FIRST_LINE, *(line for value in values if len(value) < LINE_BYTES_MAX for line in value.split(b"\n"))]
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(b"\n".join(lines) + b"\n")
        file.flush()
        for form in FORMATS:
            for reader in (read_events, read_items):
                found = _read(lambda reader=reader, name=form.name: sum(1 for _ in reader(Path(file.name), name)))
                if form.name == streamer_jsonl.NAME:
                    assert found == sum(bool(line.strip()) for line in lines)


def _read(count: Callable[[], int]) -> int | None:
    try:
        return count()
    except RecordingError:
        return None
