"""Which recordings were played onto a namespace's events, kept on the log itself: as offsets of groups that nobody is a member of.

A run of recording ``HASH`` has two groups. ``streamer-NAMESPACE-replay-HASH-N`` holds where each partition of ``events`` ended before the
run's first record, and ``…-N-end`` where it ended behind the last one, committed when the run is over. The metadata of each is a
``Note``. While a run plays it commits its note anew every ``BEAT_S``: so another process sees that it lives, and it sees
where another took it over.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from producers.checks import Checked, shown
from streamer.events.model import EVENTS
from streamer.ports import Committed, LogAdmin, LogError, Positions, TopicPartition

logger = logging.getLogger(__name__)

BEAT_S = 2.0
"""Between two signs of life of a run."""
PATIENCE_S = 3 * BEAT_S
"""A run that gives no sign for so long is dead."""
STILL_S = 2.0
"""The ends of the log stand still for so long before they are believed: a dead process's last request may still be at work."""
STILL_S_MAX = 30.0
"""What moves them after so long is somebody else."""
LOOK_S = 0.25
NAMED_FILES_MAX = 5
FILE_NAME_MAX = 100
END = "-end"


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run says of itself; a few hundred bytes, since a broker keeps one a partition."""

    state: Literal["playing", "stopped", "done"]
    """``stopped``: it ended before its end, and nothing of it is under way."""
    run: str
    """Drawn by the process that plays it."""
    beat: int = 0
    at_ms: int
    topic_id: str
    events: int
    """That it has to send, or at its end those on the log."""
    refused: int = 0
    files: list[str]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a recording: where the partitions of ``events`` ended at its start and, if it came to that, at its end."""

    group: str
    identity: str
    number: int
    note: Note
    starts: Positions
    ends: Positions | None

    @property
    def files(self) -> str:
        """The names of its files."""
        return ", ".join(self.note.files)


class Taken(LogError):  # noqa: N818 - it is told to people, who take it for what it says
    """Another process plays this recording onto the same topic."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class Runs:
    """The runs of one namespace.

    Args:
        admin: of the log that the namespace's topics are on.
        group: the namespace's own group, with whose name those of the runs begin.
        now_ms: the wall clock, for people to read.
    """

    def __init__(self, admin: LogAdmin, group: str, *, now_ms: Callable[[], int]) -> None:
        self._admin = admin
        self._prefix = f"{group}-replay-"
        self._now_ms = now_ms
        self._topic_id = admin.topics()[EVENTS].topic_id

    def all(self) -> list[Run]:
        """All that the log remembers of the topic as it is, in the order of recordings and numbers."""
        found = self._admin.offsets_of_groups(self._prefix)
        runs = []
        for group, starts in found.items():
            match = re.fullmatch(rf"{re.escape(self._prefix)}([0-9a-f]+)-(\d+)", group)
            note, ends = _note(starts), found.get(group + END, {})
            if not match or not note or note.topic_id != self._topic_id:
                continue
            last = _note(ends)
            done = last is not None and last.topic_id == self._topic_id
            runs.append(
                Run(
                    group=group,
                    identity=match[1],
                    number=int(match[2]),
                    note=last if last is not None and done else note,
                    starts=_positions(starts),
                    ends=_positions(ends) if done else None,
                )
            )
        return sorted(runs, key=lambda run: (run.identity, run.number))

    def ends(self) -> dict[TopicPartition, int]:
        """Where each partition of ``events`` ends now."""
        return {where: end for where, (_, end) in self._bounds().items()}

    def strangers(self, runs: Sequence[Run]) -> int:
        """Records of ``events`` that none of these runs put there: those before their spans, between them, and behind them.

        Runs that did not end may have put there what came since, but no more than they had to send.
        """
        done = [run for run in runs if run.ends is not None]
        others = self._uncovered(done)
        before_any = self._uncovered(runs)
        to_send = sum(run.note.events for run in runs if run.ends is None)
        return before_any + max(0, others - before_any - to_send)

    def begin(self, recording: Checked, number: int) -> Run:
        """Registers a run, before its first record."""
        note = Note(
            state="playing",
            run=secrets.token_hex(4),
            at_ms=self._now_ms(),
            topic_id=self._topic_id,
            events=recording.inside,
            files=_names(recording),
        )
        group = f"{self._prefix}{recording.identity}-{number}"
        run = Run(group, recording.identity, number, note, self.ends(), None)
        self._write(run, note)
        return run

    def take_over(self, run: Run) -> Run:
        """Makes a run whose process is dead this process's own."""
        note = msgspec.structs.replace(run.note, state="playing", run=secrets.token_hex(4), beat=0, at_ms=self._now_ms())
        self._write(run, note)
        return Run(run.group, run.identity, run.number, note, run.starts, None)

    def beat(self, run: Run, beat: int) -> None:
        """A sign of life. Raises Taken where another process has taken the run over."""
        found = self.note(run)
        if found is None or found.run != run.note.run:
            raise Taken(f"another process has taken over the replay of {run.files}: this one ends, and the other goes on")
        self._write(run, msgspec.structs.replace(run.note, beat=beat, at_ms=self._now_ms()))

    def stop(self, run: Run) -> None:
        """Says that nothing of the run is under way, unless another process has taken it over."""
        found = self.note(run)
        if found is not None and found.run == run.note.run:
            self._write(run, msgspec.structs.replace(run.note, state="stopped", at_ms=self._now_ms()))

    def end(self, run: Run, events: int, refused: int) -> None:
        """Registers that a run is over."""
        note = msgspec.structs.replace(run.note, state="done", at_ms=self._now_ms(), events=events, refused=refused)
        self._admin.set_offsets(run.group + END, self.ends(), _text(note))

    def note(self, run: Run) -> Note | None:
        """What is said of a run that is not over."""
        return _note(self._admin.committed(run.group))

    def _uncovered(self, runs: Sequence[Run]) -> int:
        """Records of ``events`` that lie in the spans of none of these runs; one that did not end is still going on."""
        count = 0
        for where, (beginning, end) in self._bounds().items():
            spans = [(run.starts.get(where, end), end if run.ends is None else run.ends.get(where, end)) for run in runs]
            count += _uncovered(beginning, end, spans)
        return count

    def _write(self, run: Run, note: Note) -> None:
        self._admin.set_offsets(run.group, run.starts, _text(note))

    def _bounds(self) -> dict[TopicPartition, tuple[int, int]]:
        return {where: span for where, span in self._admin.bounds().items() if where.topic == EVENTS}


def wait_until_still(
    runs: Runs,
    run: Run,
    *,
    clock_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[TopicPartition, int]:
    """Waits until a run that did not come to its end is dead and nothing of it can land any more; returns the ends of ``events``.

    Raises Taken where a process still plays it.
    """
    ends = runs.ends()
    if run.note.state == "stopped":
        return ends
    begun_s = moved_s = clock_s()
    while True:
        sleep(LOOK_S)
        note = runs.note(run)
        if note is not None and note != run.note:
            raise Taken(
                f"{run.files} is being played onto this topic by another process (sign of life at {shown(note.at_ms)}): "
                "wait for its end, or stop it and run this again, which goes on where it ended"
            )
        found, now_s = runs.ends(), clock_s()
        if found != ends:
            ends, moved_s = found, now_s
        waited_s = now_s - begun_s
        if waited_s >= PATIENCE_S and (now_s - moved_s >= STILL_S or waited_s >= STILL_S_MAX):
            return ends


class Playing:
    """A run that this process plays: gives signs of life from a thread of its own."""

    def __init__(self, runs: Runs, run: Run) -> None:
        self._runs = runs
        self.run = run
        self.settled = True
        """Whether the log has acknowledged or refused all that was sent."""
        self._over = threading.Event()
        self._taken: Taken | None = None
        self._thread = threading.Thread(target=self._beat, name="replay-signs-of-life", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raises Taken where another process has taken the run over."""
        if self._taken is not None:
            raise self._taken

    def end_beats(self) -> None:
        """No more signs of life."""
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        beat = 0
        while not self._over.wait(BEAT_S):
            beat += 1
            try:
                self._runs.beat(self.run, beat)
            except Taken as taken:
                self._taken = taken
                return
            except LogError as error:
                logger.warning("no sign of life of this replay could be given: %s", error)


@contextlib.contextmanager
def playing(beats: Runs, runs: Runs, run: Run) -> Iterator[Playing]:
    """Keeps a run alive; ``beats`` is used by a thread of its own.

    Where the run ends before its end, ``runs`` notes that nothing is under way, if whoever sent says so (``settled``) and the log
    did not fail, which leaves open what it did.
    """
    now = Playing(beats, run)
    try:
        yield now
    except BaseException as error:
        now.end_beats()
        if now.settled and not isinstance(error, LogError):
            with contextlib.suppress(LogError):
                runs.stop(run)
        raise
    now.end_beats()
    now.require()


def _note(committed: Mapping[TopicPartition, Committed]) -> Note | None:
    """The note of a group, the same in each of its partitions; None where it is none of ours."""
    texts = {one.metadata for where, one in committed.items() if where.topic == EVENTS}
    if len(texts) != 1:
        return None
    try:
        return msgspec.json.decode(texts.pop(), type=Note)
    except msgspec.MsgspecError:
        return None


def _text(note: Note) -> str:
    return msgspec.json.encode(note).decode()


def _positions(committed: Mapping[TopicPartition, Committed]) -> dict[TopicPartition, int]:
    return {where: one.next_offset for where, one in committed.items()}


def _names(recording: Checked) -> list[str]:
    names = [reading.path.name[:FILE_NAME_MAX].encode(errors="replace").decode() for reading in recording.readings]
    more = len(names) - NAMED_FILES_MAX
    return [*names[:NAMED_FILES_MAX], f"and {more} more"] if more > 0 else names


def _uncovered(beginning: int, end: int, spans: Sequence[tuple[int, int]]) -> int:
    """How many of ``[beginning, end)`` lie in none of the spans.

    >>> _uncovered(10, 100, [(0, 20), (15, 30), (50, 60)])
    60
    """
    count, reached = 0, beginning
    for first, stop in sorted(spans):
        count += max(0, min(first, end) - reached)
        reached = max(reached, stop)
    return count + max(0, end - reached)
