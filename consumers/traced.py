"""A record whose way is traced."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.ports import TopicPartition


@dataclass(slots=True)
class Traced:
    """A record under way; times are epoch ns."""

    context: dict[str, str]
    place: TopicPartition
    offset: int
    user_id: bytes
    append_ns: int
    polled_ns: int
    decoded_ns: int
    folding_ns: int = 0
    folded_ns: int = 0
    failed_writes: int = 0
