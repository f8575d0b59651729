"""Where a tenure starts, and its engine: what the group committed, what the store holds and what the log is, brought together."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumers.apart import OffsetRange
from consumers.forgetting import requests_to_forget
from consumers.tenure import Birth
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config
from streamer.engine.engine import Engine
from streamer.engine.rules import structure_of
from streamer.ports import Clock, Committed, LogAdmin, LogError, LogReader, SnapshotStore, TopicInfo, TopicPartition
from streamer.snapshots import (
    Manifest,
    Override,
    RecoveryRefused,
    SnapshotDamaged,
    Start,
    choose_start,
    left_out_ahead,
    list_snapshots,
    positions_of,
    read_snapshot,
    require_same_structure,
)
from streamer.snapshots.recovery import OFFERED_MAX, UNDO_RESET
from streamer.snapshots.soundness import damaged_among
from streamer.snapshots.undone import noted_resets

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a tenure is born with, the topics as they are now, the ends of their partitions, and how long it took, seconds."""

    birth: Birth
    topics: dict[str, TopicInfo]
    ends: dict[TopicPartition, int]
    seconds: float


class Restorer:
    """Restores; nothing is kept between two calls, so that one which failed can be made again."""

    def __init__(
        self,
        admin: LogAdmin,
        open_reader: Callable[[], LogReader],
        snapshots: SnapshotStore,
        clock: Clock,
        config: Config,
        override: Override,
    ) -> None:
        self._admin = admin
        self._open_reader = open_reader
        self._snapshots = snapshots
        self._clock = clock
        self._config = config
        self._override = override

    def restore(self, generation: int, committed: dict[TopicPartition, Committed]) -> Restored:
        """The start of the tenure under ``generation``.

        Raises:
            RecoveryRefused: what was committed, the snapshots and the log can't be explained together.
            StructureDiffers: the snapshot was made under other structural configuration.
            LogError: the log can't be asked, or the store of snapshots can't be read: it may pass.
        """
        try:
            return self._restore(generation, committed)
        except OSError as error:
            raise LogError(f"the snapshots cannot be read: {error}", retriable=True) from error

    def _restore(self, generation: int, committed: dict[TopicPartition, Committed]) -> Restored:
        started_s = self._clock.monotonic_s()
        topics, bounds = self._admin.topics(OWNER_TOPICS), self._admin.bounds(OWNER_TOPICS)
        manifests, resets = list_snapshots(self._snapshots), noted_resets(self._snapshots)
        while True:
            try:
                start = choose_start(committed, manifests, topics, bounds, self._override, resets)
            except RecoveryRefused:
                damaged_names = damaged_among(self._snapshots, manifests, OFFERED_MAX)
                if not damaged_names:
                    raise
                manifests = [manifest for manifest in manifests if manifest.name not in damaged_names]
                continue
            try:
                engine, parent = self._engine_of(start)
                break
            except SnapshotDamaged as damaged:
                logger.error("snapshot %s is damaged: %s", start.snapshot, damaged)  # noqa: TRY400 - the message says it all
                manifests = [manifest for manifest in manifests if manifest.name != start.snapshot]
        with contextlib.closing(self._open_reader()) as reader:
            engine.published.erased.update(requests_to_forget(reader, bounds))
        for note in start.notes:
            logger.log(logging.WARNING if note.startswith(UNDO_RESET) else logging.INFO, "%s", note)
        newest = max((manifest.epoch for manifest in manifests), default=0)
        later = max(self._clock.now_ms(), newest + 1)  # whatever the clock says
        epoch = parent.epoch if parent and not start.new_epoch else later
        seconds = self._clock.monotonic_s() - started_s
        logger.info("%s: snapshot %s, epoch %d, after %.2f s", start.kind, start.snapshot, epoch, seconds)
        ends = {place: end for place, (_, end) in bounds.items()}
        left_out = _left_out(parent, start, topics) if parent else ()
        birth = Birth(generation, engine, start, epoch, parent, ends, self._snapshots, left_out)
        return Restored(birth, topics, ends, seconds)

    def _engine_of(self, start: Start) -> tuple[Engine, Manifest | None]:
        if start.snapshot is None:
            return Engine(self._config), None
        manifest, fold, publisher = read_snapshot(self._snapshots, start.snapshot)
        require_same_structure(manifest, structure_of(self._config))
        return Engine(self._config, fold, publisher), manifest


def _left_out(parent: Manifest, start: Start, topics: Mapping[str, TopicInfo]) -> tuple[OffsetRange, ...]:
    """What the snapshot says is not to be applied, as far as its offsets still mean the same records."""
    saved = positions_of(parent)
    ahead = (OffsetRange(*one) for one in left_out_ahead(parent))
    return tuple(
        one
        for one in ahead
        if topics[one.topic].topic_id == parent.topic_ids.get(one.topic)
        and start.positions.get(one.place, 0) >= saved.get(one.place, 0)
    )
