"""Resets that were done: each is noted in the store, so that a start from before one is noticed, and what it left out stays known.

A note is a blob ``resets/<name>``, named as the snapshot that the reset wrote. Snapshots with older names did not grow out of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from streamer.ports import Positions, SnapshotStore, TopicInfo, TopicPartition
from streamer.snapshots.manifest import Manifest, is_snapshot_name

logger = logging.getLogger(__name__)

RESETS = "resets/"
RESETS_MAX = 100
"""Notes kept, the newest."""

Range = tuple[str, int, int, int]
"""Topic, partition, first offset and the one behind the last."""


class ResetNote(msgspec.Struct, frozen=True, kw_only=True):
    """A reset: the snapshot that it wrote, the one that it went back to ('' for an empty state), and what the operator left out."""

    name: str
    target: str
    left_out: tuple[Range, ...]
    topic_ids: dict[str, str]


def note_reset(store: SnapshotStore, note: ResetNote) -> None:
    """Remembers a reset; call it before the offsets name its snapshot."""
    store.put(f"{RESETS}{note.name}", msgspec.json.encode(note))
    for file in store.names(RESETS)[:-RESETS_MAX]:
        store.delete(file)


def forget_reset(store: SnapshotStore, name: str) -> None:
    """Of a reset that was not done after all."""
    store.delete(f"{RESETS}{name}")


def noted_resets(store: SnapshotStore) -> list[ResetNote]:
    """All that are noted, oldest first; one that can't be read is passed over with a warning."""
    return [note for file in store.names(RESETS) if (note := _read(store, file)) is not None]


def _read(store: SnapshotStore, file: str) -> ResetNote | None:
    try:
        note = msgspec.json.decode(store.get(file), type=ResetNote)
    except (KeyError, msgspec.MsgspecError) as error:
        logger.warning("%s: expected the note of a reset, found %s; it is passed over", file, error)
        return None
    return note if is_snapshot_name(note.name) else None


def undone_by(
    chosen: Manifest | None, positions: Positions, resets: Sequence[ResetNote], topics: Mapping[str, TopicInfo]
) -> list[str]:
    """A sentence for each reset that a start from ``chosen`` (None: an empty state) at ``positions`` would undo.

    One that a later reset went back behind was undone by that already.
    """
    name = chosen.name if chosen else ""
    own = chosen.left_out if chosen else ()
    stand = [note for note in resets if not any(later.target < note.name < later.name for later in resets)]
    return [said for note in stand if note.name > name for said in _said(note, name, _back(note, positions, own, topics))]


def _said(note: ResetNote, chosen: str, back: list[Range]) -> Iterator[str]:
    found = []
    if chosen > note.target:
        found.append(f"takes up a state that it left behind (it went back to {note.target or 'an empty one'})")
    if back:
        found.append(f"applies records that it left out: {', '.join(map(range_text, back))}")
    if found:
        yield f"the reset that wrote {note.name} is undone: this {' and '.join(found)}"


def _back(note: ResetNote, positions: Positions, own: Sequence[Range], topics: Mapping[str, TopicInfo]) -> list[Range]:
    """The ranges that would be applied: ahead of the positions, of the same topic still, and not left out by the snapshot itself."""
    back = []
    for topic, partition, first, stop in note.left_out:
        position = positions.get(TopicPartition(topic, partition))
        same = topic in topics and topics[topic].topic_id == note.topic_ids.get(topic)
        known = any(one[:2] == (topic, partition) and one[2] <= first and stop <= one[3] for one in own)
        if same and not known and position is not None and position < stop:
            back.append((topic, partition, max(first, position), stop))
    return back


def range_text(one: Range) -> str:
    """As ``streamer reset --leave-out`` takes it.

    >>> range_text(("events", 0, 100, 200))
    'events[0]:100-199'
    """
    return f"{one[0]}[{one[1]}]:{one[2]}-{one[3] - 1}"
