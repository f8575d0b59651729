"""Manifests as a writer of snapshots drafts them, numbered."""

from __future__ import annotations

from streamer.ports import SnapshotStore
from streamer.snapshots import Manifest, Retention

CHUNK = 64
START_MS = 1_795_485_458_000


def draft(n: int = 0, chunk_bytes: int = CHUNK) -> Manifest:
    """The manifest of snapshot ``n`` without its tables; names sort by number."""
    return Manifest(
        name=f"{START_MS + n:013d}-{n:04d}",
        epoch=1,
        created_ms=START_MS + n,
        parent=None,
        topic_ids={"events": "id"},
        offsets={"events": {"0": n}},
        structural={},
        encoder_fingerprint=None,
        versions={},
        head_step=0,
        event_ms=0,
        position=n,
        counters={},
        order=(),
        chunk_bytes=chunk_bytes,
    )


def retained(store: SnapshotStore, keep: int, committed: str) -> list[str]:
    """As two commits of the same snapshot in a store that nobody else writes to: unnamed chunks go at once. The snapshots deleted."""
    retention = Retention(store, keep, history_days=0)
    return retention.run(committed) + retention.run(committed)
