"""Titles of items, and where their documents lie on the log: the state of the fold keeps neither.

Read by a thread that begins when somebody first looks, goes on while somebody does, and rests then. Memory: a bounded number of titles.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from consumers.span import batches_between
from streamer.events.items import decode_item
from streamer.events.model import ITEMS, ItemDocument
from streamer.ports import LogAdmin, LogError, LogReader, OffsetGapError, RecordBatch, TopicPartition

logger = logging.getLogger(__name__)

TITLES_MAX = 50_000
"""Those read last; of other items the console knows the id alone."""
TITLE_CHARS_MAX = 200
TEXT_CHARS_MAX = 2_000
READ_RECORDS = 500
PAUSE_S = 0.02
"""After each read: the interpreter is the fold's."""
AGAIN_S = 3.0
END_S = 5.0
"""A read of a log that is away is not waited for longer than that."""
RESTS_AFTER_S = 600.0
"""Without a look."""


class Document(NamedTuple):
    """A title and where its document lies."""

    title: str
    partition: int
    offset: int


class Documents:
    """``want``, ``titles`` and ``whole`` are for any thread. ``opened`` makes a reader and an admin of the thread's own."""

    def __init__(self, opened: Callable[[], tuple[LogReader, LogAdmin]]) -> None:
        self._opened = opened
        self._found: dict[str, Document] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._lock = threading.Lock()
        self._wanted_s = 0.0
        self._wanted = threading.Event()
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def caught_up(self) -> bool:
        """Whether all documents were read that the log had when somebody began to look."""
        return self._caught_up.is_set()

    def want(self, wait_s: float = 0.0) -> None:
        """Somebody looks: documents are read from now on. Waits until all are, ``wait_s`` at most."""
        self._wanted_s = time.monotonic()
        self._wanted.set()
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="console-documents", daemon=True)
                self._thread.start()
        self._caught_up.wait(wait_s)

    def titles(self, item_ids: Iterable[str | None]) -> dict[str, str]:
        """Titles by id, of the items that have one."""
        with self._lock:
            return {one: found.title for one in item_ids if one is not None and (found := self._found.get(one)) and found.title}

    def whole(self, reader: LogReader, item_id: str) -> dict[str, Any] | None:
        """The document, None where none is known. Raises LogError."""
        with self._lock:
            found = self._found.get(item_id)
        if found is None:
            return None
        try:
            batch = reader.read(TopicPartition(ITEMS, found.partition), found.offset, 1)
        except OffsetGapError:
            return None
        document = decode_item(batch.keys[0], batch.values[0]) if batch.offsets[:1] == [found.offset] else None
        if not isinstance(document, ItemDocument):
            return None  # it has just been replaced, and compaction took it
        text = document.text or ""
        return {
            "title": document.title,
            "text": text[:TEXT_CHARS_MAX],
            "text_cut": len(text) > TEXT_CHARS_MAX,
            "image": None if document.image is None else document.image[:TITLE_CHARS_MAX],
            "categories": list(document.categories[:20]),
            "provider": document.provider,
            "available": document.available,
            "at": f"{ITEMS}[{found.partition}]:{found.offset}",
        }

    def close(self) -> None:
        """Ends the thread."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        self._wanted.set()
        if thread is not None:
            thread.join(END_S)

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            reader, admin = self._opened()
            stack.enter_context(contextlib.closing(reader))
            stack.enter_context(contextlib.closing(admin))
            while not self._stop.is_set():
                if time.monotonic() - self._wanted_s > RESTS_AFTER_S:
                    self._wanted.clear()
                    self._wanted.wait()
                try:
                    self._read_on(reader, admin)
                    self._caught_up.set()
                except LogError as error:
                    logger.debug("titles wait for the log: %s", error)
                self._stop.wait(AGAIN_S)

    def _read_on(self, reader: LogReader, admin: LogAdmin) -> None:
        for place, (beginning, end) in admin.bounds([ITEMS]).items():
            position = max(self._positions.get(place, 0), beginning)
            for batch in batches_between(reader, place, position, end, READ_RECORDS):
                self._take(batch)
                self._positions[place] = batch.next_offset
                if self._stop.wait(PAUSE_S):
                    return

    def _take(self, batch: RecordBatch) -> None:
        for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True):
            document = decode_item(key, value)
            if isinstance(document, ItemDocument):
                title = (document.title or "")[:TITLE_CHARS_MAX]
                with self._lock:
                    self._found.pop(document.item_id, None)  # the newest stand last
                    self._found[document.item_id] = Document(title, batch.partition, offset)
                    if len(self._found) > TITLES_MAX:
                        del self._found[next(iter(self._found))]
