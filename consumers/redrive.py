"""Dead letters sent again onto the topics from which they came, each once.

1. Take over the name, so that no other redrive can append any more, and what one that died had begun is settled.
2. Read the marks: they say which letters were sent again.
3. A group of letters: append what becomes of them and, beside the letters, the mark that names them, all or none.
So a letter is sent again if and only if its mark is on the log, whenever this dies. The mark lies behind its letter on the same
partition, so that retention never takes it first. It names the rejected record: one that is read again, after a crash or a reset, is
rejected again, and both letters mean the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consumers.dead_topic import OTHERS, REASONS_MAX, DeadTopic, Identities, Selection
from consumers.forgetting import Request, is_of_forgotten
from streamer.events.codec import decode_events
from streamer.events.dead_letters import ATTEMPTS, Identity, Letter, encode_mark, sha256_of
from streamer.events.forget import decode_forget
from streamer.events.items import decode_item
from streamer.events.model import DEAD, EVENTS, FORGET, ITEMS, Reject
from streamer.events.record_time import record_time_ms
from streamer.ports import AtomicWriter, LogError, LogReader, OffsetGapError, OutRecord, TopicPartition

GROUP_LETTERS = 250
GROUP_BYTES = 2_097_152
"""Of letters appended together: readers of committed records wait for the whole group."""
REFUSED_IN_A_ROW_MAX = 20
PROBLEMS_MAX = 10
"""Letters that can't be sent, told one by one; the others are counted."""
TOPICS = (EVENTS, ITEMS, FORGET)
"""What may be sent again: an operator's word of yesterday may not, and vectors are made anew by the encoder."""
NAME = "redrive"

BEFORE = "sent again before"
CUT = "cut at 64 KiB, and the original is not on the log any more"
UNKNOWN = "of a topic that is not known"
NEVER = "of a topic whose records are never sent again"
COPY = "the same record as another letter"
OPERATOR = "left out by an operator"
OTHER_TOPIC = "of a topic that was not asked for"
UNMENDED = "not mended"
FORGOTTEN = "of a user who was forgotten since"
REFUSED = "refused by the log"

Mended = list[tuple[bytes | None, bytes]] | str
"""Keys and values of events, or why there are none."""
Mend = Callable[[Sequence[Letter]], list[Mended]]
"""What becomes of each letter's value, which is whole."""


class Ready(NamedTuple):
    """A letter, and the records that are sent for it."""

    letter: Letter
    records: tuple[OutRecord, ...]


@dataclass(slots=True)
class RedriveReport:
    """What became of the letters asked for: ``letters`` = ``sent`` + all of ``left``."""

    letters: int = 0
    sent: int = 0
    """Letters whose records are on the log now; in a dry run those that would be sent."""
    records: dict[str, int] = field(default_factory=dict)
    """Sent for them, by topic."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Letters sent, by reason."""
    left: dict[str, int] = field(default_factory=dict)
    """Letters not sent, by cause."""
    rejected_again: int = 0
    """Records sent that this version's codec refuses."""
    late: int = 0
    """Events sent that are older than the newest event on the log by more than ``windows.lateness_ms_max``: they change nothing."""
    problems: list[str] = field(default_factory=list)


class Redrive:
    """One pass over the letters.

    Args:
        dead: the topic, read after the name was taken over.
        reader: finds the originals of letters that were cut.
        topics: whose letters are sent again.
        late_before_ms: events before this time are late.
        mend: what is sent instead of the value; None: the value as it is, under its own key.
        left_out: whether records that an operator left out are sent, too.
        forgotten: users none of whose letters from before is sent: mended, one may have a time that his request does not cover.
    """

    def __init__(
        self,
        dead: DeadTopic,
        reader: LogReader,
        topics: Sequence[str],
        late_before_ms: int,
        mend: Mend | None = None,
        *,
        left_out: bool = False,
        forgotten: Mapping[bytes, Request] | None = None,
    ) -> None:
        self.report = RedriveReport()
        self._dead = dead
        self._reader = reader
        self._topics = topics
        self._late_before_ms = late_before_ms
        self._mend = mend
        self._left_out = left_out
        self._forgotten = forgotten or {}
        self._seen = Identities()
        self._refused_in_a_row = 0

    def run(self, selection: Selection, limit: int | None, writer: AtomicWriter | None) -> RedriveReport:
        """Sends the letters selected that can be sent, oldest first, at most ``limit``; without a ``writer`` only says what it would send.

        Raises LogError where the log is away or another redrive took over; what was sent before is marked, and running it again
        sends the rest.
        """
        for group in self._groups(self._candidates(selection), limit):
            if writer is None or group == []:
                self._count(group)
            else:
                self._append(writer, group)
        return self.report

    def _candidates(self, selection: Selection) -> Iterator[Letter]:
        """Those that can be sent, with their whole values; the others are told."""
        for letter, again in self._dead.letters():
            if not selection.takes(letter):
                continue
            self.report.letters += 1
            cause = BEFORE if again else self._hindrance(letter)
            whole = letter if cause else self._whole(letter)
            if whole is None:
                self._leave(letter, CUT)
            elif not cause and self._is_of_forgotten(letter, whole.key, whole.value):
                self._leave(letter, FORGOTTEN)
            elif cause:
                self._leave(letter, cause)
            elif self._seen.add(letter.identity):
                yield whole
            else:
                self._leave(letter, COPY)

    def _is_of_forgotten(self, letter: Letter, key: bytes | None, value: bytes | None) -> bool:
        return is_of_forgotten(self._forgotten, letter.topic, key, value, letter.append_ms)

    def _hindrance(self, letter: Letter) -> str | None:
        if not letter.topic:
            return UNKNOWN
        if letter.topic not in TOPICS:
            return NEVER
        if letter.left_out and not self._left_out:
            return OPERATOR
        return None if letter.topic in self._topics else OTHER_TOPIC

    def _whole(self, letter: Letter) -> Letter | None:
        """The letter with all of its value: the original's where it was cut, None where that is gone, or of a topic made again."""
        if not letter.cut:
            return letter
        topic, partition, offset = letter.origin
        if (
            self._dead.topic_ids.get(topic) != letter.topic_id
            or offset < 0
            or not 0 <= partition < self._dead.partitions[topic]
        ):
            return None
        try:
            found = self._reader.read(TopicPartition(topic, partition), offset, 1)
        except OffsetGapError:
            return None
        there = found.offsets == [offset] and sha256_of(found.values[0]) == letter.sha256
        return letter._replace(value=found.values[0]) if there else None

    def _groups(self, letters: Iterable[Letter], limit: int | None) -> Iterator[list[Ready]]:
        room = limit
        waiting: list[Letter] = []
        size = 0
        for letter in letters:
            waiting.append(letter)
            size += len(letter.value or b"")
            if len(waiting) >= min(GROUP_LETTERS, GROUP_LETTERS if room is None else room) or size >= GROUP_BYTES:
                ready = self._ready(waiting)
                yield ready
                waiting, size = [], 0
                room = None if room is None else room - len(ready)
                if room == 0:
                    return
        yield self._ready(waiting)

    def _ready(self, letters: list[Letter]) -> list[Ready]:
        if self._mend is None:
            return [Ready(letter, (_record(letter, letter.key, letter.value),)) for letter in letters]
        group = []
        for letter, mended in zip(letters, self._mend(letters), strict=True):
            if isinstance(mended, str):
                self._leave(letter, UNMENDED, mended)
            elif any(self._is_of_forgotten(letter, key, value) for key, value in mended):
                self._leave(letter, FORGOTTEN)
            else:
                group.append(Ready(letter, tuple(_record(letter, key, value) for key, value in mended)))
        return group

    def _append(self, writer: AtomicWriter, group: list[Ready]) -> None:
        """All of the group; where the log refuses it, halves, until those that it refuses are found."""
        try:
            writer.append([*(record for ready in group for record in ready.records), *_marks(group)])
        except LogError as error:
            fenced = type(error) is not LogError
            if error.retriable or fenced or self._refused_in_a_row == REFUSED_IN_A_ROW_MAX:
                raise
            if len(group) == 1:
                self._refused_in_a_row += 1
                self._leave(group[0].letter, REFUSED, str(error))
                return
            for half in (group[: len(group) // 2], group[len(group) // 2 :]):
                self._append(writer, half)
        else:
            self._refused_in_a_row = 0
            self._count(group)

    def _count(self, group: list[Ready]) -> None:
        report = self.report
        report.sent += len(group)
        for ready in group:
            _add(report.reasons, ready.letter.reason)
        for topic, count in Counter(record.topic for ready in group for record in ready.records).items():
            _add(report.records, topic, count)
            records = [record for ready in group for record in ready.records if record.topic == topic]
            report.rejected_again += _rejected(topic, records)
            if topic == EVENTS:
                times = (record_time_ms(EVENTS, record.value) for record in records)
                report.late += sum(0 < time < self._late_before_ms for time in times)

    def _leave(self, letter: Letter, cause: str, why: str = "") -> None:
        _add(self.report.left, cause)
        if cause not in (BEFORE, COPY, OPERATOR, OTHER_TOPIC, FORGOTTEN) and len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(f"{letter.origin} (letter {letter.at}): {cause}{': ' * bool(why)}{why}")


def newest_event_ms(reader: LogReader, bounds: dict[TopicPartition, tuple[int, int]], ahead_ms_max: int) -> int:
    """About the newest event time on the log, from the last records of each partition of ``bounds``; 0 where there is none."""
    newest = 0
    for place, (first, end) in bounds.items():
        try:
            tail = reader.read(place, max(first, end - GROUP_LETTERS), GROUP_LETTERS)
        except OffsetGapError:
            continue
        times = (record_time_ms(place.topic, value) for value in tail.values)
        newest = max([newest, *(min(time, at + ahead_ms_max) for time, at in zip(times, tail.append_ms, strict=True))])
    return newest


def _record(letter: Letter, key: bytes | None, value: bytes | None) -> OutRecord:
    return OutRecord(letter.topic, key, value, ((ATTEMPTS, str(letter.attempts).encode()),))


def _marks(group: list[Ready]) -> Iterator[OutRecord]:
    sent: dict[int, list[Identity]] = {}
    for ready in group:
        sent.setdefault(ready.letter.at.partition, []).append(ready.letter.identity)
    for partition, some in sent.items():
        value, headers = encode_mark(some)
        yield OutRecord(DEAD, None, value, headers, partition)


def _rejected(topic: str, records: Sequence[OutRecord]) -> int:
    if topic == EVENTS:
        return len(decode_events([record.value for record in records]).rejects)
    decode = decode_item if topic == ITEMS else decode_forget
    return sum(isinstance(decode(record.key, record.value), Reject) for record in records)


def _add(counts: dict[str, int], name: str, count: int = 1) -> None:
    name = name if name in counts or len(counts) < REASONS_MAX else OTHERS
    counts[name] = counts.get(name, 0) + count
