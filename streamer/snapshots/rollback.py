"""What a rollback takes from a snapshot: what was learned, and which of its items are there still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.engine.engine import Engine
from streamer.head.bilinear import Head, head_in
from streamer.head.gate import Gate, gate_in
from streamer.ports import SnapshotStore
from streamer.ranking.score import FIXED_F
from streamer.snapshots.chunks import read_fold_tables
from streamer.snapshots.manifest import Manifest, read_manifest, require_same_structure
from streamer.tables.ids import IdTable, id_table_in, live_rows, row_of_text, text_of_row

_WANTED = ("gate.", "head.", "items.ids.")


@dataclass(frozen=True, slots=True)
class SavedHead:
    """Gate and head of a snapshot, with the ids of its items' rows."""

    manifest: Manifest
    ids: IdTable
    head: Head
    gate: Gate


def read_head(store: SnapshotStore, name: str, structural: Mapping[str, Any]) -> SavedHead:
    """What snapshot ``name`` had learned.

    Raises:
        SnapshotDamaged: there is none of that name, or it can't be read.
        StructureDiffers: it was made under other structural configuration.
    """
    manifest = read_manifest(store, name)
    require_same_structure(manifest, structural)
    tables = read_fold_tables(store, manifest, lambda table: table.startswith(_WANTED))
    ids = id_table_in(tables, "items.ids", 64)
    return SavedHead(manifest, ids, head_in(tables, len(ids.hash_R)), gate_in(tables, FIXED_F))


def same_items(saved: IdTable, present: IdTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ``saved`` and of ``present`` that belong to one item: its row may be another by now, or another's."""
    pairs = [
        (int(row), there)
        for row in np.flatnonzero(saved.size_R[: int(saved.used[0])])
        if (there := row_of_text(present, text_of_row(saved, int(row)))) >= 0
    ]
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def restore_head(engine: Engine, saved: SavedHead) -> int:
    """Puts what was learned back into the engine; returns of how many items. Raises ValueError, and then changes nothing."""
    from_T, to_T = same_items(saved.ids, engine.state.items.ids)
    engine.restore_head(saved.head, saved.gate, from_T, to_T)
    return len(to_T)


def items_in_common(store: SnapshotStore, saved: Manifest, present: Manifest) -> tuple[int, int]:
    """How many items of snapshot ``saved`` snapshot ``present`` has still, and how many it has in all."""
    ids = [
        id_table_in(read_fold_tables(store, one, lambda table: table.startswith("items.ids.")), "items.ids", 64)
        for one in (saved, present)
    ]
    return len(same_items(*ids)[0]), live_rows(ids[1])
