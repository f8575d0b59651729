"""Whether snapshots can be read: chunks hashed, as far as that is cheap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from streamer.ports import SnapshotStore
from streamer.snapshots.chunks import read_chunk
from streamer.snapshots.manifest import Manifest, SnapshotDamaged, read_manifest

READ_BYTES_MAX = 2**30
"""Bytes that one look at a store hashes; what is beyond is taken for whole."""


class Looks:
    """Hashes each chunk of a store at most once, and no more than ``bytes_max``."""

    def __init__(self, store: SnapshotStore, bytes_max: int = READ_BYTES_MAX) -> None:
        self._store = store
        self._left = bytes_max
        self._found: dict[str, SnapshotDamaged | None] = {}

    def damage(self, manifest: Manifest) -> SnapshotDamaged | None:
        """The first chunk of a snapshot that is damaged or missing."""
        for entry in manifest.tables:
            size = math.prod(entry.shape) * np.dtype(entry.dtype).itemsize
            for number, sha256 in enumerate(entry.chunks):
                found = self._look(sha256, min(manifest.chunk_bytes, size - number * manifest.chunk_bytes))
                if found is not None:
                    return found
        return None

    def _look(self, sha256: str, size: int) -> SnapshotDamaged | None:
        if sha256 not in self._found:
            if size > self._left:
                return None
            self._left -= size
            self._found[sha256] = None
            try:
                read_chunk(self._store, sha256, size)
            except SnapshotDamaged as error:
                self._found[sha256] = error
        return self._found[sha256]


def fault_in(store: SnapshotStore, name: str) -> SnapshotDamaged | None:
    """Why snapshot ``name`` can't be read, None where nothing is found. Raises OSError from the store."""
    try:
        return Looks(store).damage(read_manifest(store, name))
    except SnapshotDamaged as error:
        return error


def damaged_among(store: SnapshotStore, manifests: Sequence[Manifest], wanted: int) -> set[str]:
    """Names of the snapshots that are damaged, looked at from the first on until ``wanted`` whole ones are found."""
    looks, damaged = Looks(store), set[str]()
    for manifest in manifests:
        if looks.damage(manifest) is not None:
            damaged.add(manifest.name)
        else:
            wanted -= 1
        if not wanted:
            break
    return damaged
