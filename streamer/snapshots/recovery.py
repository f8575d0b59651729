"""Where to start: the decision that a worker takes from what the group committed, what the store holds and what the log is.

It is pure, and each of its rows is a line of the table in ``docs/recovery.md``. What can't be explained is refused.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamer.ports import Committed, Positions, TopicInfo, TopicPartition
from streamer.snapshots.manifest import Manifest, is_snapshot_name, positions_of
from streamer.snapshots.undone import ResetNote, undone_by

METADATA_PREFIX = "streamer/1 "
"""Begins the metadata of our commits; the name of the snapshot follows."""

FROM_BEGINNING = "--from-beginning"
ACCEPT_SNAPSHOT = "--accept-snapshot"
ACCEPT_LOG = "--accept-log"
UNDO_RESET = "--undo-reset"
OFFERED_MAX = 5
"""Snapshots that a refusal names."""

Bounds = Mapping[TopicPartition, tuple[int, int]]


class Row(enum.StrEnum):
    """The rows of the recovery table that refuse to start."""

    POINTER_WITHOUT_SNAPSHOT = "pointer_without_snapshot"
    FOREIGN_COMMIT = "foreign_commit"
    COMMITS_DISAGREE = "commits_disagree"
    TOPIC_RECREATED = "topic_recreated"
    LOG_TRUNCATED = "log_truncated"
    RESET_UNDONE = "reset_undone"


class RecoveryRefused(Exception):  # noqa: N818 - says what is the case, as the message does
    """The start can't be explained: ``row`` of the table, ``flags`` that override it; the message says what was found."""

    def __init__(self, row: Row, found: str, flags: Sequence[str]) -> None:
        super().__init__(f"{found}. Nothing was changed. To start all the same, choose: {'; '.join(flags)}")
        self.row = row
        self.flags = tuple(flags)


class StartKind(enum.StrEnum):
    """How a worker starts."""

    FIRST = "first"
    """With an empty state, from the log's beginning."""
    RESUMED = "resumed"
    """From the snapshot that the committed offsets name."""
    ADOPTED = "adopted"
    """From the newest complete snapshot, since the group has no committed offsets."""
    ACCEPTED = "accepted"
    """From a snapshot that the operator named."""


@dataclass(frozen=True, slots=True)
class Override:
    """What the operator allows where the table refuses. Where it doesn't, these change nothing.

    ``accept_snapshot`` (``--accept-snapshot NAME``): start from that snapshot, whatever was committed.
    ``accept_log`` (``--accept-log``): keep the state, take the log as it is now: topics made again are read from their beginning,
    positions past the end are set to the end. ``from_beginning`` (``--from-beginning``): an empty state, all that the log holds.
    ``undo_reset`` (``--undo-reset``): start from before a reset all the same, and apply what it left out.
    """

    accept_snapshot: str | None = None
    accept_log: bool = False
    from_beginning: bool = False
    undo_reset: bool = False

    def flags(self) -> list[str]:
        """The flags as given on the command line."""
        named = [f"{ACCEPT_SNAPSHOT} {self.accept_snapshot}"] if self.accept_snapshot else []
        given = [ACCEPT_LOG] * self.accept_log + [FROM_BEGINNING] * self.from_beginning + [UNDO_RESET] * self.undo_reset
        return named + given


@dataclass(frozen=True, slots=True)
class Start:
    """Where a worker starts.

    ``snapshot`` is None for an empty state; ``positions`` has every input partition; ``lost`` counts the offsets that retention
    removed before they were read (at most that many records), where there are any; ``new_epoch`` says that positions may have
    fallen, so that lists need a new epoch to be accepted; ``notes`` are sentences for the log.
    """

    kind: StartKind
    snapshot: str | None
    positions: dict[TopicPartition, int]
    lost: dict[TopicPartition, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    new_epoch: bool = False


def format_metadata(snapshot: str) -> str:
    """The commit metadata that names ``snapshot``.

    >>> format_metadata("1795485458344-9f3c02aa")
    'streamer/1 1795485458344-9f3c02aa'
    """
    return f"{METADATA_PREFIX}{snapshot}"


def parse_metadata(metadata: str) -> str | None:
    """The snapshot that commit metadata names, None where the metadata is not ours.

    >>> parse_metadata("streamer/1 1795485458344-9f3c02aa")
    '1795485458344-9f3c02aa'
    """
    name = metadata.removeprefix(METADATA_PREFIX)
    return name if name != metadata and is_snapshot_name(name) else None


def choose_start(
    committed: Mapping[TopicPartition, Committed],
    manifests: Sequence[Manifest],
    topics: Mapping[str, TopicInfo],
    bounds: Bounds,
    override: Override,
    resets: Sequence[ResetNote] = (),
) -> Start:
    """The row of the recovery table that applies.

    Args:
        committed: what the group has committed.
        manifests: the complete snapshots, newest first. Leave out one that proved damaged when read, and ask again.
        topics: the input topics as they are now.
        bounds: (beginning, end) offset of every input partition.
        override: what the operator allows where the table refuses.
        resets: what operators reset.

    Raises RecoveryRefused, with the flags that override it.
    """
    case = _Case(committed, manifests, topics, bounds, override)
    try:
        start = _explained(case)
    except RecoveryRefused as refusal:
        if not override.from_beginning:
            raise
        start = _first(bounds, f"{FROM_BEGINNING}: {refusal.row}; the state of every snapshot is left behind")
        return _reset_kept(start, case, resets)
    start = _reset_kept(start, case, resets)
    if override.flags() and (start.kind is StartKind.FIRST or not start.new_epoch):
        note = f"{' '.join(override.flags())} had no use: nothing stood in the way of this start"
        return dataclasses.replace(start, notes=(*start.notes, note))
    return start


@dataclass(frozen=True, slots=True)
class _Case:
    """What the decision is taken from; the fields are the arguments of ``choose_start``."""

    committed: Mapping[TopicPartition, Committed]
    manifests: Sequence[Manifest]
    topics: Mapping[str, TopicInfo]
    bounds: Bounds
    override: Override

    def find(self, name: str) -> Manifest | None:
        return next((manifest for manifest in self.manifests if manifest.name == name), None)

    def remade(self, manifest: Manifest) -> dict[str, str]:
        """Topics of the snapshot that are not the ones it read, each with what became of it, in words."""
        ids = {topic: info.topic_id for topic, info in self.topics.items()}
        return {
            topic: f"{topic} has id {ids[topic]}, the snapshot read id {saved}" if topic in ids else f"{topic} is gone"
            for topic, saved in sorted(manifest.topic_ids.items())
            if ids.get(topic) != saved
        }

    def wanted(self, manifest: Manifest) -> dict[TopicPartition, int]:
        """The next offset of every partition that the state asks for; 0 where it has read nothing of it."""
        saved, remade = positions_of(manifest), self.remade(manifest)
        return {place: 0 if place.topic in remade else saved.get(place, 0) for place in sorted(self.bounds)}

    def refusal(self, row: Row, found: str) -> RecoveryRefused:
        """A refusal that another snapshot would override."""
        names = ", ".join(manifest.name for manifest in self.manifests[:OFFERED_MAX])
        choice = f"complete ones are {names}" if names else "once a complete one is in the store"
        return RecoveryRefused(row, found, [f"{ACCEPT_SNAPSHOT} NAME ({choice})", f"{FROM_BEGINNING} (an empty state)"])


def _explained(case: _Case) -> Start:
    if not case.committed and not case.manifests:
        return _first(case.bounds, "first start: no committed offsets, no snapshot; reading from the log's beginning")
    if not case.committed:
        newest = next((manifest for manifest in case.manifests if not case.remade(manifest)), case.manifests[0])
        note = f"the group has no committed offsets; starting from snapshot {newest.name}, the newest complete one that fits"
        return _at(newest, StartKind.ADOPTED, case, [note])
    try:
        pointer = _pointer(case)
    except RecoveryRefused as refusal:
        return _accepted(refusal, case)
    orphans = [manifest.name for manifest in case.manifests if manifest.name > pointer.name]
    notes = [f"newer snapshots were never committed and are ignored: {', '.join(orphans)}"] if orphans else []
    return _at(pointer, StartKind.RESUMED, case, notes)


def _pointer(case: _Case) -> Manifest:
    """The snapshot that all committed offsets name and agree with."""
    named = {place: parse_metadata(commit.metadata) for place, commit in sorted(case.committed.items())}
    for place, name in named.items():
        if name is None:
            offset, metadata = case.committed[place]
            detail = f"the committed offset {offset} of {_text(place)} names no snapshot (its metadata is {metadata[:80]!r})"
            raise case.refusal(Row.FOREIGN_COMMIT, f"{detail}: another program committed it")
    names = sorted({name for name in named.values() if name is not None})
    if len(names) > 1:
        places = "; ".join(f"{_text(place)} names {name}" for place, name in named.items())
        raise case.refusal(Row.COMMITS_DISAGREE, f"the committed offsets name {len(names)} snapshots: {places}")
    found = case.find(names[0])
    if found is None:
        detail = f"the committed offsets name snapshot {names[0]}, and the store has no complete snapshot of that name"
        raise case.refusal(Row.POINTER_WITHOUT_SNAPSHOT, detail)
    saved = positions_of(found)
    for place, commit in sorted(case.committed.items()):
        if saved.get(place) != commit.next_offset:
            detail = f"{_text(place)} is committed at {commit.next_offset}, snapshot {found.name}, which it names, has "
            raise case.refusal(Row.FOREIGN_COMMIT, f"{detail}{saved.get(place)}: another program moved it")
    return found


def _accepted(refusal: RecoveryRefused, case: _Case) -> Start:
    """The start from the snapshot that the operator named, else the refusal."""
    name = case.override.accept_snapshot
    if name is None:
        raise refusal
    chosen = case.find(name)
    if chosen is None:
        detail = f"{ACCEPT_SNAPSHOT} {name}: the store has no complete snapshot of that name"
        raise case.refusal(refusal.row, detail) from refusal
    note = f"{ACCEPT_SNAPSHOT}: {refusal.row}; starting from snapshot {name}, whatever was committed"
    return _at(chosen, StartKind.ACCEPTED, case, [note])


def _reset_kept(start: Start, case: _Case, resets: Sequence[ResetNote]) -> Start:
    """The start, unless it is from before a reset: that is refused, or said where the operator allows it."""
    if start.kind is StartKind.RESUMED:
        return start
    undone = undone_by(case.find(start.snapshot or ""), start.positions, resets, case.topics)
    if not undone:
        return start
    if not case.override.undo_reset:
        target = start.snapshot or "beginning"
        again = f"instead of this start `streamer reset --to {target} --leave-out TOPIC[P]:FIRST-LAST` (they stay left out)"
        given = [flag for flag in case.override.flags() if start.kind is not StartKind.ADOPTED]
        flag = f"{' '.join([*given, UNDO_RESET])} (the reset is undone)"
        raise RecoveryRefused(Row.RESET_UNDONE, "; ".join(undone), [again, flag])
    return dataclasses.replace(start, notes=(*start.notes, *(f"{UNDO_RESET}: {said}" for said in undone)), new_epoch=True)


def _at(manifest: Manifest, kind: StartKind, case: _Case, notes: list[str]) -> Start:
    """The start from the state of ``manifest``, on the log as it is now."""
    wanted, bounds = case.wanted(manifest), case.bounds
    altered = _log_notes(manifest, wanted, case)
    added = [place for place in wanted if place not in positions_of(manifest)]
    lost = {place: bounds[place][0] - offset for place, offset in wanted.items() if offset < bounds[place][0]}
    said = [
        *notes,
        *altered,
        *(f"{_text(place)} is new since snapshot {manifest.name} and is read from its beginning" for place in added),
        *(f"{_text(place)}: retention removed {count} offsets before they were read" for place, count in lost.items()),
    ]
    return Start(
        kind=kind,
        snapshot=manifest.name,
        positions={place: min(max(offset, bounds[place][0]), bounds[place][1]) for place, offset in wanted.items()},
        lost=lost,
        notes=tuple(said),
        new_epoch=kind is StartKind.ACCEPTED or bool(altered),
    )


def _log_notes(manifest: Manifest, wanted: Positions, case: _Case) -> list[str]:
    """What the log no longer is, as notes; raises RecoveryRefused unless the operator accepts it."""
    remade = case.remade(manifest)
    gone = [
        f"{_text(place)} is gone"
        for place in sorted(positions_of(manifest))
        if place not in case.bounds and place.topic not in remade
    ]
    beyond = [
        f"{_text(place)} {offset} where the log ends at {case.bounds[place][1]}"
        for place, offset in wanted.items()
        if offset > case.bounds[place][1]
    ]
    found = {
        Row.TOPIC_RECREATED: ("the topics are not those that snapshot {} read", [*remade.values(), *gone]),
        Row.LOG_TRUNCATED: ("offsets of snapshot {} lie beyond the log's end", beyond),
    }
    notes = []
    for row, (text, places) in found.items():
        if not places:
            continue
        sentence = f"{text.format(manifest.name)}: {'; '.join(places)}"
        if not case.override.accept_log:
            flags = [f"{ACCEPT_LOG} (keep the state, take the log as it is now)", f"{FROM_BEGINNING} (an empty state)"]
            raise RecoveryRefused(row, sentence, flags)
        notes.append(f"{ACCEPT_LOG}: {sentence}")
    return notes


def _first(bounds: Bounds, note: str) -> Start:
    positions = {place: bounds[place][0] for place in sorted(bounds)}
    late = [_text(place) for place, beginning in positions.items() if beginning > 0]
    notes = [note] + ([f"the log no longer has the oldest records of {', '.join(late)}"] if late else [])
    return Start(kind=StartKind.FIRST, snapshot=None, positions=positions, notes=tuple(notes), new_epoch=True)


def _text(place: TopicPartition) -> str:
    return f"{place.topic}[{place.partition}]"
