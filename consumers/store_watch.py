"""Whether the store still is what we filled: empty, another's, or fallen back to an older copy of itself by a failover.

The store's ``status`` is written after every portion of lists, with the time. So whatever the store holds, a list that was confirmed
after the time in its status is lost. (In a cluster that holds for the shard of the status alone; the sweep mends the others.)
"""

from __future__ import annotations

import logging
import threading
from collections import deque

import msgspec

from streamer.ports import RecommendationStore

logger = logging.getLogger(__name__)

ALL = 0


class Status(msgspec.Struct, frozen=True):
    """The payload of ``status``."""

    version: str
    owner: str
    epoch: int
    generation: int
    head_step: int
    snapshot: str | None
    event_ms: int
    written_ms: int
    """Every list confirmed up to then was in the store."""
    portion: int = 0
    """Counts the statuses of one owner."""


class _Found(msgspec.Struct):
    """What matters of it, whoever wrote it."""

    epoch: int | None = None
    generation: int = 0
    written_ms: int = 0
    portion: int = 0


class StoreWatch:
    """Of one tenure; ``vouch`` is for the publisher's loop, the rest for the one that renders."""

    def __init__(self, store: RecommendationStore, epoch: int, *, generation: int, trusted_from: int) -> None:
        """``trusted_from``: the generation that wrote the snapshot of this tenure. An older owner knew less than that says was written."""
        self.lost: deque[int] = deque()
        """Lists confirmed after such a time (ms) are gone from the store: to be rendered again. ALL: every list."""
        self.newer_epoch: int | None = None
        """Found in the store, of an owner before: whatever is written in this one's is refused."""
        self._lock = threading.Lock()
        """Losses are noted by one loop and mended by the other."""
        self._store = store
        self._epoch = epoch
        self._generation = generation
        self._trusted_from = trusted_from
        self._known: tuple[int, int] | None = None
        """Generation and portion of the status that should be in the store: found there at first, or ours that it took since."""
        self._vouched = False
        self._portion = 0
        self._first_list_ms: int | None = None
        self._refused = False
        self._mending_since_ms: int | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Lists of the epoch before are to be replaced; that is found out by the next look at the store."""
        self._epoch, self._known, self._vouched, self.newer_epoch = epoch, None, False, None

    def wrote_lists(self, now_ms: int) -> None:
        """Some were accepted."""
        if self._first_list_ms is None:
            self._first_list_ms = now_ms

    def mended(self) -> None:
        """All lists that were lost are in the store again."""
        with self._lock:
            if not self.lost:
                self._mending_since_ms = None

    def vouch(self, status: Status, now_ms: int) -> None:
        """Looks whether the store lost anything, then says in its status that all lists up to now are there. Raises StoreError.

        While lost lists are not yet written again it vouches for none after them: whoever comes after a crash finds the same.
        """
        self._look()
        if self._mending_since_ms is not None:
            now_ms = self._mending_since_ms
        self._portion += 1
        status = msgspec.structs.replace(status, written_ms=now_ms, portion=self._portion)
        if not self._store.write_shared("status", msgspec.json.encode(status)):
            self._refused = True  # of a life before, that had come further: until then nothing vouches for this one's lists
            return
        if self._refused and not self._vouched and self._first_list_ms is not None:
            self._note(self._first_list_ms - 1)
        self._vouched, self._known = True, (status.generation, status.portion)
        self._trusted_from = status.generation

    @property
    def looked(self) -> bool:
        """Whether it is known what the store holds."""
        return self._known is not None

    def _look(self) -> None:
        found = self._read()
        seen = (found.generation, found.portion)
        if found.epoch != self._epoch:
            logger.info("the store is empty or of another epoch: all lists are rendered again")
            self._note(ALL)
            if found.epoch is not None and found.epoch > self._epoch and found.generation <= self._generation:
                self.newer_epoch = found.epoch
        elif self._known != seen:
            if self._known is not None:
                logger.warning("the store lost its last writes (a failover?): lists since are rendered again")
            self._note(found.written_ms if found.generation >= self._trusted_from else ALL)
        self._known = seen

    def _note(self, since_ms: int) -> None:
        with self._lock:
            self.lost.append(since_ms)
            if self._mending_since_ms is None or since_ms < self._mending_since_ms:
                self._mending_since_ms = since_ms

    def _read(self) -> _Found:
        payload = self._store.read_shared("status")
        try:
            return _Found() if payload is None else msgspec.json.decode(payload, type=_Found)
        except msgspec.DecodeError:
            return _Found()
