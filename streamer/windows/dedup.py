"""Which events count: at most once by id, and not later than what can still be known.

Two generations of 64-bit hashes of (user, event id), rotated by count at a block boundary. Each generation notes every
partition's watermark (largest event time) at its start: an event with an id that is no newer than the older generation's start
may have been applied before, so it is late.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.tables.arrays import Array, capacity_for, grown, zeros
from streamer.tables.compile import kernel, leaf_kernel

NEVER_MS = -(1 << 62)
CURRENT, ROTATIONS = 0, 1
FEW, ROOM_MAX, ROOM_BESIDE = 1 << 14, 1 << 20, 1 << 13
"""Once there are more than a few ids, each generation gets room for all that it is to hold, as far as these are not too many, and for some more of
the batch that fills it: memory that nothing is written to costs nothing, and to index all ids anew holds the fold up."""


class Dedup(NamedTuple):
    """``id_GR[g, :count_G[g]]`` are the hashes of generation g in order of arrival; ``slot_GS`` is their index (n + 1, 0: empty), derived."""

    id_GR: Array
    count_G: Array
    start_GP: Array
    """Watermark of each partition when the generation began, ms."""
    watermark_P: Array
    turn: Array
    """[current generation, rotations so far]."""
    slot_GS: Array


def _room(ids: int, ids_min: int) -> int:
    """Room for so many ids of generations that are to hold ``ids_min``."""
    return ids if ids <= FEW else max(ids, min(ids_min + ROOM_BESIDE, ROOM_MAX))


def new_dedup(ids: int, partitions: int) -> Dedup:
    """Nothing seen yet; room for so many ids a generation."""
    return Dedup(
        id_GR=zeros((2, ids), np.uint64),
        count_G=np.zeros(2, np.int64),
        start_GP=np.full((2, partitions), NEVER_MS, np.int64),
        watermark_P=np.full(partitions, NEVER_MS, np.int64),
        turn=np.zeros(2, np.int64),
        slot_GS=_empty_index(ids),
    )


def _empty_index(ids: int) -> Array:
    return zeros((2, 1 << max(6, (2 * ids - 1).bit_length())), np.int32)


def _indexed(dedup: Dedup) -> Dedup:
    dedup = dedup._replace(slot_GS=_empty_index(dedup.id_GR.shape[1]))
    for generation in range(2):
        for_each = dedup.id_GR[generation, : int(dedup.count_G[generation])]
        index_ids(for_each, dedup.slot_GS[generation])
    return dedup


def reserve_dedup(dedup: Dedup, ids: int, partitions: int, ids_min: int = 0) -> Dedup:
    """Room for ``ids`` more in either generation, of which each is to hold ``ids_min``, and for that many partitions."""
    if partitions > len(dedup.watermark_P):
        missing = partitions - len(dedup.watermark_P)
        dedup = dedup._replace(
            watermark_P=grown(dedup.watermark_P, partitions, NEVER_MS),
            start_GP=np.pad(dedup.start_GP, ((0, 0), (0, missing)), constant_values=NEVER_MS),
        )
    needed = int(dedup.count_G.max()) + ids
    present = dedup.id_GR.shape[1]
    if needed <= present:
        return dedup
    wider = zeros((2, _room(capacity_for(needed, present), ids_min)), np.uint64)
    wider[:, :present] = dedup.id_GR
    return _indexed(dedup._replace(id_GR=wider))


def rotate_dedup(dedup: Dedup, ids_min: int) -> None:
    """Begins a new generation where the current one holds ``ids_min``; the one before the last is forgotten."""
    current = int(dedup.turn[CURRENT])
    if dedup.count_G[current] < ids_min:
        return
    fresh = 1 - current
    if dedup.count_G[fresh]:  # else nothing was ever written to its index
        dedup.slot_GS[fresh] = 0
    dedup.count_G[fresh] = 0
    dedup.start_GP[fresh] = dedup.watermark_P
    dedup.turn[CURRENT] = fresh
    dedup.turn[ROTATIONS] += 1


def dedup_out(dedup: Dedup) -> dict[str, Array]:
    """For a snapshot."""
    return {
        "dedup.first": dedup.id_GR[0, : int(dedup.count_G[0])],
        "dedup.second": dedup.id_GR[1, : int(dedup.count_G[1])],
        "dedup.start": dedup.start_GP,
        "dedup.watermark": dedup.watermark_P,
        "dedup.turn": dedup.turn,
    }


def dedup_in(tables: dict[str, Array], ids_min: int = 0) -> Dedup:
    """From a snapshot, with room for generations that are to hold ``ids_min``."""
    parts = (tables["dedup.first"], tables["dedup.second"])
    id_GR = zeros((2, _room(max(1024, *(len(part) for part in parts)), ids_min)), np.uint64)
    for generation, part in enumerate(parts):
        id_GR[generation, : len(part)] = part
    return _indexed(
        Dedup(
            id_GR=id_GR,
            count_G=np.array([len(part) for part in parts], np.int64),
            start_GP=np.array(tables["dedup.start"], copy=True),
            watermark_P=np.array(tables["dedup.watermark"], copy=True),
            turn=np.array(tables["dedup.turn"], copy=True),
            slot_GS=np.zeros((2, 0), np.int32),
        )
    )


@kernel
def index_ids(id_R: Array, slot_S: Array) -> None:
    """Puts ids into an empty index."""
    mask = np.uint64(len(slot_S) - 1)
    for n in range(len(id_R)):
        slot = id_R[n] & mask
        while slot_S[slot] > 0:
            slot = (slot + np.uint64(1)) & mask
        slot_S[slot] = n + 1


@leaf_kernel
def seen_before(dedup: Dedup, hashed: np.uint64) -> bool:
    """Whether either generation holds the id."""
    mask = np.uint64(dedup.slot_GS.shape[1] - 1)
    for generation in range(2):
        slot = hashed & mask
        while True:
            at = dedup.slot_GS[generation, slot]
            if at == 0:
                break
            if dedup.id_GR[generation, at - 1] == hashed:
                return True
            slot = (slot + np.uint64(1)) & mask
    return False


@leaf_kernel
def remember_id(dedup: Dedup, hashed: np.uint64) -> None:
    """Adds an id that is not there to the current generation; the caller has reserved room."""
    current = dedup.turn[CURRENT]
    at = dedup.count_G[current]
    dedup.id_GR[current, at] = hashed
    dedup.count_G[current] = at + 1
    mask = np.uint64(dedup.slot_GS.shape[1] - 1)
    slot = hashed & mask
    while dedup.slot_GS[current, slot] > 0:
        slot = (slot + np.uint64(1)) & mask
    dedup.slot_GS[current, slot] = at + 1


@leaf_kernel
def is_late(dedup: Dedup, partition: int, time_ms: int, has_id: bool, lateness_ms_max: int) -> bool:
    """Whether the event is later than allowed against its own partition, or older than the dedup table can still know."""
    if time_ms < dedup.watermark_P[partition] - lateness_ms_max:
        return True
    older = 1 - dedup.turn[CURRENT]
    return has_id and dedup.turn[ROTATIONS] > 1 and time_ms <= dedup.start_GP[older, partition]
