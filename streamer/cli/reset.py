"""``streamer reset``: all state goes back to a snapshot or to nothing, and the log is read again from there."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from consumers.compose import open_admin, open_reader, open_snapshots
from consumers.operating import complete_snapshot
from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.config import Config
from streamer.engine.rules import structure_of
from streamer.events.control import Control, Rollback, decode_control
from streamer.events.model import CONTROL, INPUT_TOPICS, Reject
from streamer.ports import GroupInUseError, LogAdmin, OffsetGapError, SnapshotStore, TopicInfo, TopicPartition
from streamer.snapshots import (
    Manifest,
    Override,
    RecoveryRefused,
    choose_start,
    format_metadata,
    list_snapshots,
    offsets_of,
    positions_of,
    require_same_structure,
    snapshot_name,
    versions,
    write_snapshot,
)
from streamer.snapshots.manifest import encode_manifest, manifest_file
from streamer.snapshots.reset import LeftOut, parse_range, read_again, require_readable, rewound
from streamer.snapshots.undone import ResetNote, forget_reset, note_reset, noted_resets, undone_by
from streamer.tables.arrays import Array

if TYPE_CHECKING:
    from streamer.engine.engine import Engine

BEGINNING = "beginning"
WORDS_MAX = 1_000
"""Operators' words that are looked at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The snapshot to be, its tables where they are not in the store yet, and what the log holds beyond it."""

    manifest: Manifest
    tables: tuple[dict[str, Array], dict[str, Array]] | None
    again: dict[TopicPartition, int]
    words: tuple[str, ...]
    """Operators' words that are read again, each with its place, and whether it can still be obeyed."""
    note: ResetNote
    undone: tuple[str, ...]
    """Former resets that this one undoes, in words."""


def _ranges(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[LeftOut]:
    try:
        return [parse_range(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command()
@click.option("--to", "target", required=True, metavar=f"SNAPSHOT|{BEGINNING}", help="What all state goes back to.")
@click.option(
    "--leave-out",
    "left_out",
    multiple=True,
    callback=_ranges,
    metavar="TOPIC[P]:FIRST-LAST",
    help="Records that are not applied this time, but become dead letters; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be read again.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@config_option
@json_option
def reset(target: str, left_out: list[LeftOut], config_path: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Rewind all state, windows and counts too, and read the log again from there.

    Every worker of the group must be stopped, standbys too. What came after the snapshot is applied again, each record once; lists
    get a new epoch. To bring back only what was learned use `streamer rollback`.
    """
    config = prepare(config_path)
    store = open_snapshots(config)
    with contextlib.closing(open_admin(config)) as admin:
        if not dry_run:
            admin.set_offsets(config.group, {}, "")
        plan = _plan(config, store, admin, target, left_out)
        plan = dataclasses.replace(plan, words=_words_again(config, store, plan))
        for line in _lines(plan, target):
            click.echo(line)
        if not dry_run:
            if not yes:
                click.confirm("Go back to that state?", abort=True, err=True)
            _do(plan, config, store, admin)
    click.echo("nothing was done: this was a dry run" if dry_run else f"done: a worker starts from {plan.manifest.name}")
    if as_json:
        say_json(
            {
                "snapshot": None if dry_run else plan.manifest.name,
                "epoch": plan.manifest.epoch,
                "read_again": offsets_of(plan.again),
                "left_out": left_out,
            }
        )


def _plan(config: Config, store: SnapshotStore, admin: LogAdmin, target: str, left_out: list[LeftOut]) -> Plan:
    from streamer.engine.engine import Engine  # noqa: PLC0415  it loads numba, which takes seconds

    topics = {topic: info for topic, info in admin.topics().items() if topic in INPUT_TOPICS}
    bounds = admin.bounds()
    if missing := [topic for topic in INPUT_TOPICS if topic not in topics]:
        message = f"there is no topic {', '.join(missing)}: run `streamer topics create`"
        raise click.ClickException(message)
    known, now_ms = list_snapshots(store), time.time_ns() // 1_000_000
    created_ms = max(
        [now_ms, *(manifest.created_ms + 1 for manifest in known)]
    )  # names tell the order, whatever the clock says
    engine, tables = Engine(config), None
    if target == BEGINNING:
        old = _empty(config, engine, topics, {place: first for place, (first, _) in bounds.items()})
        tables = (engine.fold_tables(), engine.publisher_tables())
    else:
        old = complete_snapshot(store, target)
        require_same_structure(old, structure_of(config))
    manifest = rewound(
        old,
        name=snapshot_name(created_ms, secrets.token_hex(4)),
        created_ms=created_ms,
        epoch=max([now_ms, *(manifest.epoch + 1 for manifest in known)]),
        topics=topics,
        bounds=bounds,
        left_out=left_out,
    )
    _require_fit(manifest, target, topics, bounds, left_out)
    note = ResetNote(
        name=manifest.name,
        target="" if target == BEGINNING else target,
        left_out=tuple(left_out),
        topic_ids=manifest.topic_ids,
    )
    before = msgspec.structs.replace(manifest, name=note.target)
    undone = undone_by(before, positions_of(manifest), noted_resets(store), topics)
    return Plan(manifest, tables, read_again(manifest, bounds), (), note, tuple(undone))


def _words_again(config: Config, store: SnapshotStore, plan: Plan) -> tuple[str, ...]:
    """What operators said to learning after the snapshot: it is obeyed again unless it is left out."""
    place = TopicPartition(CONTROL, 0)
    first, count = positions_of(plan.manifest).get(place, 0), min(plan.again.get(place, 0), WORDS_MAX)
    if not count:
        return ()
    complete = {manifest.name for manifest in list_snapshots(store)}
    with contextlib.closing(open_reader(config)) as reader, contextlib.suppress(OffsetGapError):
        batch = reader.read(place, first, count)
        left_out = [one for one in plan.manifest.left_out if one[:2] == place]
        records = zip(batch.offsets, map(decode_control, batch.values), strict=True)
        return tuple(_word(offset, control, complete) for offset, control in records if not _is_in(left_out, offset))
    return ()


def _is_in(left_out: list[LeftOut], offset: int) -> bool:
    return any(first <= offset < stop for _, _, first, stop in left_out)


def _word(offset: int, control: Control | Reject, complete: set[str]) -> str:
    text = f"{CONTROL}[0]:{offset}"
    if isinstance(control, Reject):
        return f"{text} is no operator's word, and rejected again"
    if not isinstance(control, Rollback):
        return f"{text} {type(control).__name__.lower()} is applied again"
    if control.snapshot in complete:
        return f"{text} rollback to {control.snapshot} is applied again"
    return (
        f"warning: {text} rollback to {control.snapshot}, which the store has no more: the worker can't do it again and rejects it "
        f"(a dead letter); what was learned will be another than it was. To say so: --leave-out {text}"
    )


def _require_fit(
    manifest: Manifest,
    target: str,
    topics: Mapping[str, TopicInfo],
    bounds: Mapping[TopicPartition, tuple[int, int]],
    left_out: list[LeftOut],
) -> None:
    try:
        choose_start({}, [manifest], topics, bounds, Override())
    except RecoveryRefused as refused:
        message = (
            f"{target} does not fit the log as it is now ({refused.row}): choose another snapshot, or `--to {BEGINNING}`; "
            f"{str(refused).partition('. Nothing')[0]}"
        )
        raise click.ClickException(message) from refused
    try:
        for one in left_out:
            require_readable(one, manifest, bounds, INPUT_TOPICS)
    except ValueError as error:
        message = f"--leave-out {error}"
        raise click.UsageError(message) from error


def _empty(
    config: Config, engine: Engine, topics: Mapping[str, TopicInfo], positions: Mapping[TopicPartition, int]
) -> Manifest:
    """The manifest of a state to which nothing has happened."""
    return Manifest(
        name="",
        epoch=0,
        created_ms=0,
        parent=None,
        topic_ids={topic: info.topic_id for topic, info in topics.items()},
        offsets=offsets_of(positions),
        structural=structure_of(config),
        encoder_fingerprint="",
        versions=versions(),
        head_step=0,
        event_ms=0,
        position=0,
        counters=engine.counters(),
        order=(),
        chunk_bytes=config.snapshots.chunk_bytes,
    )


def _do(plan: Plan, config: Config, store: SnapshotStore, admin: LogAdmin) -> None:
    """1. The snapshot, its manifest last. 2. The offsets that name it; where a worker came meanwhile, neither."""
    name = plan.manifest.name
    if plan.tables is not None:
        write_snapshot(store, plan.manifest, *plan.tables)
    else:
        store.put(manifest_file(name), encode_manifest(plan.manifest))
    note_reset(store, plan.note)
    try:
        admin.set_offsets(config.group, positions_of(plan.manifest), format_metadata(name))
    except GroupInUseError:  # after any other error the commit may stand, and must find its snapshot
        store.delete(manifest_file(name))
        forget_reset(store, name)
        raise


def _lines(plan: Plan, target: str) -> list[str]:
    manifest = plan.manifest
    of = "an empty state" if target == BEGINNING else f"the state of snapshot {target}, event time {_time(manifest.event_ms)}"
    lines = [f"goes back to {of}, as snapshot {manifest.name} under epoch {manifest.epoch}", "read again:"]
    lines += [f"  {topic}[{partition}]: {count:,} records" for (topic, partition), count in plan.again.items() if count]
    lines += [f"  without {topic}[{partition}] {first} to {stop - 1}" for topic, partition, first, stop in manifest.left_out]
    lines += [f"  {word}" for word in plan.words]
    return [*lines, *(f"warning: {said}; name them with --leave-out to keep them out" for said in plan.undone)]


def _time(event_ms: int) -> str:
    return shown(event_ms) if event_ms else "none"
