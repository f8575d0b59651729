"""A reset: another snapshot, or an empty state, becomes the one to start from, under a name and an epoch of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from streamer.events.model import FORGET
from streamer.ports import TopicInfo, TopicPartition
from streamer.snapshots.manifest import Manifest, left_out_ahead, offsets_of, positions_of
from streamer.snapshots.recovery import Bounds

LeftOut = tuple[str, int, int, int]
"""Topic, partition, first offset and the one behind the last."""

_RANGE = re.compile(r"(?P<topic>[^\[\]]+)\[(?P<partition>\d+)\]:(?P<first>\d+)(?:-(?P<last>\d+))?")


def parse_range(text: str) -> LeftOut:
    """Offsets of a partition as people write them, the last one included.

    Raises ValueError that says what was expected.

    >>> parse_range("events[0]:100-199")
    ('events', 0, 100, 200)
    >>> parse_range("items.vectors[3]:7")
    ('items.vectors', 3, 7, 8)
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        msg = f"{text!r} is no range of offsets: expected TOPIC[PARTITION]:FIRST-LAST, as in events[0]:100-199"
        raise ValueError(msg)
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if last < first:
        msg = f"{text!r} ends before it begins: expected FIRST-LAST, both included, as in events[0]:100-199"
        raise ValueError(msg)
    return found["topic"], int(found["partition"]), first, last + 1


def require_readable(left_out: LeftOut, manifest: Manifest, bounds: Bounds, topics: Collection[str]) -> None:
    """Returns if the range is of records that a start from ``manifest`` reads. Raises ValueError that says why not."""
    topic, partition, first, stop = left_out
    place, text = TopicPartition(topic, partition), f"{topic}[{partition}]:{first}-{stop - 1}"
    if topic not in topics or place not in bounds:
        known = ", ".join(f"{one.topic}[{one.partition}]" for one in sorted(bounds) if one.topic in topics)
        msg = f"{text}: there is no such partition; those that a worker reads are {known}"
        raise ValueError(msg)
    if topic == FORGET:
        msg = f"{text}: a request to forget a user can't be left out, whatever the state goes back to"
        raise ValueError(msg)
    reached, end = positions_of(manifest).get(place, 0), bounds[place][1]
    if first < reached:
        msg = (
            f"{text}: what is before offset {reached} is part of the state already and can't be left out of it; "
            f"choose an older snapshot, or begin the range at {reached}"
        )
        raise ValueError(msg)
    if stop > end:
        msg = f"{text}: the log ends at offset {end}; records that are still to come can't be left out, end the range at {end - 1}"
        raise ValueError(msg)


def rewound(
    target: Manifest,
    *,
    name: str,
    created_ms: int,
    epoch: int,
    topics: Mapping[str, TopicInfo],
    bounds: Bounds,
    left_out: Sequence[LeftOut],
) -> Manifest:
    """The manifest of ``target``'s tables as a snapshot of its own, that follows none. Partitions that it did not know it has not read."""
    wanted = {place: positions_of(target).get(place, 0) for place in sorted(bounds)}
    positions = wanted | positions_of(target)
    ids = {topic: info.topic_id for topic, info in topics.items()}
    return msgspec.structs.replace(
        target,
        name=name,
        created_ms=created_ms,
        epoch=epoch,
        parent=None,
        topic_ids=ids | target.topic_ids,
        offsets=offsets_of(positions),
        position=sum(positions.values()),
        order=(),
        left_out=tuple(sorted({*left_out_ahead(target), *left_out})),
    )


def read_again(manifest: Manifest, bounds: Bounds) -> dict[TopicPartition, int]:
    """Offsets that a start from ``manifest`` has before it, by partition: about as many records."""
    positions = positions_of(manifest)
    return {place: end - max(positions.get(place, 0), beginning) for place, (beginning, end) in sorted(bounds.items())}
