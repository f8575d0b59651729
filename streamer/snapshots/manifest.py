"""The manifest: what a snapshot holds, as JSON, written last.

A store holds ``manifests/<name>.json`` and ``chunks/<aa>/<sha256>``. The manifest's file is an envelope
``{"format", "sha256", "manifest"}`` whose hash covers the bytes of the manifest, so that a flipped digit is found.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from threadpoolctl import threadpool_info

from streamer import __version__
from streamer.ports import Positions, SnapshotStore, TopicPartition

FORMAT = 6
"""Raised with every change to the manifest or to what the tables of a state hold."""
READABLE = (4, 5, FORMAT)
"""What can be loaded. Format 4 has no tables of providers and categories: each item has none until its next document. Up to format 5 entries of
the journal have links, which are not read, and those of a freed item are empty: sessions close up over them."""
MANIFESTS = "manifests/"
CHUNKS = "chunks/"

_NAME = re.compile(r"\d{13}-[0-9a-z]{4,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SnapshotDamaged(Exception):  # noqa: N818 - says what is the case, as the message does
    """A snapshot can't be read as it was written: ``file``, what was ``expected`` there and what was ``found``."""

    def __init__(self, file: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"snapshot file {file}: expected {expected}, found {found}; "
            "restore the file from a copy of the store, or start from another snapshot (`streamer snapshots list`)"
        )
        self.file = file
        self.expected = expected
        self.found = found


class NoSuchSnapshot(SnapshotDamaged):
    """The store has no snapshot of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{MANIFESTS}{name}.json", expected="a manifest", found="no such file")
        self._name = name

    def __str__(self) -> str:
        return f"there is no snapshot {self._name!r} in the store: `streamer snapshots list` shows those that there are"


class StructureDiffers(Exception):  # noqa: N818 - as above
    """A snapshot was made under configuration that shapes the state otherwise: ``key``, ``saved`` and ``configured`` value."""

    def __init__(self, name: str, key: str, saved: object, configured: object) -> None:
        super().__init__(
            f"snapshot {name} was made with {key} = {saved!r}, the configuration says {configured!r}; {key} shapes the state, so "
            f"set it back to {saved!r}, or learn anew with the other value under another namespace"
        )
        self.key = key
        self.saved = saved
        self.configured = configured


class TableEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One table of a snapshot: how to read it, its hash, and its chunks in order.

    ``sha256`` covers dtype, shape and chunks alone: equal content (cut alike) has an equal hash whatever the run.
    """

    name: str
    kind: Literal["fold", "publisher"]
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    chunks: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that a snapshot is, but for the bytes of its chunks.

    ``offsets[topic][partition]`` is the next offset to read; ``structural`` the configuration that shapes the state;
    ``order`` the runs (topic, partition, records) applied since ``parent``; ``position`` the sum of the next offsets of all
    input partitions; ``chunk_bytes`` the size in bytes at which tables were cut; ``left_out`` the offsets (topic, partition, first,
    stop) that were or will not be applied, but become dead letters; ``generation`` that of the owner who wrote it. Times are epoch milliseconds UTC.
    """

    name: str
    epoch: int
    created_ms: int
    parent: str | None
    topic_ids: dict[str, str]
    offsets: dict[str, dict[str, int]]
    structural: dict[str, Any]
    encoder_fingerprint: str | None
    versions: dict[str, str]
    head_step: int
    event_ms: int
    position: int
    counters: dict[str, Any]
    order: tuple[tuple[str, int, int], ...]
    chunk_bytes: int
    format: int = FORMAT
    left_out: tuple[tuple[str, int, int, int], ...] = ()
    generation: int = 0
    tables: tuple[TableEntry, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    format: int
    sha256: str = ""
    manifest: msgspec.Raw = msgspec.Raw()


def snapshot_name(created_ms: int, suffix: str) -> str:
    """The name of a snapshot, which sorts by time: ``created_ms`` in 13 digits and a random ``suffix``.

    Raises ValueError where the two make no valid name (suffix: 4 to 64 of ``0-9a-z``).

    >>> snapshot_name(1795485458344, "9f3c02aa")
    '1795485458344-9f3c02aa'
    """
    name = f"{created_ms:013d}-{suffix}"
    if not is_snapshot_name(name):
        raise ValueError(f"snapshot name {name!r}: expected 13 digits of epoch ms, '-', and 4 to 64 characters of 0-9 and a-z")
    return name


def is_snapshot_name(name: str) -> bool:
    """Whether ``name`` can be a snapshot's; such a name is safe as part of a path.

    >>> is_snapshot_name("../1795485458344-9f3c02aa")
    False
    """
    return _NAME.fullmatch(name) is not None


def manifest_file(name: str) -> str:
    """The blob of the manifest of snapshot ``name``."""
    return f"{MANIFESTS}{name}.json"


def chunk_file(sha256: str) -> str:
    """The blob of a chunk."""
    return f"{CHUNKS}{sha256[:2]}/{sha256}"


def manifest_names(store: SnapshotStore) -> list[str]:
    """Names of all snapshots that have a manifest, newest first, readable or not; files with other names are ignored."""
    stems = (file.removeprefix(MANIFESTS).removesuffix(".json") for file in store.names(MANIFESTS) if file.endswith(".json"))
    return sorted((stem for stem in stems if is_snapshot_name(stem)), reverse=True)


def encode_manifest(manifest: Manifest) -> bytes:
    """The file of a manifest; the same manifest gives the same bytes."""
    body = msgspec.json.encode(manifest)
    envelope = _Envelope(format=manifest.format, sha256=hashlib.sha256(body).hexdigest(), manifest=msgspec.Raw(body))
    return msgspec.json.encode(envelope)


def decode_manifest(data: bytes, file: str) -> Manifest:
    """The manifest in ``data``, the content of ``file``; raises SnapshotDamaged where it is not what was written."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(file, expected="JSON with format, sha256 and manifest", found=str(error)) from error
    if envelope.format not in READABLE:
        raise SnapshotDamaged(
            file,
            expected=f"format {' or '.join(map(str, READABLE))}",
            found=f"format {envelope.format}, which another release of streamer wrote: use that",
        )
    found = hashlib.sha256(envelope.manifest).hexdigest()
    if found != envelope.sha256:
        raise SnapshotDamaged(file, expected=f"a manifest with sha256 {envelope.sha256}", found=f"sha256 {found}")
    try:
        manifest = msgspec.json.decode(envelope.manifest, type=Manifest)
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(file, expected=f"a manifest of format {envelope.format}", found=str(error)) from error
    _require_sound(manifest, file)
    return manifest


def read_manifest(store: SnapshotStore, name: str) -> Manifest:
    """The manifest of snapshot ``name``; raises NoSuchSnapshot, or SnapshotDamaged where it is not what was written."""
    if not is_snapshot_name(name):
        raise NoSuchSnapshot(name)
    file = manifest_file(name)
    try:
        data = store.get(file)
    except KeyError:
        raise NoSuchSnapshot(name) from None
    manifest = decode_manifest(data, file)
    if manifest.name != name:
        raise SnapshotDamaged(file, expected=f"the manifest of {name}", found=f"that of {manifest.name}")
    return manifest


def chunk_names(manifest: Manifest) -> set[str]:
    """The hashes of all chunks that a snapshot names."""
    return {chunk for table in manifest.tables for chunk in table.chunks}


def positions_of(manifest: Manifest) -> dict[TopicPartition, int]:
    """Next offset of every partition, by partition."""
    return {
        TopicPartition(topic, int(partition)): next_offset
        for topic, by_partition in manifest.offsets.items()
        for partition, next_offset in by_partition.items()
    }


def left_out_ahead(manifest: Manifest) -> tuple[tuple[str, int, int, int], ...]:
    """What a fold from this snapshot still meets of what is not to be applied."""
    positions = positions_of(manifest)
    return tuple(one for one in manifest.left_out if one[3] > positions.get(TopicPartition(one[0], one[1]), 0))


def offsets_of(positions: Positions) -> dict[str, dict[str, int]]:
    """Positions in the form of a manifest and of ``GET /status``, sorted by topic and partition.

    >>> offsets_of({TopicPartition("events", 1): 7, TopicPartition("events", 0): 5})
    {'events': {'0': 5, '1': 7}}
    """
    offsets: dict[str, dict[str, int]] = {}
    for (topic, partition), next_offset in sorted(positions.items()):
        offsets.setdefault(topic, {})[str(partition)] = next_offset
    return offsets


def require_same_structure(manifest: Manifest, structural: Mapping[str, Any]) -> None:
    """Returns if the state of ``manifest`` fits the configuration; raises StructureDiffers at the first key that differs."""
    configured = msgspec.json.decode(msgspec.json.encode(dict(structural)))
    for key in sorted(manifest.structural.keys() | configured.keys()):
        saved, here = manifest.structural.get(key), configured.get(key)
        if saved != here:
            raise StructureDiffers(manifest.name, key, saved, here)


def versions() -> dict[str, str]:
    """What equal results depend on besides the records: releases of Python and libraries, the kind of machine, and that which BLAS computes for."""
    return {
        "python": platform.python_version(),
        "numpy": _release("numpy"),
        "numba": _release("numba"),
        "scipy": _release("scipy"),
        "blas": _blas(),
        "streamer": __version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


_release = functools.cache(importlib.metadata.version)


@functools.cache
def _blas() -> str:
    kinds = {str(one.get("architecture", one["internal_api"])) for one in threadpool_info() if one["user_api"] == "blas"}
    return " ".join(sorted(kinds)) or "none"


def _require_sound(manifest: Manifest, file: str) -> None:
    for chunk in chunk_names(manifest):
        if _SHA256.fullmatch(chunk) is None:
            raise SnapshotDamaged(file, expected="chunks named by 64 hexadecimal digits", found=repr(chunk))
    if manifest.chunk_bytes < 1:
        raise SnapshotDamaged(file, expected="chunk_bytes of at least 1", found=str(manifest.chunk_bytes))
