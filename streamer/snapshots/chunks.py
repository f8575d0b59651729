"""Tables cut into chunks named by their hash: writing, reading, comparing and retiring snapshots.

A chunk is written once whatever the number of snapshots that hold it, so a snapshot costs what changed since the last one.
Nothing is pickled: a chunk is the bytes of an array, little endian, in C order.

Order of writes and deletions. Chunks are durable before the manifest that names them; a manifest is deleted before its
chunks. So a manifest that can be seen is complete, and a crash leaves at worst chunks that nobody names, which ``Retention``
removes. The owner writes and retires one after the other.

A former owner that does not know yet that it is one (a process that stood still) may still write or retire beside the owner.
What it writes is never committed. What it deletes is bounded: it retires only after a commit that succeeded, only snapshots older
than the one it committed, and only chunks that nobody named before that commit as well, so none that the new owner has begun to
write. A chunk that was unnamed, is needed again and is deleted in just that moment remains; so a writer looks, once its manifest can
be seen, whether all chunks are there, and writes again what is missing. From then on nobody who looks takes them for unnamed.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.ports import SnapshotStore
from streamer.snapshots.manifest import (
    CHUNKS,
    Manifest,
    SnapshotDamaged,
    TableEntry,
    chunk_file,
    chunk_names,
    encode_manifest,
    manifest_file,
    manifest_names,
    read_manifest,
)
from streamer.snapshots.pins import still_pinned
from streamer.snapshots.thinning import kept_of

logger = logging.getLogger(__name__)

Tables = Mapping[str, NDArray[Any]]
_Read = Callable[[SnapshotStore, str], Manifest]
_Keep = Callable[[str, memoryview], object]
AT_ONCE = 16
"""Chunks that are hashed, or put, from one rest to the next."""
COMPLETIONS_MAX = 3
"""How often a snapshot whose chunks vanish is completed before it counts as failed."""
_KINDS = "biuf"
"""numpy kinds that a table may have: booleans, integers, floats."""


def _without_rest() -> None:
    """Goes on at once."""


def write_snapshot(
    store: SnapshotStore,
    draft: Manifest,
    fold: Tables,
    publisher: Tables,
    *,
    known: AbstractSet[str] = frozenset(),
    rest: Callable[[], None] = _without_rest,
) -> Manifest:
    """Writes a snapshot: it is durable and complete once this returns, and no reader sees it before.

    Args:
        store: where to.
        draft: the manifest without its tables; ``draft.chunk_bytes`` is the size in bytes of a chunk.
        fold: tables that are a function of the recorded order.
        publisher: tables that are kept but not compared.
        known: hashes of chunks that need no writing, as ``chunk_names`` of a parent that was written or read by this process, and
            that ``Retention`` keeps: of any other, a chunk may be there and damaged.
        rest: called after each ``AT_ONCE`` chunks.

    The arrays must not change meanwhile: the caller hands over copies.
    Returns the manifest with its tables. Raises TypeError for a table of objects or records, OSError from the store or where
    chunks vanish as fast as they are written.
    """
    chunks: dict[str, memoryview] = {}
    hashed = itertools.count(1)

    def keep(sha256: str, chunk: memoryview) -> None:
        chunks.setdefault(sha256, chunk)
        if next(hashed) % AT_ONCE == 0:
            rest()

    entries = [_entry(name, "fold", fold[name], draft.chunk_bytes, keep) for name in sorted(fold)]
    entries += [_entry(name, "publisher", publisher[name], draft.chunk_bytes, keep) for name in sorted(publisher)]
    manifest = msgspec.structs.replace(draft, tables=tuple(entries))
    fresh = {name: chunk for name, chunk in chunks.items() if name not in known}
    _put_chunks(store, fresh, rest)
    store.put(manifest_file(manifest.name), encode_manifest(manifest))
    _complete_again(store, manifest, chunks, rest)
    logger.debug("snapshot %s written: %d of %d chunks new", manifest.name, len(fresh), len(chunks))
    return manifest


def _put_chunks(store: SnapshotStore, chunks: Mapping[str, memoryview], rest: Callable[[], None]) -> None:
    names = sorted(chunks)
    for first in range(0, len(names), AT_ONCE):
        store.put_all({chunk_file(name): chunks[name] for name in names[first : first + AT_ONCE]})
        rest()


def _complete_again(
    store: SnapshotStore, manifest: Manifest, chunks: Mapping[str, memoryview], rest: Callable[[], None]
) -> None:
    """Writes chunks again that are not there although the manifest is: lost by the store, or deleted by a former owner."""
    for _ in range(COMPLETIONS_MAX):
        missing = chunks.keys() - _stored_chunks(store)
        if not missing:
            return
        logger.warning(
            "snapshot %s: %d chunks that should be in the store are not, %s first; they are written again",
            manifest.name,
            len(missing),
            chunk_file(min(missing)),
        )
        _put_chunks(store, {name: chunks[name] for name in missing}, rest)
    raise OSError(
        f"snapshot {manifest.name}: {len(missing)} chunks, {chunk_file(min(missing))} first, vanish as fast as they are written; "
        "expected nobody else to delete in this store: look for another program or namespace that uses snapshots.root"
    )


def read_fold_tables(store: SnapshotStore, manifest: Manifest, wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """The fold tables of a snapshot whose names are ``wanted``; otherwise as ``read_snapshot``."""
    return {
        entry.name: _read_table(store, entry, manifest)
        for entry in manifest.tables
        if entry.kind == "fold" and wanted(entry.name)
    }


def read_tables(store: SnapshotStore, manifest: Manifest, wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """The same of tables of either kind."""
    return {entry.name: _read_table(store, entry, manifest) for entry in manifest.tables if wanted(entry.name)}


def read_snapshot(store: SnapshotStore, name: str) -> tuple[Manifest, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Reads snapshot ``name``: (manifest, fold tables, publisher tables), every byte checked against its hash.

    The arrays are new, writable, in C order. Raises SnapshotDamaged naming the file, what was expected and found.
    """
    manifest = read_manifest(store, name)
    fold: dict[str, NDArray[Any]] = {}
    publisher: dict[str, NDArray[Any]] = {}
    for entry in manifest.tables:
        (fold if entry.kind == "fold" else publisher)[entry.name] = _read_table(store, entry, manifest)
    return manifest, fold, publisher


def table_hashes(tables: Tables, chunk_bytes: int) -> dict[str, str]:
    """The hash of each table as a manifest of the same ``chunk_bytes`` has it, without writing anything."""
    return {name: _entry(name, "fold", tables[name], chunk_bytes, _drop).sha256 for name in sorted(tables)}


def fold_hashes(manifest: Manifest) -> dict[str, str]:
    """The hash of each fold table of a snapshot."""
    return {entry.name: entry.sha256 for entry in manifest.tables if entry.kind == "fold"}


class Incomplete(NamedTuple):
    """A snapshot that no worker can start from, and why."""

    name: str
    why: str


def list_snapshots(store: SnapshotStore) -> list[Manifest]:
    """Manifests of the complete snapshots, newest first; one that can't be read or lacks a chunk is skipped with a warning."""
    complete, incomplete = told_apart(store)
    for one in incomplete:
        logger.warning("snapshot %s is skipped: %s", *one)
    return complete


def told_apart(
    store: SnapshotStore, read: _Read = read_manifest, present: AbstractSet[str] | None = None
) -> tuple[list[Manifest], list[Incomplete]]:
    """The snapshots whose chunks are all there, and the others; newest first. What is in the chunks is not read; ``present``: those that are there."""
    present = _stored_chunks(store) if present is None else present
    found = [_looked_at(store, name, present, read) for name in manifest_names(store)]
    return [one for one in found if isinstance(one, Manifest)], [one for one in found if isinstance(one, Incomplete)]


def latest_complete(store: SnapshotStore) -> Manifest | None:
    """The manifest of the newest complete snapshot, None where there is none."""
    present = _stored_chunks(store)
    found = (_looked_at(store, name, present) for name in manifest_names(store))
    return next((one for one in found if isinstance(one, Manifest)), None)


class Retention:
    """Removes old snapshots of one tenure: call it after each commit that succeeded, never beside ``write_snapshot`` of this process.

    A snapshot goes as soon as it is too many. A chunk goes when no manifest named it, neither before the last commit nor after it:
    a former owner, whose commits are refused, so deletes none that the new one has begun to write.
    """

    def __init__(self, store: SnapshotStore, keep: int, history_days: int) -> None:
        self._store = store
        self._keep = keep
        self._history_days = history_days
        self._known: dict[str, Manifest] = {}
        """Manifests read before: none ever changes."""
        self._unnamed: AbstractSet[str] = frozenset()

    def run(self, committed: str) -> list[str]:
        """Deletes old snapshots, then the chunks that nobody named twice; returns the names of the snapshots deleted.

        Kept are ``committed`` and the newest complete ones before it, ``keep`` together; beside them older ones, thinned by age over
        ``history_days``, and those that an operator's rollback named that is not behind ``committed`` yet. What is newer than ``committed`` is left
        alone, complete or not: it may be another owner's. If a manifest that stays can't be read no chunk is deleted, since it
        may name any. Raises OSError from the store.
        """
        stored = _stored_chunks(self._store)
        retired = self._retire(committed, stored)
        unnamed = self._named_by_nobody(stored)
        for sha256 in sorted(unnamed & self._unnamed):
            self._store.delete(chunk_file(sha256))
        self._unnamed = unnamed - self._unnamed
        return retired

    def _retire(self, committed: str, stored: AbstractSet[str]) -> list[str]:
        store, keep = self._store, self._keep
        names = manifest_names(store)
        self._known = {name: manifest for name, manifest in self._known.items() if name in names}
        complete, incomplete = told_apart(store, self._read, stored)
        for one in incomplete:
            logger.warning("snapshot %s is skipped: %s", *one)
        pinned = still_pinned(store, [manifest for manifest in complete if manifest.name == committed])
        before = [manifest.name for manifest in reversed(complete) if manifest.name < committed and manifest.name not in pinned]
        kept = kept_of([*before, committed], keep, self._history_days)
        oldest = min([*before, committed][-keep:]) if len(before) >= keep - 1 else ""
        retired = sorted(name for name in names if name < oldest and name not in pinned | kept)
        for name in retired:
            store.delete(manifest_file(name))
        return retired

    def _named_by_nobody(self, stored: AbstractSet[str]) -> AbstractSet[str]:
        """Of the stored chunks; the manifests are listed after those: one that appeared meanwhile is honoured."""
        unnamed = set(stored)
        for name in manifest_names(self._store):
            try:
                unnamed -= chunk_names(self._read(self._store, name))
            except SnapshotDamaged as error:
                logger.warning("no chunk is deleted while the manifest of %s can't be read: %s", name, error)
                return frozenset()
        return unnamed

    def _read(self, store: SnapshotStore, name: str) -> Manifest:
        if name not in self._known:
            self._known[name] = read_manifest(store, name)
        return self._known[name]


def _stored_chunks(store: SnapshotStore) -> set[str]:
    return {file.rpartition("/")[2] for file in store.names(CHUNKS)}


def _looked_at(
    store: SnapshotStore, name: str, present: AbstractSet[str], read: _Read = read_manifest
) -> Manifest | Incomplete:
    try:
        manifest = read(store, name)
    except SnapshotDamaged as error:
        return Incomplete(name, str(error))
    missing = chunk_names(manifest) - present
    if missing:
        return Incomplete(name, f"{len(missing)} chunks are missing, {chunk_file(min(missing))} first")
    return manifest


def _drop(sha256: str, chunk: memoryview) -> None:
    """Keeps nothing: hashing alone."""


def _entry(name: str, kind: Literal["fold", "publisher"], table: NDArray[Any], chunk_bytes: int, keep: _Keep) -> TableEntry:
    if table.dtype.kind not in _KINDS:
        raise TypeError(f"table {name!r} has dtype {table.dtype}: expected plain numbers or booleans")
    plain = np.asarray(table, dtype=table.dtype.newbyteorder("<"), order="C")
    hashes: list[str] = []
    for chunk in _cut(plain, chunk_bytes):
        sha256 = hashlib.sha256(chunk).hexdigest()
        keep(sha256, chunk)
        hashes.append(sha256)
    return _seal(TableEntry(name=name, kind=kind, dtype=plain.dtype.str, shape=plain.shape, sha256="", chunks=tuple(hashes)))


def _cut(table: NDArray[Any], chunk_bytes: int) -> Iterator[memoryview]:
    content = _bytes_of(table)
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]


def _bytes_of(table: NDArray[Any]) -> memoryview:
    return table.reshape(-1).view(np.uint8).data if table.nbytes else memoryview(b"")


def _seal(entry: TableEntry) -> TableEntry:
    content = msgspec.json.encode((entry.dtype, entry.shape, entry.chunks))
    return msgspec.structs.replace(entry, sha256=hashlib.sha256(content).hexdigest())


def _read_table(store: SnapshotStore, entry: TableEntry, manifest: Manifest) -> NDArray[Any]:
    dtype = _checked_dtype(entry, manifest)
    table = np.empty(entry.shape, dtype)
    content = _bytes_of(table)
    for number, sha256 in enumerate(entry.chunks):
        target = content[number * manifest.chunk_bytes : (number + 1) * manifest.chunk_bytes]
        target[:] = read_chunk(store, sha256, len(target))
    return table


def _checked_dtype(entry: TableEntry, manifest: Manifest) -> np.dtype[Any]:
    """The dtype, after the entry agrees with itself: checked before memory is taken for what it claims."""
    file = f"{manifest_file(manifest.name)}, table {entry.name}"
    found = _seal(entry).sha256
    if found != entry.sha256:
        raise SnapshotDamaged(file, expected=f"sha256 {entry.sha256}", found=f"sha256 {found}")
    try:
        dtype = np.dtype(entry.dtype)
    except TypeError:
        raise SnapshotDamaged(file, expected="a numpy dtype", found=repr(entry.dtype)) from None
    if dtype.kind not in _KINDS or dtype.str != entry.dtype or min(entry.shape, default=0) < 0:
        raise SnapshotDamaged(file, expected="a table of plain values", found=f"dtype {entry.dtype}, shape {entry.shape}")
    chunks = -(-math.prod(entry.shape) * dtype.itemsize // manifest.chunk_bytes)
    if chunks != len(entry.chunks):
        raise SnapshotDamaged(file, expected=f"{chunks} chunks for shape {entry.shape}", found=f"{len(entry.chunks)}")
    return dtype


def read_chunk(store: SnapshotStore, sha256: str, size: int) -> bytes:
    """The bytes of a chunk. Raises SnapshotDamaged where there are none, or others than its name says."""
    file = chunk_file(sha256)
    try:
        data = store.get(file)
    except KeyError:
        raise SnapshotDamaged(file, expected=f"{size} bytes", found="no such file") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256 or len(data) != size:
        raise SnapshotDamaged(
            file, expected=f"{size} bytes with sha256 {sha256}", found=f"{len(data)} bytes with sha256 {found}"
        )
    return data
