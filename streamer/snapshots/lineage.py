"""From one snapshot to a later one that grew out of it: the manifests between, and what must hold for an audit of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamer.events.model import EVENTS
from streamer.ports import SnapshotStore, TopicPartition
from streamer.snapshots.manifest import Manifest, SnapshotDamaged, positions_of, read_manifest


class AuditImpossible(Exception):  # noqa: N818 - says what is the case, as the message does
    """What lies between two snapshots cannot be folded again; the message says why."""


def lineage(store: SnapshotStore, ancestor: str, descendant: str) -> list[Manifest]:
    """The manifests from ``ancestor`` to ``descendant``, each the parent of the next, both included.

    Raises:
        AuditImpossible: the one did not grow out of the other, or a manifest between them is not in the store.
        SnapshotDamaged: one of the two cannot be read.
    """
    first, chain = read_manifest(store, ancestor), [read_manifest(store, descendant)]
    while chain[-1].name != ancestor:
        child = chain[-1]
        if child.parent is None:
            raise AuditImpossible(
                f"{descendant} did not grow out of {ancestor}: its line begins at {child.name}, which has no parent: its state was "
                "born empty or set by `streamer reset`, or no snapshot could be written for so long that the order was given up; "
                "name two snapshots of one line (`streamer snapshots show NAME` tells the parent), the older one first"
            )
        if child.parent < ancestor:
            raise AuditImpossible(
                f"{descendant} did not grow out of {ancestor}: its line goes from {child.name} to the older {child.parent}; "
                "name two snapshots of one line, the older one first"
            )
        chain.append(_parent(store, child, ancestor))
    return [first, *reversed(chain[:-1])]


def _parent(store: SnapshotStore, child: Manifest, ancestor: str) -> Manifest:
    assert child.parent is not None
    try:
        return read_manifest(store, child.parent)
    except SnapshotDamaged as error:
        raise AuditImpossible(
            f"the line to {ancestor} breaks at {child.name}: its parent {child.parent} cannot be read, and with it the order of "
            f"records before it ({error.found}); keep more snapshots (snapshots.keep), or choose a later one to begin with"
        ) from error


def require_same_topics(line: Sequence[Manifest], now: Mapping[str, str]) -> None:
    """Raises AuditImpossible where a topic was made again within the line or since: its offsets mean other records.

    Args:
        line: the manifests, oldest first.
        now: ids of the topics as they are.
    """
    oldest = line[0]
    for where, ids in [*((manifest.name, manifest.topic_ids) for manifest in line[1:]), ("the log", now)]:
        for topic, topic_id in sorted(oldest.topic_ids.items()):
            if ids.get(topic) != topic_id:
                found = f"has it as id {ids[topic]}" if topic in ids else "has no such topic"
                raise AuditImpossible(
                    f"topic {topic} is not the one that {oldest.name} read: id {topic_id} there, {where} {found}; "
                    "the records between the two snapshots are not to be had"
                )


def other_versions(line: Sequence[Manifest], here: Mapping[str, str]) -> list[str]:
    """Sentences on what differs in versions between what made the line and what runs here: bits may differ with them."""
    found = {f"{name} {said}": None for manifest in line[1:] for name, said in sorted(manifest.versions.items())}
    present = {f"{name} {said}" for name, said in here.items()}
    return [
        f"the snapshots were written with {one}, here runs {here.get(one.partition(' ')[0], 'none')}: bits may differ"
        for one in found
        if one not in present
    ]


def losses(line: Sequence[Manifest]) -> int:
    """Events that retention had removed before the line's owners came to them: how many only the snapshots know.

    Raises AuditImpossible where they say more than the offsets leave room for.
    """
    first, last = line[0], line[-1]
    lost = int(last.counters.get("lost", 0)) - int(first.counters.get("lost", 0))
    before, after = positions_of(first), positions_of(last)
    passed = sum(after[place] - before.get(place, 0) for place in after if place.topic == EVENTS)
    read = sum(count for place, count in runs_of(line) if place.topic == EVENTS)
    if not 0 <= lost <= passed - read:
        raise AuditImpossible(
            f"{last.name} counts {lost} events lost since {first.name}, which its offsets leave no room for: they advanced by "
            f"{passed}, of which {read} were read; one of the manifests is not what an owner wrote"
        )
    return lost


def runs_of(line: Sequence[Manifest]) -> Iterable[tuple[TopicPartition, int]]:
    """The runs (partition, records) in which all after the first of the line were applied, in order."""
    for manifest in line[1:]:
        for topic, partition, count in manifest.order:
            yield TopicPartition(topic, partition), count
