"""What operators do, behind the commands and the console: words on the topic ``control``, rollbacks, dead letters sent again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from consumers.compose import open_admin, open_atomic_writer, open_reader, open_writer
from consumers.dead_topic import DeadTopic, Selection
from consumers.redrive import NAME, Mend, Redrive, RedriveReport, newest_event_ms
from streamer.config.tree import Config
from streamer.events.control import Control, Rollback, encode_control
from streamer.events.model import CONTROL, DEAD, EVENTS
from streamer.ports import LogError, OutRecord, SnapshotStore, TopicPartition, TopicsMissingError
from streamer.snapshots import Manifest, list_snapshots, read_manifest, require_same_structure
from streamer.snapshots.manifest import SnapshotDamaged
from streamer.snapshots.pins import pin, unpin

APPEND_TIMEOUT_S = 30.0


class WouldRestore(NamedTuple):
    """What a rollback to a snapshot would bring back."""

    snapshot: str
    created_ms: int
    head_step: int
    head_step_now: int
    items_restored: int
    """Of ``items``: those whose rows in the state are still theirs."""
    items: int


def append_control(config: Config, control: Control) -> int:
    """Puts an operator's word on the log; the next offset behind it. Raises LogError."""
    refused: list[Exception] = []

    def note(record: OutRecord, error: Exception | None) -> None:
        del record
        if error is not None:
            refused.append(error)

    with contextlib.closing(open_writer(config)) as writer:
        writer.send(OutRecord(CONTROL, None, encode_control(control)), note)
        writer.flush(APPEND_TIMEOUT_S)
    if refused:
        raise LogError(f"the log refused the record: {refused[0]}", retriable=False)
    return control_end(config)


def control_end(config: Config) -> int:
    """The end of the topic ``control``. Raises TopicsMissingError where there is none."""
    with contextlib.closing(open_admin(config)) as admin:
        bounds = admin.bounds()
    place = TopicPartition(CONTROL, 0)
    if place not in bounds:
        raise TopicsMissingError(f"there is no topic {config.kafka.topic_prefix}{CONTROL}: run `streamer topics create`")
    return bounds[place][1]


def append_rollback(config: Config, store: SnapshotStore, word: Rollback) -> int:
    """Puts a rollback on the log, its snapshot kept until it is applied; the next offset behind it.

    Raises LogError, or SnapshotDamaged where the snapshot can't be read whole.
    """
    complete_snapshot(store, word.snapshot)
    pin(store, word.snapshot, control_end(config) + 1)  # it must be there when the record is applied, however many come before
    complete_snapshot(store, word.snapshot)  # still, with the pin
    try:
        offset = append_control(config, word)
    except LogError as error:
        if not error.retriable:
            # else the record may be on the log all the same; a pin that is not needed goes once another record is read
            unpin(store, word.snapshot)
        raise
    pin(store, word.snapshot, offset)
    return offset


def complete_snapshot(store: SnapshotStore, name: str) -> Manifest:
    """The manifest of a snapshot whose chunks are all there. Raises SnapshotDamaged."""
    manifest = read_manifest(store, name)
    complete = [one.name for one in list_snapshots(store)]
    if name not in complete:
        whole = ", ".join(complete[:5]) or "none"
        raise SnapshotDamaged(name, expected="all its chunks", found=f"that it lacks chunks (complete ones are {whole})")
    return manifest


def would_restore(store: SnapshotStore, saved: Manifest, present: Manifest) -> WouldRestore:
    """What a rollback to ``saved`` would do, judged by the snapshot in force; nothing is done. Raises StructureDiffers."""
    from streamer.snapshots.rollback import items_in_common  # noqa: PLC0415  it loads numba, which takes seconds

    require_same_structure(saved, present.structural)
    matching, items = items_in_common(store, saved, present)
    return WouldRestore(saved.name, saved.created_ms, saved.head_step, present.head_step, matching, items)


def redriven(
    config: Config,
    selection: Selection,
    limit: int | None = None,
    *,
    topics: Sequence[str] = (EVENTS,),
    mend: Mend | None = None,
    left_out: bool = False,
    dry_run: bool,
) -> tuple[RedriveReport, int]:
    """Sends selected dead letters again, or only says what it would send; with about the newest event time on the log.

    Raises LogError where the log is away or another one took over; what was sent before is marked.
    """
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(contextlib.closing(open_admin(config)))
        reader = stack.enter_context(contextlib.closing(open_reader(config)))
        writer = None
        if not dry_run:
            name = f"{NAME}-{config.kafka.topic_prefix}{DEAD}"
            writer = stack.enter_context(contextlib.closing(open_atomic_writer(config, name)))
            writer.open()  # before the marks are read: from here on nobody else makes any
        newest_ms = newest_event_ms(reader, admin.bounds([EVENTS]), config.windows.clock_ahead_ms_max)
        late_before_ms = newest_ms - config.windows.lateness_ms_max
        work = Redrive(DeadTopic(reader, admin), reader, topics, late_before_ms, mend, left_out=left_out)
        return work.run(selection, limit, writer), newest_ms


def applied(manifest: Manifest) -> int:
    """Events applied to the state that a snapshot holds."""
    return sum(manifest.counters.get("applied", {}).values())


def table_bytes(manifest: Manifest) -> int:
    """Bytes of all its tables; the store holds less, since snapshots share chunks."""
    return sum(math.prod(table.shape) * np.dtype(table.dtype).itemsize for table in manifest.tables)


def snapshot_row(manifest: Manifest, committed: str | None) -> dict[str, object]:
    """A snapshot in one line of JSON."""
    fields = ("name", "created_ms", "epoch", "head_step", "event_ms", "position")
    plain = {field: getattr(manifest, field) for field in fields}
    return {**plain, "applied": applied(manifest), "bytes": table_bytes(manifest), "committed": manifest.name == committed}
