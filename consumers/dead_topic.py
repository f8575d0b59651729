"""What lies on ``events.dead``: letters, oldest first, each with whether it was sent again.

Memory: a few batches, and eight bytes for each that was sent again.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from consumers.forgetting import Request, is_of_forgotten
from consumers.span import batches_between
from streamer.events.dead_letters import Identity, Letter, Place, decode_letter, decode_mark
from streamer.events.model import DEAD
from streamer.ports import LogAdmin, LogReader, RecordBatch, TopicPartition, TopicsMissingError

READ_RECORDS = 4_096
"""Of one partition at a time; readers of the log give fewer where values are large."""
REASONS_MAX = 50
"""Reasons counted by name; a stranger's are among them, and what comes after counts as OTHERS."""
OTHERS = "others"
WITHHELD = "withheld: of a user who was forgotten since"


class Selection(NamedTuple):
    """Which letters are meant: by reason (none: all), and by when the log got them, in ``[start_ms, end_ms)``."""

    reasons: frozenset[str] = frozenset()
    start_ms: int | None = None
    end_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.start_ms is None or letter.append_ms >= self.start_ms)
            and (self.end_ms is None or letter.append_ms < self.end_ms)
        )


class Identities:
    """A set of rejected records: sorted offsets by partition. They come nearly in order, so that most are added at an end."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], array[int]] = {}

    def __contains__(self, one: Identity) -> bool:
        """Whether it was added."""
        offsets = self._offsets.get(one[:2])
        if offsets is None:
            return False
        at = bisect_left(offsets, one.offset)
        return at < len(offsets) and offsets[at] == one.offset

    def add(self, one: Identity) -> bool:
        """Adds one; False where it was there."""
        offsets = self._offsets.setdefault(one[:2], array("q"))
        at = bisect_left(offsets, one.offset)
        new = at == len(offsets) or offsets[at] != one.offset
        if new:
            offsets.insert(at, one.offset)
        return new


class DeadTopic:
    """The topic as far as it reaches when this is made; retention may take its beginning meanwhile.

    Letters of ``forgotten`` users from before they asked are given without what they hold of them.
    """

    def __init__(self, reader: LogReader, admin: LogAdmin, forgotten: Mapping[bytes, Request] | None = None) -> None:
        self._reader = reader
        self._forgotten = forgotten or {}
        topics = admin.topics()
        self.topic_ids = {topic: info.topic_id for topic, info in topics.items()}
        """Of the present topics."""
        self.partitions = {topic: info.partitions for topic, info in topics.items()}
        """The same; how many each has."""
        self._names = {topic_id: topic for topic, topic_id in self.topic_ids.items()}
        self._bounds = admin.bounds([DEAD])
        if not self._bounds:
            raise TopicsMissingError(f"there is no topic {DEAD} (kafka.topic_prefix in front): run `streamer topics create`")
        self._again = Identities()
        for place in self._bounds:
            self._look_for_marks(place)

    def letters(self) -> Iterator[tuple[Letter, bool]]:
        """Every letter, oldest first, and whether a mark says that it was sent again; those of a partition in its order."""
        yield from heapq.merge(*map(self._letters_of, self._bounds), key=lambda found: (found[0].append_ms, found[0].at))

    def _letters_of(self, place: TopicPartition) -> Iterator[tuple[Letter, bool]]:
        for batch in self._batches(place):
            for offset, append_ms, key, value in zip(batch.offsets, batch.append_ms, batch.keys, batch.values, strict=True):
                at, headers = Place(*place, offset), batch.headers.get(offset, ())
                letter = decode_letter(at, append_ms, key, value, headers, self._names)
                if letter is not None:
                    if is_of_forgotten(self._forgotten, letter.topic, key, value, append_ms):
                        letter = letter._replace(key=None, value=None, sha256="", error=WITHHELD)
                    yield letter, letter.identity in self._again

    def _look_for_marks(self, place: TopicPartition) -> None:
        for batch in self._batches(place):
            for at, value in zip(batch.offsets, batch.values, strict=True):
                for one in decode_mark(value, batch.headers.get(at, ())):
                    self._again.add(one)

    def _batches(self, place: TopicPartition) -> Iterator[RecordBatch]:
        return batches_between(self._reader, place, *self._bounds[place], READ_RECORDS)


@dataclass(slots=True)
class Counted:
    """Letters of one reason."""

    letters: int = 0
    redriven: int = 0
    cut: int = 0
    """Whose value is not all of the rejected one."""
    first_ms: int = 0
    last_ms: int = 0
    topics: dict[str, int] = field(default_factory=dict)

    def add(self, letter: Letter, *, redriven: bool) -> None:
        """Counts one; they come oldest first."""
        self.first_ms = self.first_ms or letter.append_ms
        self.last_ms = letter.append_ms
        self.letters += 1
        self.redriven += redriven
        self.cut += letter.cut
        name = letter.topic or letter.topic_id
        name = name if name in self.topics or len(self.topics) < REASONS_MAX else OTHERS
        self.topics[name] = self.topics.get(name, 0) + 1


class Overview(NamedTuple):
    """Counts by reason, and some of the letters, in the order of their times, each with whether it was sent again."""

    reasons: dict[str, Counted]
    shown: list[tuple[Letter, bool]]

    @property
    def total(self) -> int:
        """All letters counted."""
        return sum(one.letters for one in self.reasons.values())


def overview(found: Iterable[tuple[Letter, bool]], limit: int, *, oldest: bool) -> Overview:
    """Counts letters that come oldest first, and keeps the last ``limit`` of them, or the first."""
    reasons: dict[str, Counted] = {}
    kept: deque[tuple[Letter, bool]] = deque(maxlen=None if oldest else limit)
    for letter, redriven in found:
        name = letter.reason if letter.reason in reasons or len(reasons) < REASONS_MAX else OTHERS
        reasons.setdefault(name, Counted()).add(letter, redriven=redriven)
        if not oldest or len(kept) < limit:
            kept.append((letter, redriven))
    return Overview(reasons, list(kept))


def ranges(places: Iterable[Place]) -> Iterator[str]:
    """Places as ``streamer reset --leave-out`` takes them, neighbours that follow each other as one range.

    >>> list(ranges([Place("events", 0, 7), Place("events", 1, 7), Place("events", 0, 8)]))
    ['events[0]:7-8', 'events[1]:7']
    """
    open_: dict[tuple[str, int], tuple[int, int]] = {}
    for topic, partition, offset in places:
        first, last = open_.get((topic, partition), (offset, offset - 1))
        if offset == last + 1:
            open_[topic, partition] = (first, offset)
            continue
        yield _range(topic, partition, first, last)
        open_[topic, partition] = (offset, offset)
    for (topic, partition), (first, last) in open_.items():
        yield _range(topic, partition, first, last)


def _range(topic: str, partition: int, first: int, last: int) -> str:
    return f"{Place(topic, partition, first)}" + (f"-{last}" if last > first else "")
