"""``streamer snapshots``: what is in the store, and which one is *the* snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from consumers.compose import committed_offsets, open_snapshots, snapshots_place
from consumers.operating import applied, snapshot_row, table_bytes
from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.cli.verify import verified
from streamer.config import Config
from streamer.ports import LogError, SnapshotStore
from streamer.snapshots import Manifest, fold_hashes, list_snapshots, parse_metadata, read_manifest
from streamer.snapshots.chunks import told_apart
from streamer.snapshots.soundness import fault_in

LATEST = "latest"


@click.group()
def snapshots() -> None:
    """List snapshots, show one, or verify one by folding the log again."""


@snapshots.command("list")
@config_option
@json_option
def list_command(config_path: Path | None, *, as_json: bool) -> None:
    """List the complete snapshots, newest first; a star marks the one that the committed offsets name.

    What can't be used is named as well: manifests that can't be read, missing chunks, and of the committed one damaged chunks.
    """
    config = prepare(config_path)
    store = open_snapshots(config)
    found, incomplete = told_apart(store)
    named = committed_name(config)
    fault = fault_of(store, named)
    for one in found:
        star = "*" if one.name == named else " "
        click.echo(f"{star} {one.name}  {shown(one.created_ms)}  {applied(one):>12,} events  {table_bytes(one):>14,} bytes")
    if not found:
        click.echo(f"no complete snapshot in {snapshots_place(config)}", err=True)
    for name, why in incomplete:
        click.echo(f"warning: {name} is not complete: {why}", err=True)
    if fault is not None:
        click.echo(f"warning: {fault}", err=True)
    if as_json:
        unusable = [{"name": name, "why": why} for name, why in incomplete]
        say_json({"snapshots": [snapshot_row(one, named) for one in found], "incomplete": unusable, "committed_fault": fault})


@snapshots.command()
@click.argument("name", default=LATEST)
@config_option
@json_option
def show(name: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show snapshot NAME, or the latest: the one that the committed offsets name, which a worker would start from."""
    config = prepare(config_path)
    store = open_snapshots(config)
    manifest = latest(config, store) if name == LATEST else read_manifest(store, name)
    for line in _lines(manifest):
        click.echo(line)
    if as_json:
        say_json(_plain(manifest))


@snapshots.command()
@click.argument("ancestor", metavar="A")
@click.argument("descendant", metavar="B", default=LATEST)
@config_option
@json_option
@click.pass_context
def verify(ctx: click.Context, ancestor: str, descendant: str, config_path: Path | None, *, as_json: bool) -> None:
    """Fold the log from snapshot A to the later B (or the latest), in the order in which it was applied, and compare every table.

    Exit status 0 where all are the same bit for bit, 1 where one differs or the records are not there to tell.
    """
    config = prepare(config_path)
    store = open_snapshots(config)
    name = latest(config, store).name if descendant == LATEST else descendant
    if not verified(config, store, (ancestor, name), as_json=as_json):
        ctx.exit(1)


def latest(config: Config, store: SnapshotStore) -> Manifest:
    """The snapshot that the committed offsets name; with a warning the newest complete one where they name none.

    Raises SnapshotDamaged where the named one is not there, ClickException where there is none at all.
    """
    named = committed_name(config)
    if named is not None:
        return read_manifest(store, named)
    found = list_snapshots(store)
    if not found:
        message = f"no complete snapshot in {snapshots_place(config)}: a worker writes one every snapshots.interval_ms, and when it stops"
        raise click.ClickException(message)
    click.echo(f"warning: showing the newest complete snapshot, {found[0].name}", err=True)
    return found[0]


def committed_name(config: Config) -> str | None:
    """The one snapshot that the group's committed offsets name, None with a warning where they name none or several."""
    try:
        names = committed_names(config)
    except LogError as error:
        click.echo(f"warning: the committed offsets, which name the snapshot in force, cannot be read: {error}", err=True)
        return None
    if len(names) == 1 and names[0]:
        return names[0]
    found = {0: "has committed no offsets", 1: "has committed offsets that name no snapshot"}
    click.echo(f"warning: group {config.group} {found.get(len(names), 'has committed offsets that disagree')}", err=True)
    return None


def committed_names(config: Config) -> list[str]:
    """The snapshots that the group's committed offsets name, '' for offsets that name none. Raises LogError."""
    return sorted({parse_metadata(commit.metadata) or "" for commit in committed_offsets(config, config.group).values()})


def fault_of(store: SnapshotStore, committed: str | None) -> str | None:
    """Why a worker can't start from the committed snapshot, and what to do; None where it can, or none is named."""
    fault = fault_in(store, committed) if committed is not None else None
    if fault is None:
        return None
    return (
        f"the committed offsets name snapshot {committed}, and no worker can start from it: {fault}; restore the store's files from a "
        "copy, or start from another one: `streamer worker --accept-snapshot NAME` (a running worker mends it with its next snapshot)"
    )


def table_hashes(manifest: Manifest) -> dict[str, str]:
    """The hash of each table that the records determine; the counters are shown as numbers, so their table is not among them."""
    return {name: sha256 for name, sha256 in fold_hashes(manifest).items() if name != "counters"}


def _plain(manifest: Manifest) -> dict[str, Any]:
    fields = (
        *("name", "format", "epoch", "created_ms", "parent", "head_step", "event_ms", "position", "counters", "offsets"),
        *("topic_ids", "structural", "encoder_fingerprint", "versions"),
    )
    plain = {field: getattr(manifest, field) for field in fields}
    return {**plain, "tables": table_hashes(manifest), "bytes": table_bytes(manifest)}


def _lines(manifest: Manifest) -> list[str]:
    counters = manifest.counters
    kinds = ", ".join(f"{kind} {count}" for kind, count in counters.get("applied", {}).items())
    offsets = (f"{topic}[{part}] {offset}" for topic, parts in manifest.offsets.items() for part, offset in parts.items())
    hashes = table_hashes(manifest)
    return [
        f"snapshot {manifest.name}, of {shown(manifest.created_ms)}, parent {manifest.parent or 'none'}",
        f"epoch {manifest.epoch}, position {manifest.position}, head step {manifest.head_step}",
        f"event time reached: {shown(manifest.event_ms) if manifest.event_ms else 'none'}",
        f"applied: {applied(manifest)} ({kinds})",
        ", ".join(f"{name} {count}" for name, count in counters.items() if name != "applied"),
        f"offsets: {', '.join(offsets)}",
        f"tables: {table_bytes(manifest):,} bytes; sha256 of the {len(hashes)} that the records determine:",
        *(f"  {sha256}  {name}" for name, sha256 in hashes.items()),
    ]
