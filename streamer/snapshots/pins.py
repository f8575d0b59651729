"""Pins: snapshots that stay although newer ones came, since an operator's rollback names them and is not applied yet.

A pin is a blob ``pins/<name>`` that holds an offset of topic ``control``: once a committed snapshot has read up to there, the rollback
is part of it, and the pin goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from streamer.events.model import CONTROL
from streamer.ports import SnapshotStore, TopicPartition
from streamer.snapshots.manifest import Manifest, is_snapshot_name, positions_of

PINS = "pins/"


def pin(store: SnapshotStore, name: str, control_offset: int) -> None:
    """Keeps snapshot ``name`` until topic ``control`` is read up to that next offset, and that is committed."""
    store.put(f"{PINS}{name}", str(control_offset).encode())


def unpin(store: SnapshotStore, name: str) -> None:
    """Lets a snapshot go; nothing where it is not pinned."""
    store.delete(f"{PINS}{name}")


def still_pinned(store: SnapshotStore, committed: Iterable[Manifest]) -> set[str]:
    """The pinned snapshots, less those whose rollback is behind one of the ``committed``: their pins are removed."""
    control = TopicPartition(CONTROL, 0)
    reached = max((positions_of(manifest).get(control, 0) for manifest in committed), default=0)
    pinned = set()
    for file in store.names(PINS):
        name = file.removeprefix(PINS)
        if not is_snapshot_name(name):
            continue
        if reached >= _offset(store, file):
            store.delete(file)
        else:
            pinned.add(name)
    return pinned


def _offset(store: SnapshotStore, file: str) -> int:
    try:
        return int(store.get(file))
    except (KeyError, ValueError):
        return 0  # gone meanwhile, or nobody's
