"""Reading the embedded log as a member of a group: the EventLog port on SQLite and a file lock.

For first runs and single machines, not a broker. A group has one owner, whoever holds its lock; the others are standbys,
whether the group is exclusive or not. The kernel frees the lock when its holder dies, however it dies. A holder that is
merely stopped keeps it: unlike Kafka's group, no poll interval expels it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from streamer.config.tree import Config
from streamer.embedded.batches import unpack, unpack_headers
from streamer.embedded.database import Database, PartitionRow
from streamer.ports import (
    Committed,
    FencedError,
    Headers,
    LogError,
    OffsetGapError,
    Polled,
    Positions,
    RecordBatch,
    TopicPartition,
)

log = logging.getLogger(__name__)

METADATA_BYTES_MAX = 4_096
"""Of a commit, as in Kafka."""

POLL_BYTES_MAX = 33_554_432
"""Values after which a poll stops reading further runs, whatever their number of records."""

_WAIT_MIN_S, _WAIT_MAX_S = 0.001, 0.016
"""Between two looks at an idle log: doubles from the first to the second, so an idle reader costs next to nothing."""

_RUNS = """SELECT base_offset, count, append_ms, key_lengths, keys, value_lengths, contents, headers FROM batches
           WHERE partition_id = ? AND base_offset < ? AND base_offset >= coalesce(
             (SELECT max(base_offset) FROM batches WHERE partition_id = ? AND base_offset <= ?), 0) ORDER BY base_offset"""


class EmbeddedLog:
    """EventLog on the embedded log in ``config.log.root``.

    Args:
        config: ``log.root``, ``kafka.topic_prefix``, ``kafka.max_poll_records``, ``kafka.request_timeout_ms``.
        group: whose commits these are, and whose lock.
        topics: logical names to read, all partitions of each.
        exclusive: accepted for the port's sake: here one member of a group reads at a time in either case.
        passing: whether it leaves at once, so that its ownership is no news for people.
    """

    def __init__(
        self,
        config: Config,
        *,
        group: str,
        topics: Sequence[str],
        exclusive: bool,  # noqa: ARG002
        passing: bool = False,
    ) -> None:
        self._group = group
        self._news_level = logging.DEBUG if passing else logging.INFO
        self._topics = tuple(topics)
        self._records_max = config.kafka.max_poll_records
        self._database = Database(config, synchronous="FULL", topics=self._topics)
        self._lock = GroupLock(Path(config.log.root) / "groups" / f"{group}.lock")
        self._generation: int | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._turn = 0

    def poll(self, timeout_ms: int, *, paused: bool = False) -> Polled:
        """Waits up to ``timeout_ms`` for records; returns at once when the generation has changed.

        Raises TopicsMissingError, OffsetGapError where a position lies outside what the log holds, LogError where the file
        cannot be read; after a retriable one the same call may succeed later.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        wait_s = _WAIT_MIN_S
        while True:
            before = self._generation
            batches = self._read(paused=paused)
            if self._generation is None:
                self._join()
            left_s = deadline - time.monotonic()
            if batches or self._generation != before or left_s <= 0:
                return Polled(batches, self._generation)
            time.sleep(min(wait_s, left_s))
            wait_s = min(2 * wait_s, _WAIT_MAX_S)

    def seek(self, positions: Positions) -> None:
        """Sets the next offset of partitions owned by this member; raises FencedError where it owns none."""
        self._require_membership("seek")
        self._require_known(positions)
        self._positions.update(positions)

    def committed(self) -> dict[TopicPartition, Committed]:
        """What the group has committed, for every partition that has a commit; any member may ask, a standby too."""
        places = {row.id: place for place, row in self._database.require(self._topics).items()}
        query = "SELECT partition_id, next_offset, metadata FROM commits WHERE group_name = ?"
        with self._database.reading() as connection:
            rows = connection.execute(query, (self._group,)).fetchall()
        return {places[one]: Committed(offset, metadata) for one, offset, metadata in rows if one in places}

    def commit(self, positions: Positions, metadata: str) -> None:
        """Commits all positions in one transaction that is on the disk when this returns.

        Raises FencedError where this member is not, or no longer, the owner; LogError where the file refuses.
        """
        if len(metadata.encode()) > METADATA_BYTES_MAX:
            message = f"commit metadata of group {self._group} has {len(metadata.encode())} bytes, at most {METADATA_BYTES_MAX} are kept"
            raise LogError(message, retriable=False)
        generation = self._require_membership("commit")
        rows = self._require_known(positions)
        with self._database.transaction() as connection:
            if self._stored_generation() != generation:
                raise self._fenced("commit", generation)
            connection.executemany(
                "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)",
                [(self._group, rows[place].id, offset, metadata) for place, offset in positions.items()],
            )

    def close(self) -> None:
        """Gives the group's lock back, so that a standby takes over, and closes the file."""
        self._leave()
        self._database.close()

    def _join(self) -> None:
        with self._database.errors():
            held = self._lock.acquire()
        if not held:
            return
        try:
            with self._database.transaction() as connection:
                row = connection.execute(
                    "INSERT INTO groups VALUES (?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1 RETURNING generation",
                    (self._group,),
                ).fetchone()
        except BaseException:
            self._lock.release()
            raise
        self._generation = row[0]
        log.log(self._news_level, "group %s: owner under generation %d", self._group, row[0])

    def _leave(self) -> None:
        self._generation = None
        self._positions = {}
        self._lock.release()

    def _still_owner(self) -> bool:
        if self._stored_generation() == self._generation:
            return True
        log.warning("group %s: generation %s is over, another member owns the log", self._group, self._generation)
        self._leave()
        return False

    def _stored_generation(self) -> int | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT generation FROM groups WHERE name = ?", (self._group,)).fetchone()
        return None if row is None else int(row[0])

    def _require_membership(self, verb: str) -> int:
        if self._generation is None:
            raise self._fenced(verb, None)
        return self._generation

    def _fenced(self, verb: str, generation: int | None) -> FencedError:
        mine = "it owns no partitions" if generation is None else f"its generation {generation} is over"
        return FencedError(
            f"{verb} refused: {mine} in group {self._group}; discard the state and poll until a generation is given"
        )

    def _require_known(self, positions: Positions) -> dict[TopicPartition, PartitionRow]:
        rows = self._database.require(self._topics)
        unknown = [f"{topic}-{partition}" for topic, partition in positions if (topic, partition) not in rows]
        if unknown:
            message = f"positions for {', '.join(unknown)}: not among the partitions that group {self._group} reads"
            raise LogError(message, retriable=False)
        return rows

    def _read(self, *, paused: bool) -> list[RecordBatch]:
        batches: list[RecordBatch] = []
        with self._database.snapshot():
            rows = self._database.require(self._topics)
            if self._generation is None or not self._still_owner() or paused:
                return batches
            backlog = self._backlog(rows)
            room = POLL_BYTES_MAX
            for place, count in self._shares(backlog).items():
                if room > 0:
                    position = self._positions[place]
                    batches.append(batch_of(self._database, place, backlog[place].id, (position, position + count), room))
                    room -= sum([len(value) for value in batches[-1].values if value])
        # Only now: had a later partition's run been unreadable, the earlier ones would be delivered by the next poll.
        for batch in batches:
            self._positions[TopicPartition(batch.topic, batch.partition)] = batch.next_offset
        return batches

    def _backlog(self, rows: dict[TopicPartition, PartitionRow]) -> dict[TopicPartition, PartitionRow]:
        for place, position in self._positions.items():
            row = rows[place]
            if not row.beginning <= position <= row.end:
                raise gap_of(place, position, row)
        return {place: rows[place] for place, position in self._positions.items() if position < rows[place].end}

    def _shares(self, backlog: dict[TopicPartition, PartitionRow]) -> dict[TopicPartition, int]:
        """How many records to take of each partition: alike, what one has not goes to the others, another first each time."""
        self._turn += 1
        places = list(backlog)
        first = self._turn % len(places) if places else 0
        waiting = places[first:] + places[:first]
        shares = dict.fromkeys(waiting, 0)
        left = self._records_max
        while left and waiting:
            each = max(1, left // len(waiting))
            for place in waiting:
                take = min(each, left, backlog[place].end - self._positions[place] - shares[place])
                shares[place] += take
                left -= take
            waiting = [place for place in waiting if self._positions[place] + shares[place] < backlog[place].end]
        return {place: count for place, count in shares.items() if count}


def batch_of(database: Database, place: TopicPartition, partition_id: int, span: tuple[int, int], room: int) -> RecordBatch:
    """The records from the first offset of ``span`` to the second (exclusive), at least one, fewer where ``room`` bytes are spent.

    Raises LogError where a run cannot be read.
    """
    position, stop = span
    offsets: list[int] = []
    stamps: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: dict[int, Headers] = {}
    runs = database.connection().execute(_RUNS, (partition_id, stop, partition_id, position))
    for base, length, append_ms, *columns in runs:
        first, end = max(position - base, 0), min(stop - base, length)
        offsets += range(base + first, base + end)
        stamps += [append_ms] * (end - first)
        keys += unpack(columns[0], columns[1], first, end)
        values += unpack(columns[2], columns[3], first, end)
        if columns[4] is not None:
            some = unpack_headers(columns[4], length)
            headers |= {base + row: some[row] for row in range(first, end) if some[row]}
        room -= len(columns[3])
        if room <= 0:
            break
    return RecordBatch(place.topic, place.partition, offsets[-1] + 1, offsets, stamps, keys, values, headers)


def gap_of(place: TopicPartition, position: int, row: PartitionRow) -> OffsetGapError:
    """The error for a position outside of what the log holds."""
    message = (
        f"{place.topic}-{place.partition}: position {position} lies outside what the embedded log holds, "
        f"offsets {row.beginning} to {row.end}; seek to the beginning and count what is lost"
    )
    return OffsetGapError(message, partition=place, position=position, beginning=row.beginning, end=row.end)


class GroupLock:
    """The file lock that makes a member the owner of its group. The kernel lets go of it when the holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Whether the lock is held now; never waits."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Lets go; nothing where it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
