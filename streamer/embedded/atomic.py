"""Appending groups of records to the embedded log, each whole or not at all: the AtomicWriter port."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from streamer.config.tree import Config
from streamer.embedded.appending import Appending
from streamer.embedded.database import Database
from streamer.embedded.log import GroupLock
from streamer.ports import FencedError, LogError, OutRecord


class EmbeddedAtomicWriter:
    """One transaction of the file a group, under a file lock that bears the name; it is on the disk when ``append`` returns.

    An earlier one that lives keeps the lock, so ``open`` raises; one that died, however it died, has left it.
    """

    def __init__(self, config: Config, name: str, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._name = name
        self._database = Database(config, synchronous="FULL")
        self._appending = Appending(self._database, now_ms)
        self._lock = GroupLock(Path(config.log.root) / "groups" / f"{name}.lock")
        self._held = False

    def open(self) -> None:
        """Takes the lock. Raises LogError (retriable) where another one has it."""
        self._database.connection()  # first: without a log there is no folder to lock in
        with self._database.errors():
            self._held = self._held or self._lock.acquire()
        if not self._held:
            raise LogError(f"another process works as {self._name} on this log; wait until it has ended", retriable=True)

    def append(self, records: Sequence[OutRecord]) -> None:
        """All of them, or none where it raises LogError; FencedError before ``open``."""
        if not self._held:
            raise FencedError(f"{self._name} was not opened, or is closed")
        with self._database.transaction():
            error = next((one for one in self._appending.refusals(records) if one is not None), None)
            if error is not None:
                raise error

    def close(self) -> None:
        """Frees the lock and closes the file."""
        self._held = False
        self._lock.release()
        self._database.close()
