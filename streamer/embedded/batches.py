"""How records lie in the embedded log: runs of adjacent records of one partition, packed into columns; and which partition a key has.

A run a row, not a record a row: the sqlite3 module gives up the interpreter lock at every row, and a thread that has to win
it back thousands of times a second starves beside any busy one.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import msgspec

from streamer.ports import LogError

_MASK = 0xFFFFFFFF
_NONE = -1
"""Length that stands for None."""


@lru_cache(maxsize=65_536)
def murmur2(data: bytes) -> int:
    """The 32-bit hash by which Kafka's own clients choose a partition (Austin Appleby's MurmurHash2, seed 0x9747b28c).

    >>> murmur2(b"21")
    3321034988
    """
    multiplier = 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * multiplier & _MASK  # noqa: PLW2901
        word ^= word >> 24  # noqa: PLW2901
        value = (value * multiplier & _MASK) ^ (word * multiplier & _MASK)
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & _MASK
    value ^= value >> 13
    value = value * multiplier & _MASK
    return value ^ (value >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's Java and Python clients give to ``key``, so that a log replays alike in both."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def pack(column: Sequence[bytes | None]) -> tuple[bytes, bytes]:
    """One column of byte strings as (lengths, little-endian int32, -1 for None; contents end to end)."""
    lengths = [_NONE if cell is None else len(cell) for cell in column]
    return struct.pack(f"<{len(lengths)}i", *lengths), b"".join([cell for cell in column if cell])


def unpack(lengths: bytes, contents: bytes, first: int, stop: int) -> list[bytes | None]:
    """Cells ``first`` to ``stop`` (exclusive) of a packed column.

    Raises LogError where the lengths do not fit the contents: the row is damaged.
    """
    sizes = struct.unpack(f"<{len(lengths) // 4}i", lengths)
    ends = list(accumulate([max(0, size) for size in sizes], initial=0))
    if ends[-1] != len(contents):
        message = f"a packed column of the embedded log is damaged: lengths add up to {ends[-1]} bytes, found {len(contents)}"
        raise LogError(message, retriable=False)
    return [
        contents[begin:end] if size != _NONE else None
        for size, begin, end in zip(sizes[first:stop], ends[first:stop], ends[first + 1 : stop + 1], strict=True)
    ]


def pack_headers(headers: Sequence[tuple[tuple[str, bytes], ...]]) -> bytes | None:
    """Headers of each record as JSON with base64 values; None where no record has any, which is the common case."""
    if not any(headers):
        return None
    return json.dumps([[[name, base64.b64encode(value).decode()] for name, value in one] for one in headers]).encode()


def unpack_headers(packed: bytes | None, count: int) -> list[tuple[tuple[str, bytes], ...]]:
    """What ``pack_headers`` was given, for a run of ``count`` records."""
    if packed is None:
        return [()] * count
    return [tuple((name, base64.b64decode(value)) for name, value in one) for one in msgspec.json.decode(packed)]
