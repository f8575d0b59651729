"""Vectors already computed, on disk by (fingerprint, content hash): an unchanged document is never encoded again.

One SQLite file in write-ahead mode: a process killed in the middle of a write loses that write and nothing else, and any
number of processes of one machine may share it. It must lie on a local disk. It holds nothing that cannot be computed again.
"""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

FILE_NAME = "vectors.sqlite"
LOCK_NAME = "opening.lock"
BUSY_TIMEOUT_S = 10.0
PARAMETERS_MAX = 500
"""Hashes asked for in one statement; SQLite allows at least 999."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, content_hash TEXT NOT NULL, vector BLOB NOT NULL,
    UNIQUE (fingerprint, content_hash)
) STRICT
"""
INSERT = "INSERT INTO vectors (fingerprint, content_hash, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
EVICT = "DELETE FROM vectors WHERE id <= (SELECT max(id) FROM vectors) - ?"


class CacheError(Exception):
    """The cache could not be read or written; the caller may encode without it."""


class VectorCache:
    """Vectors by (fingerprint, content hash), at most ``vectors_max`` of them: the oldest go first.

    Not thread-safe: one thread at a time uses an instance. Another process may have its own on the same folder.
    """

    def __init__(self, root: Path, *, vectors_max: int) -> None:
        self._path = root / FILE_NAME
        self._vectors_max = vectors_max
        with self._explained("opened"):
            root.mkdir(parents=True, exist_ok=True)
            with _alone(root / LOCK_NAME):  # the change to write-ahead mode does not wait for others by itself
                self._connection = _open(self._path)

    def get_many(self, fingerprint: str, content_hashes: Sequence[str]) -> dict[str, bytes]:
        """The vectors that are known, by content hash; raises CacheError."""
        found: dict[str, bytes] = {}
        with self._explained("read"):
            for start in range(0, len(content_hashes), PARAMETERS_MAX):
                asked = content_hashes[start : start + PARAMETERS_MAX]
                marks = ",".join("?" * len(asked))
                query = f"SELECT content_hash, vector FROM vectors WHERE fingerprint = ? AND content_hash IN ({marks})"  # noqa: S608 - marks only
                found.update(self._connection.execute(query, (fingerprint, *asked)))
        return found

    def put_many(self, fingerprint: str, vectors: Mapping[str, bytes]) -> None:
        """Keeps vectors by content hash, all or none of them; what is known already stays as it is. Raises CacheError."""
        with self._explained("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            rows = ((fingerprint, content_hash, vector) for content_hash, vector in vectors.items())
            self._connection.executemany(INSERT, rows)
            self._connection.execute(EVICT, (self._vectors_max,))

    def __len__(self) -> int:
        with self._explained("read"):
            return int(self._connection.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Frees the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            message = (
                f"the vector cache {self._path} could not be {verb}: {error}. Check that encoder.cache_root is a writable "
                "folder with free space on a local disk; a damaged file may be deleted, its vectors are computed again"
            )
            raise CacheError(message) from error


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; the kernel frees the lock of one that dies."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose the last vectors, never tear the file
    connection.execute(SCHEMA)
    return connection
