"""Records in the order of their times, however many there are: SQLite sorts them, on the disk where memory does not do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator

from producers.formats import Recorded, with_times

CACHE_BYTES = 128 * 1_048_576
"""What SQLite holds of them in memory; the rest lies in temporary files under ``SQLITE_TMPDIR`` or ``TMPDIR``, else ``/var/tmp``."""


class Sorter:
    """Takes files in one after the other, then gives their values in the order of (time, file, place in it).

    A record without a time stays behind its predecessor. On the disk it takes about twice what the values do. Not thread-safe.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect(
            "", isolation_level=None
        )  # a file of its own, which nobody else sees and that goes with it
        self._database.execute(f"PRAGMA cache_size = -{CACHE_BYTES // 1_024}")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE records (place INTEGER PRIMARY KEY, ms INTEGER NOT NULL, value BLOB NOT NULL)")

    def add(self, records: Iterable[Recorded]) -> int:
        """Takes the records of one file; returns how many they are. Raises RecordingError from the file, OSError for a full disk."""
        rows = ((when or 0, record.value) for when, record in with_times(records))
        with _told():
            self._database.execute("BEGIN")
            count = self._database.executemany("INSERT INTO records (ms, value) VALUES (?, ?)", rows).rowcount
            self._database.execute("COMMIT")
        return max(count, 0)

    def __iter__(self) -> Iterator[bytes]:
        with _told():
            for (value,) in self._database.execute("SELECT value FROM records ORDER BY ms, place"):
                yield value

    def close(self) -> None:
        """Frees what is held, on the disk too."""
        self._database.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        message = f"sorting failed: {error}; is there room for temporary files (SQLITE_TMPDIR or TMPDIR names another folder)?"
        raise OSError(message) from error
