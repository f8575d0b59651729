"""The engine and where it stands in the log: applies work in order, and finds out which record the engine fails at."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consumers.apart import OffsetRange
from consumers.recorded_order import RecordedOrder, Run
from consumers.work import Ordered, Work
from streamer.config.tree import Config
from streamer.engine.engine import CapacityError, Engine
from streamer.engine.rules import structure_of
from streamer.events.control import Freeze, Rollback
from streamer.events.model import DeadLetter
from streamer.ports import SnapshotStore, TopicPartition
from streamer.snapshots import SnapshotDamaged, StructureDiffers
from streamer.snapshots.rollback import SavedHead, read_head
from streamer.tables.arrays import Array

logger = logging.getLogger(__name__)

CONVICTED_IN_A_ROW_MAX = 20
"""Records that fail one after the other, each alone: where it is more, it is no record's fault."""
OTHERS_MAX = 32
"""Pieces without a suspect after which the state from before the suspects is kept no longer."""


class PieceFailed(Exception):  # noqa: N818 - says what is the case
    """The engine raised at a piece of work, and its state is good no more; ``ranges`` are the offsets of the piece."""

    def __init__(self, ranges: Sequence[OffsetRange], error: Exception) -> None:
        places = ", ".join(f"{one.topic}[{one.partition}] {one.first} to {one.stop - 1}" for one in ranges)
        super().__init__(f"the fold failed at records {places}: {type(error).__name__}: {error}")
        self.ranges = tuple(ranges)


@dataclass(slots=True)
class _Aside:
    """The fold's tables as they were before the first of some suspects, and the work applied since."""

    fold: dict[str, Array]
    users: int
    """Rows of users then."""
    since: list[Work] = field(default_factory=list)
    others: int = 0
    """Pieces since the last suspect."""


class Fold:
    """One engine, fed in order by one loop."""

    def __init__(
        self,
        engine: Engine,
        config: Config,
        positions: dict[TopicPartition, int],
        left_out: Sequence[OffsetRange] = (),
        *,
        epoch: int = 0,
        snapshots: SnapshotStore | None = None,
        clock_s: Callable[[], float] = float,
    ) -> None:
        self.engine = engine
        engine.clock_s = clock_s
        self.positions = positions
        """Next offsets as applied."""
        self.left_out = list(left_out)
        """What is not applied, of what was read or is still to come."""
        self.letters: deque[DeadLetter] = deque()
        """Of records that were found to make the engine fail, and of rollbacks that can't be done."""
        self.records = 0
        """Applied since the order was taken last."""
        self.epoch = epoch
        """A rollback begins a new one."""
        self.freeze: Freeze | None = None
        """The operator's word that froze learning, where it was read since this fold began."""
        self._snapshots = snapshots
        self._config = config
        self._order = RecordedOrder()
        self._aside: _Aside | None = None
        self._convicted_in_a_row = 0

    def apply(self, work: Work) -> None:
        """Folds a piece of work.

        Raises:
            PieceFailed: the engine raised at it; the state must be restored, and the records of the piece come again as suspects.
            MemoryError, CapacityError: what no record is to blame for.
        """
        if work.ordered is not None and isinstance(work.ordered.control, Rollback):
            work = self._with_saved_head(work, work.ordered, work.ordered.control.snapshot)
        if work.suspect is None:
            self._apply_together(work)
            self._keep_aside(work)
        else:
            work = self._apply_alone(work)
        if work.ordered is not None and work.ordered.saved is not None:
            self.epoch = max(self.epoch + 1, work.ordered.append_ms)  # of the log alone: whoever folds it finds the same
        if work.ordered is not None and not isinstance(work.ordered.control, Rollback):
            self.freeze = work.ordered.control if isinstance(work.ordered.control, Freeze) else None
        for place, count, next_offset in work.runs:
            self.positions[place] = next_offset
            self._order.note(*place, count)
        self.records += work.records

    def take_order(self) -> tuple[Run, ...]:
        """The runs (topic, partition, records) applied since the last call."""
        self.records = 0
        return self._order.take()

    def user_ids_still(self, user_T: NDArray[np.int32], user_ids: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether rows still are those users': an evicted user's row is free, or another's."""
        present = self.engine.user_ids(user_T)
        return np.array([now == then for now, then in zip(present, user_ids, strict=True)], np.bool_)

    def _apply_together(self, work: Work) -> None:
        try:
            work.apply(self.engine)
        except (MemoryError, CapacityError):
            raise
        except Exception as error:
            raise PieceFailed([self._range(*run) for run in work.runs if run[1]], error) from error

    def _keep_aside(self, work: Work) -> None:
        """What was kept of before the suspects is good as long as what came since is known; long after them it is given up."""
        if self._aside is not None:
            self._aside.since.append(work)
            self._aside.others += 1
            if self._aside.others > OTHERS_MAX:
                self._aside = None

    def _with_saved_head(self, work: Work, ordered: Ordered, name: str) -> Work:
        """A rollback with what its snapshot had learned; where that can't be had it is rejected, and nothing changes."""
        try:
            ordered.saved = self._read_head(name)
        except OSError as error:  # it may pass
            raise PieceFailed([self._range(*run) for run in work.runs], error) from error
        except (SnapshotDamaged, StructureDiffers, ValueError) as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "the rollback to snapshot %s is not done, and becomes a dead letter: %s; name another one (`streamer snapshots list`)",
                name,
                error,
            )
            work = work.impossible(error)
            self.letters.extend(work.dead)
            self.left_out.append(self._range(*work.runs[0]))  # whoever folds it after this one finds the same
        return work

    def _read_head(self, name: str) -> SavedHead:
        if self._snapshots is None:
            msg = "this fold has no store of snapshots"
            raise ValueError(msg)
        saved = read_head(self._snapshots, name, structure_of(self._config))
        self.engine.require_same_width(saved.head)
        return saved

    def _apply_alone(self, work: Work) -> Work:
        if self._aside is None:
            self._aside = _Aside(_copies(self.engine.fold_tables()), self.engine.user_rows)
        try:
            work.apply(self.engine)
            self._convicted_in_a_row = 0
        except (MemoryError, CapacityError):
            raise
        except Exception as error:
            self._convicted_in_a_row += 1
            if self._convicted_in_a_row > CONVICTED_IN_A_ROW_MAX:
                raise
            work = self._convict(work, self._aside, error)
        self._aside.since.append(work)
        self._aside.others = 0
        return work

    def _convict(self, work: Work, aside: _Aside, error: Exception) -> Work:
        """Brings the state back to what it was before this record, and rejects it."""
        guilty, place = work.without_suspect(error), self._range(*work.runs[0])
        logger.error("%s[%d] offset %d is left out, for the fold fails at it", *place[:3], exc_info=error)
        lists = _copies(self.engine.publisher_tables(aside.users))  # what is known of lists is as good as before
        clock_s, erased = self.engine.clock_s, self.engine.published.known_forgotten()
        self.engine = Engine(self._config, _copies(aside.fold), lists)
        self.engine.clock_s, self.engine.published.erased = clock_s, erased
        self.engine.published.erase_again()
        for one in (*aside.since, guilty):
            one.apply(self.engine)
        self.left_out.append(place)
        self.letters.extend(guilty.dead)
        return guilty

    def _range(self, place: TopicPartition, count: int, next_offset: int) -> OffsetRange:
        del count
        return OffsetRange(*place, self.positions.get(place, 0), next_offset)


def _copies(tables: dict[str, Array]) -> dict[str, Array]:
    return {name: table.copy() for name, table in tables.items()}
