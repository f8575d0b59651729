"""Decoded events as flat arrays: what the compiled step reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from streamer.events.model import DecodedEvents
from streamer.tables.arrays import Array
from streamer.tables.ids import SEPARATOR, split_and_hash

_GLUE = chr(0xDC00 + SEPARATOR)
"""Becomes the one byte SEPARATOR under ``surrogateescape``."""


class Columns(NamedTuple):
    """A micro-batch of N events with M item references.

    Hashes are of the ids' UTF-8 bytes, 0 where an event has no id; ``user_text`` and ``item_text`` hold the ids joined.
    The items of event n are references ``item_first_N1[n]`` to ``item_first_N1[n + 1]``.
    """

    type_N: Array
    time_N: Array
    append_N: Array
    partition_N: Array
    event_N: Array
    user_N: Array
    user_start_N1: Array
    user_text: Array
    item_first_N1: Array
    item_M: Array
    item_start_M1: Array
    item_text: Array


def columns_of(events: DecodedEvents, append_ms: Sequence[int], partitions: Sequence[int] | Array | int) -> Columns:
    """The arrays of a decoded micro-batch.

    ``append_ms`` are the log's times and ``partitions`` the partitions of all values that were decoded (or the one partition
    of them all); the accepted ones are picked by ``events.positions``.
    """
    count = len(events.types)
    position_N = np.array(events.positions, np.int64)
    _, event_N, _ = _hashed(events.event_ids)
    user_start_N1, user_N, user_text = _hashed(events.user_ids)
    item_start_M1, item_M, item_text = _hashed(events.item_ids)
    item_first_N1 = np.zeros(count + 1, np.int64)
    np.cumsum(np.array(events.item_counts, np.int64), out=item_first_N1[1:])
    partition_N = (
        np.full(count, partitions, np.int64) if isinstance(partitions, int) else np.array(partitions, np.int64)[position_N]
    )
    return Columns(
        type_N=np.array(events.types, np.int8),
        time_N=np.array(events.timestamps_ms, np.int64),
        append_N=np.array(append_ms, np.int64)[position_N],
        partition_N=partition_N,
        event_N=event_N,
        user_N=user_N,
        user_start_N1=user_start_N1,
        user_text=user_text,
        item_first_N1=item_first_N1,
        item_M=item_M,
        item_start_M1=item_start_M1,
        item_text=item_text,
    )


def _hashed(ids: Sequence[str]) -> tuple[Array, Array, Array]:
    text = np.frombuffer(_GLUE.join(ids).encode("utf-8", "surrogateescape"), np.uint8)
    start_N1, hash_N = np.zeros(len(ids) + 1, np.int64), np.zeros(len(ids), np.uint64)
    split_and_hash(text, start_N1, hash_N)
    return start_N1, hash_N, text
