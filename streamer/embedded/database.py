"""The SQLite file under the embedded log: its tables, its connections, and its errors in the log's words.

Durability: write-ahead log. With ``synchronous=NORMAL`` what was acknowledged survives ``kill -9`` of every process, and a
loss of power may take the last acknowledged records but tears none. A group's commit uses ``FULL``: it, and every record
before it, is on the disk when it returns, so no committed position ever points past what a loss of power left.
The file must lie on a local disk: SQLite's write-ahead log does not work across machines.
"""

from __future__ import annotations

import contextlib
import json
import logging
import operator
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from streamer.config.tree import Config
from streamer.events.model import DEAD, INPUT_TOPICS
from streamer.ports import LogError, TopicPartition, TopicsMissingError

log = logging.getLogger(__name__)

FORMAT = 1
"""``PRAGMA user_version`` of the schema below; 0 is a file whose topics were never made."""

WAL_PAGES = 4_000
"""Pages after which a commit also copies the write-ahead log into the file (SQLite's default of 1,000 halves throughput)."""

_TABLES = (
    "CREATE TABLE topics (name TEXT PRIMARY KEY, topic_id TEXT NOT NULL, partitions INTEGER NOT NULL)",
    """CREATE TABLE partitions (id INTEGER PRIMARY KEY, topic TEXT NOT NULL REFERENCES topics (name), partition INTEGER NOT NULL,
       beginning INTEGER NOT NULL DEFAULT 0, end INTEGER NOT NULL DEFAULT 0, append_ms INTEGER NOT NULL DEFAULT 0,
       UNIQUE (topic, partition))""",
    """CREATE TABLE batches (partition_id INTEGER NOT NULL, base_offset INTEGER NOT NULL, count INTEGER NOT NULL,
       append_ms INTEGER NOT NULL, key_lengths BLOB NOT NULL, keys BLOB NOT NULL, value_lengths BLOB NOT NULL,
       contents BLOB NOT NULL, headers BLOB, PRIMARY KEY (partition_id, base_offset))""",
    "CREATE TABLE groups (name TEXT PRIMARY KEY, generation INTEGER NOT NULL)",
    """CREATE TABLE commits (group_name TEXT NOT NULL, partition_id INTEGER NOT NULL, next_offset INTEGER NOT NULL,
       metadata TEXT NOT NULL, PRIMARY KEY (group_name, partition_id))""",
)


# One row of JSON, not a row each: every row gives up the interpreter lock once, and may wait milliseconds to have it back.
_PARTITIONS = "SELECT json_group_array(json_array(topic, partition, id, beginning, end, append_ms)) FROM partitions"


class PartitionRow(NamedTuple):
    """A partition as stored: its row id, and the offsets [beginning, end) that the log holds."""

    id: int
    beginning: int
    end: int
    append_ms: int


class Database:
    """One connection to the log's file. Used by one thread at a time."""

    def __init__(
        self, config: Config, *, synchronous: Literal["NORMAL", "FULL"], topics: tuple[str, ...] = (*INPUT_TOPICS, DEAD)
    ) -> None:
        self.path = Path(config.log.root) / "log.sqlite"
        self._prefix = config.kafka.topic_prefix
        self._busy_ms = config.kafka.request_timeout_ms
        self._synchronous = synchronous
        self._open: sqlite3.Connection | None = None
        self._inode = 0
        self._topics = topics
        """What whoever opens this means to use, to be named where nobody made the log."""

    def create(self) -> None:
        """Makes the folder and the file with its tables where they are missing."""
        with self.errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=self._busy_ms / 1000)
            with contextlib.closing(connection):
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _TABLES:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={FORMAT}")
                connection.execute("COMMIT")

    def connection(self) -> sqlite3.Connection:
        """The connection, opened on first use. Raises TopicsMissingError where nobody made the log, LogError otherwise."""
        if self._open is None:
            self._open = self._connect()
        return self._open

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of it, or none of it where the body or the commit raises."""
        with self.errors():
            connection = self.connection()
            self._require_same_file()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._abandon(connection)
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """A read transaction: every SELECT within sees the log at one moment."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.execute("COMMIT")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for single SELECTs, with SQLite's errors translated."""
        with self.errors():
            yield self.connection()

    def partitions(self, topics: tuple[str, ...]) -> dict[TopicPartition, PartitionRow]:
        """The partitions of those of ``topics`` (logical names) that exist."""
        marks = ",".join("?" * len(topics))
        query = f"{_PARTITIONS} WHERE topic IN ({marks})"
        with self.reading() as connection:
            (found,) = connection.execute(query, [self._prefix + topic for topic in topics]).fetchone()
        cut = len(self._prefix)
        rows = sorted(json.loads(found), key=operator.itemgetter(2))
        return {TopicPartition(topic[cut:], partition): PartitionRow(*row) for topic, partition, *row in rows}

    def require(self, topics: tuple[str, ...]) -> dict[TopicPartition, PartitionRow]:
        """Like ``partitions``; raises TopicsMissingError where one of ``topics`` does not exist."""
        found = self.partitions(topics)
        missing = [topic for topic in topics if TopicPartition(topic, 0) not in found]
        if missing:
            raise self.missing(missing)
        self._require_same_file()
        return found

    def missing(self, topics: Sequence[str]) -> TopicsMissingError:
        """The error for topics that are not there, with the command that makes them."""
        names = ", ".join(self._prefix + topic for topic in topics)
        return TopicsMissingError(
            f"missing from the embedded log {self.path}: {names}; run `streamer topics create` with this log.root"
        )

    def close(self) -> None:
        """Closes the connection; a later call opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns what SQLite or the file system raises into a LogError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        except OSError as error:
            message = (
                f"embedded log {self.path}: {error.strerror or error}; check log.root (STREAMER_LOG__ROOT) and its permissions"
            )
            raise LogError(message, retriable=False) from error

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise self.missing(self._topics)
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=self._busy_ms / 1000,
            check_same_thread=False,
        )
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found != FORMAT:
            connection.close()
            raise self._wrong_format(found)
        connection.execute(f"PRAGMA synchronous={self._synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
        self._inode = self.path.stat().st_ino
        return connection

    def _abandon(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # A connection that cannot even roll back is given up; SQLite rolls back when the file is next opened.
            log.warning("embedded log %s: rollback failed, opening a new connection", self.path, exc_info=True)
            self.close()

    def _require_same_file(self) -> None:
        try:
            same = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            message = f"embedded log {self.path} was removed or replaced while in use; stop every process that uses it, then start again"
            raise LogError(message, retriable=False)

    def _wrong_format(self, found: int) -> LogError:
        if found == 0:
            return self.missing(self._topics)
        message = f"embedded log {self.path} has format {found}, this version reads format {FORMAT}; use the version that wrote it, or another log.root"
        return LogError(message, retriable=False)


_ADVICE = {
    sqlite3.SQLITE_FULL: (True, "the disk is full; free space under log.root"),
    sqlite3.SQLITE_BUSY: (
        True,
        "another process kept it locked for longer than kafka.request_timeout_ms; look for a stopped one",
    ),
    sqlite3.SQLITE_LOCKED: (True, "another connection holds it; try again"),
    sqlite3.SQLITE_IOERR: (True, "the disk refused; check space, quota and health of the disk under log.root"),
    sqlite3.SQLITE_READONLY: (False, "it may not be written; check the permissions of log.root"),
    sqlite3.SQLITE_CANTOPEN: (False, "it cannot be opened; check the permissions of log.root"),
    sqlite3.SQLITE_CORRUPT: (False, "the file is damaged; restore it, or start with another log.root and replay"),
    sqlite3.SQLITE_NOTADB: (False, "this is no SQLite file; point log.root (STREAMER_LOG__ROOT) at another folder"),
}


def translated(error: sqlite3.Error, path: Path) -> LogError:
    """SQLite's error as a LogError: what was found, where, what to do, and whether trying again may help."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the low byte is the primary code
    retriable, advice = _ADVICE.get(code, (False, "see the cause above"))
    return LogError(f"embedded log {path}: {error}; {advice}", retriable=retriable)
