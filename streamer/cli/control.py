"""``streamer freeze``, ``unfreeze`` and ``rollback``: what operators do to learning, as records of the topic ``control``."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from consumers.compose import open_snapshots
from consumers.operating import append_control, append_rollback, complete_snapshot, would_restore
from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.cli.snapshots import latest
from streamer.cli.status import ask, worker_url
from streamer.config import Config
from streamer.events.control import Control, Freeze, Rollback, Unfreeze
from streamer.events.model import CONTROL
from streamer.ports import SnapshotStore
from streamer.snapshots import Manifest

APPLIED_S_MAX = 60.0
LOOK_S = 0.1

Command = TypeVar("Command", bound=Callable[..., None])


def _options(command: Command) -> Command:
    for option in (
        json_option,
        config_option,
        click.option("--url", metavar="URL", help="Where the worker listens; from http.host and http.port unless given."),
        click.option("--by", default=getpass.getuser, metavar="NAME", help="Who asks for it; the user's name unless given."),
        click.option("--reason", default="", metavar="TEXT", help="Why: it stands in the record and in the worker's log."),
    ):
        command = option(command)
    return command


@click.command()
@_options
def freeze(reason: str, by: str, url: str | None, config_path: Path | None, *, as_json: bool) -> None:
    """Stop learning: gate and towers stay as they are from here on.

    Windows, counts and lists go on. It holds over restarts and takeovers until `streamer unfreeze`.
    """
    _send(prepare(config_path), Freeze(reason, by, _now_ms()), url, as_json=as_json)


@click.command()
@_options
def unfreeze(reason: str, by: str, url: str | None, config_path: Path | None, *, as_json: bool) -> None:
    """Learn again.

    Ends a freeze, whether an operator asked for it or ten skipped blocks in a row did.
    """
    _send(prepare(config_path), Unfreeze(reason, by, _now_ms()), url, as_json=as_json)


@click.command()
@click.argument("snapshot")
@click.option("--dry-run", is_flag=True, help="Only say what would be restored.")
@_options
def rollback(
    snapshot: str, reason: str, by: str, url: str | None, config_path: Path | None, *, dry_run: bool, as_json: bool
) -> None:
    """Bring back what was learned as it was in SNAPSHOT.

    Gate, towers, and the free vectors of items that are there still; windows and counts stay, and every list is written anew under
    a new epoch. Learning goes on from there unless it is frozen.
    """
    config = prepare(config_path)
    store = open_snapshots(config)
    saved = complete_snapshot(store, snapshot)
    if dry_run:
        _say_what_would_be(config, store, saved, as_json=as_json)
        return
    before = _epoch(url or worker_url(config))
    offset = append_rollback(config, store, Rollback(snapshot, reason, by, _now_ms()))
    _say_applied(config, offset, url, as_json=as_json, epoch_before=before)


def _send(config: Config, control: Control, url: str | None, *, as_json: bool) -> None:
    _say_applied(config, append_control(config, control), url, as_json=as_json)


def _say_applied(config: Config, offset: int, url: str | None, *, as_json: bool, epoch_before: int | None = None) -> None:
    """Waits until the owner has applied the record, where one can be asked; otherwise says that it can't be known.

    Of a rollback ``epoch_before`` tells whether it was done: that begins another epoch.
    """
    click.echo(f"on the log, at {CONTROL}[0] offset {offset - 1}")
    try:
        applied = _wait_applied(url or worker_url(config), offset)
    except click.ClickException as unreachable:
        applied = None
        click.echo(f"not known whether it is applied: {unreachable.message}; the owner applies it when it reads it", err=True)
    rejected = applied and epoch_before is not None and _epoch(url or worker_url(config)) == epoch_before
    applied = False if rejected else applied
    if applied:
        click.echo("applied by the owner")
    if as_json:
        say_json({"offset": offset - 1, "applied": applied})
    if rejected:
        message = "the owner read it and did not do it: its log and events.dead (reason engine_error) say why"
        raise click.ClickException(message)
    if applied is False:
        message = f"not applied within {APPLIED_S_MAX:.0f} s: the owner is behind or stands still, see `streamer status`"
        raise click.ClickException(message)


def _wait_applied(url: str, offset: int) -> bool:
    deadline_s = time.monotonic() + APPLIED_S_MAX
    while True:
        found = ask(url)
        if found["role"] == "standby":
            message = f"the worker at {url} is a standby: ask the owner with --url"
            raise click.ClickException(message)
        if _reached(found) >= offset:
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_S)


def _epoch(url: str) -> int | None:
    """The owner's, which a rollback changes; None where no owner can be asked."""
    try:
        found = ask(url)
    except click.ClickException:
        return None
    epoch = found.get("epoch")
    return epoch if isinstance(epoch, int) else None


def _reached(found: dict[str, Any]) -> int:
    return int((found.get("offsets") or {}).get(CONTROL, {}).get("0", 0))


def _say_what_would_be(config: Config, store: SnapshotStore, saved: Manifest, *, as_json: bool) -> None:
    present = latest(config, store)
    found = would_restore(store, saved, present)
    age_s = (_now_ms() - saved.created_ms) // 1_000
    matching, items = found.items_restored, found.items
    for line in (
        f"snapshot {saved.name}, of {shown(saved.created_ms)}, {age_s:,} s old; beside it {present.name}, which is in force",
        f"restored: the gate and both towers as of block {saved.head_step:,} (now {present.head_step:,})",
        f"restored: free vectors and biases of {matching:,} of {items:,} items; the other {items - matching:,} keep theirs",
        "nothing was done: this was a dry run",
    ):
        click.echo(line)
    if as_json:
        say_json({"age_s": age_s, **{name: value for name, value in found._asdict().items() if name != "created_ms"}})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
