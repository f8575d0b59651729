"""The tables of two snapshots: which differ by hash, and in what, told by users, items and pairs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamer.compare.rows import Aligned, Entries, Ids, Keys, aligned, differing, entries_of, ids_of, largest
from streamer.compare.values import Found, Told
from streamer.ports import SnapshotStore
from streamer.snapshots import Manifest, fold_hashes, table_hashes
from streamer.snapshots.chunks import read_fold_tables
from streamer.tables.arrays import Array

EXAMPLES = 5
"""Users or items named a table, of those that differ."""

ABOUT = {
    "users": "windows of users",
    "history": "which items each user had",
    "journal": "the newest interactions of the whole stream",
    "impressions": "what was shown and waits to be chosen",
    "dedup": "event ids seen, and how far each partition's time has come",
    "forgotten": "users who are forgotten",
    "items": "the catalog",
    "belonging": "to which provider and categories items belong, by rows of their names",
    "providers": "names of providers",
    "categories": "names of categories",
    "forward": "counts of pairs of items, what comes after",
    "reverse": "counts of pairs of items, what came before",
    "trends": "popularity at several half-lives",
    "gate": "weights of the signals",
    "head": "the two towers",
    "block": "the open block of examples",
    "group": "the open group",
    "counters": "events by what became of them",
    "quality": "sums of the metrics",
    "candidates": "targets among the candidates",
    "stream": "interactions, repeats, groups",
    "control": "whether it learns",
}
"""What the tables of a group hold, by the first part of their names."""

BY_USER = (
    *(
        "users.ids.hash",
        "users.ids.size",
        "users.item_UW",
        "users.type_UW",
        "users.time_UW",
        "users.pushed_U",
        "users.last_ms_U",
    ),
    *("users.repeats_U", "users.hour_U", "users.hour_count_U", "history.length"),
)
"""Tables with a row a user."""
BY_ITEM = (
    *("items.ids.hash", "items.ids.size", "items.flags", "trends.value", "trends.item_tick"),
    *("belonging.provider", "belonging.category", "journal.postings"),
    *(f"head.{name}" for name in ("free_ID", "bias_I", "square_I", "fused_ID", "recent_count_I")),
    *(f"{pool}.{name}" for pool in ("forward", "reverse") for name in ("length", "scale", "near_total", "wide_total")),
)
"""Tables with a row an item."""
POOLS = {
    "history": ("users", ("item", "count", "turn", "tick", "kind")),
    "forward": ("items", ("item", "near", "wide")),
    "reverse": ("items", ("item", "near", "wide")),
}
"""Pools: whose rows they hold, and their columns, which have an entry a pair of such a one and an item."""
ITEM_ROWS = ("users.item_UW",)
"""Tables by user whose values are rows of items: compared by the items' ids."""


@dataclass(frozen=True)
class Side:
    """One snapshot."""

    store: SnapshotStore
    manifest: Manifest

    def read(self, group: str) -> dict[str, Array]:
        """The fold tables of a group. Raises SnapshotDamaged."""
        return read_fold_tables(self.store, self.manifest, lambda name: name.partition(".")[0] == group)

    def ids(self) -> dict[str, Ids]:
        """Of users and items. Raises SnapshotDamaged."""
        tables = read_fold_tables(self.store, self.manifest, lambda name: ".ids." in name)
        return {kind: ids_of(tables, kind) for kind in ("users", "items")}


def compare_tables(a: Side, b: Side, told: Told) -> Found:
    """Which fold tables differ and in what; those with equal hashes are not read. Raises SnapshotDamaged, OSError."""
    hash_a, hash_b = fold_hashes(a.manifest), fold_hashes(b.manifest)
    names = sorted(hash_a.keys() | hash_b.keys())
    unequal = [name for name in names if hash_a.get(name) != hash_b.get(name)]
    found: Found = {"count": len(names), "differing": []}
    if not unequal:
        return found
    rows = _Rows(a.ids(), b.ids())
    groups = list(dict.fromkeys(name.partition(".")[0] for name in unequal))
    for n, group in enumerate(groups):
        told("comparing tables", n, len(groups))
        tables_a, tables_b = a.read(group), b.read(group)
        if a.manifest.chunk_bytes != b.manifest.chunk_bytes:  # a table's hash depends on it
            hash_b |= table_hashes(tables_b, a.manifest.chunk_bytes)
        entries = rows.entries(group, tables_a, tables_b)
        for name in (name for name in unequal if name.partition(".")[0] == group and hash_a.get(name) != hash_b.get(name)):
            one: Found = {"name": name, "about": ABOUT.get(group, ""), "sha256": {"a": hash_a.get(name), "b": hash_b.get(name)}}
            if name in tables_a and name in tables_b:
                one |= rows.difference(name, tables_a, tables_b, entries)
            found["differing"].append(one)
    told("comparing tables", len(groups), len(groups))
    return found


class _Rows:
    """Users and items of both states, brought together by id."""

    def __init__(self, ids_a: Mapping[str, Ids], ids_b: Mapping[str, Ids]) -> None:
        self._ids = ids_a, ids_b
        self._both = {kind: aligned(ids_a[kind].hash_R, ids_b[kind].hash_R) for kind in ids_a}

    def entries(
        self, group: str, tables_a: Mapping[str, Array], tables_b: Mapping[str, Array]
    ) -> tuple[Entries, Entries] | None:
        """The entries of both, where the group is a pool."""
        if group not in POOLS:
            return None
        kind, _ = POOLS[group]
        first, second = self._ids
        return entries_of(tables_a, group, first[kind], first["items"]), entries_of(
            tables_b, group, second[kind], second["items"]
        )

    def difference(
        self, name: str, tables_a: Mapping[str, Array], tables_b: Mapping[str, Array], entries: tuple[Entries, Entries] | None
    ) -> Found:
        """In what a table differs: of what its rows are, how many one has alone, how many differ, by how much, and a few by name."""
        a, b = tables_a[name], tables_b[name]
        if a.shape[1:] != b.shape[1:] or a.dtype != b.dtype:
            return {"rows": "shape", "shape": {"a": [a.dtype.str, *a.shape], "b": [b.dtype.str, *b.shape]}}
        if name in ITEM_ROWS:
            a, b = _item_keys(self._ids[0]["items"], tables_a), _item_keys(self._ids[1]["items"], tables_b)
        if name in BY_USER:
            return self._by_id("users", a, b)
        if name in BY_ITEM and len(a) and len(b):  # one of them may have no rows for what no item has had
            return self._by_id("items", a, b)
        group, _, column = name.partition(".")
        if entries is not None and column in POOLS[group][1]:
            return self._by_entry(group, column, a, b, entries)
        return _by_place(a, b)

    def _by_id(self, kind: str, a: Array, b: Array) -> Found:
        both, (first, second) = self._both[kind], self._ids
        value_a, value_b = a[both.row_a], b[both.row_b]
        where = np.flatnonzero(differing(value_a, value_b))
        told = _told(kind, both, len(where), value_a, value_b)
        ids_a, ids_b = first[kind], second[kind]
        names = [ids_a.name(int(row)) for row in both.row_a[where[:EXAMPLES]]]
        names += [ids_a.name(int(row)) for row in both.only_a[:EXAMPLES]] + [
            ids_b.name(int(row)) for row in both.only_b[:EXAMPLES]
        ]
        return told | {"examples": names[:EXAMPLES]}

    def _by_entry(self, group: str, column: str, a: Array, b: Array, entries: tuple[Entries, Entries]) -> Found:
        entry_a, entry_b = entries
        both = aligned(entry_a.key_E, entry_b.key_E)
        kind, _ = POOLS[group]
        if column == "item":  # that is what brought them together
            where = np.zeros(0, np.int64)
            told = _told("entries", both, 0, np.zeros(0), np.zeros(0))
        else:
            value_a, value_b = a[entry_a.place_E[both.row_a]], b[entry_b.place_E[both.row_b]]
            where = np.flatnonzero(differing(value_a, value_b))
            told = _told("entries", both, len(where), value_a, value_b)

        def pairs(side: int, entry: Entries, chosen: Sequence[int]) -> list[str]:
            owners, items = self._ids[side][kind], self._ids[side]["items"]
            return [f"{owners.name(int(entry.owner_E[n]))} with {items.name(int(entry.item_E[n]))}" for n in chosen]

        names = pairs(0, entry_a, both.row_a[where[:EXAMPLES]].tolist())
        names += pairs(0, entry_a, both.only_a[:EXAMPLES].tolist()) + pairs(1, entry_b, both.only_b[:EXAMPLES].tolist())
        return told | {"examples": names[:EXAMPLES]}


def _told(kind: str, both: Aligned, count: int, a: Array, b: Array) -> Found:
    return {
        "rows": kind,
        "only_in": {"a": len(both.only_a), "b": len(both.only_b)},
        "in_both": len(both.row_a),
        "differing": count,
        "largest": largest(a, b) if a.dtype.kind == "f" else None,
    }


def _by_place(a: Array, b: Array) -> Found:
    """A table whose rows are of nothing that has an id: compared place by place."""
    shared = min(len(a), len(b))
    head_a, head_b = a[:shared], b[:shared]
    return {
        "rows": "places",
        "only_in": {"a": len(a) - shared, "b": len(b) - shared},
        "in_both": shared,
        "differing": int(np.count_nonzero(differing(head_a, head_b))),
        "largest": largest(head_a, head_b) if a.dtype.kind == "f" else None,
        "examples": [],
    }


def _item_keys(items: Ids, users: Mapping[str, Array]) -> Keys:
    """The windows' items by the hashes of their ids, 0 where a place is empty or its item is gone."""
    row_UW, used_UW = users["users.item_UW"], users["users.time_UW"] != 0
    key_UW = np.zeros(row_UW.shape, np.uint64)
    used_UW &= row_UW >= 0
    key_UW[used_UW] = items.hash_R[row_UW[used_UW]]
    return key_UW
