"""Two snapshots of workers: what their state was made under and of, which tables differ, and what that does to lists."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from streamer.compare.rankings import compare_rankings
from streamer.compare.tables import Side, compare_tables
from streamer.compare.values import MACHINE, Found, Told, changes, leaves
from streamer.config.tree import Config
from streamer.snapshots import Manifest, fold_hashes, positions_of

RANKED_USERS = 1_000
REACHED = ("head_step", "event_ms", "position")
"""Of a manifest: how far the state has come."""
CIRCUMSTANCES = ("created_ms", "parent", "epoch", "generation", "topic_ids", "chunk_bytes")
"""Of a manifest: what differs between two runs that do the same."""


def compare_snapshots(
    a: Side, b: Side, config: Config, told: Told, *, names: tuple[str, str], users_max: int = RANKED_USERS
) -> Found:
    """What differs between two snapshots.

    Args:
        a: One.
        b: The other, of the same store or another.
        config: What users are ranked by, but for what shapes a state, which each snapshot says itself.
        told: Told of progress.
        names: What the two are called.
        users_max: How many of the users that both know are ranked.

    Raises SnapshotDamaged, OSError.
    """
    one, other = a.manifest, b.manifest
    tables = compare_tables(a, b, told)
    versions = changes(one.versions, other.versions)
    found: Found = {
        "kind": "snapshots",
        "a": _about(names[0], one),
        "b": _about(names[1], other),
        "configuration": changes(_shaped_by(one), _shaped_by(other)),
        "versions": [change for change in versions if change["key"] != MACHINE],
        "circumstances": changes(_facts(one), _facts(other)) + [change for change in versions if change["key"] == MACHINE],
        "reached": changes(_reached(one), _reached(other)),
        "counters": changes(dict(leaves(one.counters)), dict(leaves(other.counters))),
        "tables": tables,
        "lists": compare_rankings(a, b, config, users_max, told) if tables["differing"] else None,
    }
    found["same_results"] = not tables["differing"] and not found["counters"]
    found["equal"] = found["same_results"] and not any(found[name] for name in ("configuration", "versions", "reached"))
    return found


def state_hash(manifest: Manifest) -> str:
    """A hash of all fold tables."""
    return hashlib.sha256(msgspec.json.encode(sorted(fold_hashes(manifest).items()))).hexdigest()


def _about(name: str, manifest: Manifest) -> Found:
    return {
        "run": name,
        "snapshot": manifest.name,
        "state_sha256": state_hash(manifest),
        "created_ms": manifest.created_ms,
        "applied": sum(manifest.counters.get("applied", {}).values()),
        "head_step": manifest.head_step,
        "event_ms": manifest.event_ms,
    }


def _shaped_by(manifest: Manifest) -> dict[str, Any]:
    return manifest.structural | {"encoder fingerprint": manifest.encoder_fingerprint}


def _facts(manifest: Manifest) -> dict[str, Any]:
    return dict(leaves({name: getattr(manifest, name) for name in CIRCUMSTANCES}))


def _reached(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(manifest, name) for name in REACHED}
    found |= {f"next offset of {topic}[{partition}]": offset for (topic, partition), offset in positions_of(manifest).items()}
    return found | ({"left out": [list(one) for one in manifest.left_out]} if manifest.left_out else {})
