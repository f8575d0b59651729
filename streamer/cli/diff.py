"""``streamer diff``: what differs between two runs, two backtests or two snapshots, and by how much."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from consumers.compose import open_snapshots
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.cli.snapshots import LATEST, latest
from streamer.config import Config
from streamer.ports import SnapshotStore

# The engine takes a second to import, which the help need not wait for.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from streamer.compare.tables import Side
    from streamer.compare.values import Told

DIFFER, UNREADABLE = 1, 2
WATCHED_S, UNWATCHED_S = 0.5, 10.0
"""Between two lines of progress, where stderr is a terminal and where it is none."""
IN_STORE = "#"
BACKTEST, SNAPSHOT = "backtest", "snapshot"


@click.command()
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.html", help="Write all that was found as one page.")
@click.option(
    "--users",
    type=click.IntRange(min=0),
    default=1_000,
    show_default=True,
    metavar="N",
    help="Of two snapshots: rank at most so many of the users that both know.",
)
@config_option
@json_option
@click.pass_context
def diff(
    ctx: click.Context, run_a: str, run_b: str, out: Path | None, users: int, config_path: Path | None, *, as_json: bool
) -> None:
    """Say what differs between RUN_A and RUN_B: what they were run on and with, and what came out.

    A run is the folder of a `streamer backtest --out`, or a snapshot: its name in the configured store, `latest`, or
    FOLDER_OR_URL#NAME for one in another store (the folder that holds `manifests`; NAME may be `latest`). Both must be of one kind.

    Exit status 0 where nothing differs, 1 where something does, 2 where that cannot be told.
    """
    with _trouble_is_2():
        config = prepare(config_path)
        found = _compared(config, (run_a, run_b), users)
        for line in _lines(found):
            click.echo(line)
        if out is not None:
            _write(out, found)
        if as_json:
            say_json(found)
    ctx.exit(0 if found["equal"] else DIFFER)


@contextlib.contextmanager
def _trouble_is_2() -> Iterator[None]:
    """Whatever keeps two runs from being compared ends with 2, a fault of ours too: 1 says that they differ and nothing else."""
    from streamer.cli.main import Misused, exit_status

    try:
        yield
    except click.UsageError:
        raise
    except click.ClickException as error:
        raise Misused(error.message) from error
    except BrokenPipeError:
        raise
    except Exception as error:
        if exit_status(error) is not None:
            raise Misused(str(error)) from error
        traceback.print_exc()
        sys.exit(UNREADABLE)


def _compared(config: Config, runs: tuple[str, str], users: int) -> dict[str, Any]:
    from streamer.compare.backtests import compare_backtests
    from streamer.compare.snapshots import compare_snapshots
    from streamer.compare.values import RunUnreadable

    kinds = [_kind(run) for run in runs]
    if kinds[0] != kinds[1]:
        one, other = (f"{run} is a {kind}" for run, kind in zip(runs, kinds, strict=True))
        raise RunUnreadable(f"{one}, {other}: name two backtests, or two snapshots")
    with _bars() as told:
        if kinds[0] == BACKTEST:
            return compare_backtests((Path(runs[0]), Path(runs[1])), told)
        a, b = (_opened(config, run) for run in runs)
        names = tuple(side.manifest.name for side in (a, b)) if LATEST in runs else runs
        return compare_snapshots(a, b, config, told, names=(names[0], names[1]), users_max=users)


def _kind(run: str) -> str:
    """What a run is, by its name alone and what lies there. Raises RunUnreadable."""
    from streamer.compare.values import RunUnreadable
    from streamer.snapshots.manifest import is_snapshot_name

    folder = Path(run)
    if run == LATEST or is_snapshot_name(run) or _in_store(run):
        return SNAPSHOT
    if (folder / "manifests").is_dir():
        raise RunUnreadable(
            f"{run}: is a store of snapshots; name one of them as {run}{IN_STORE}NAME, or {run}{IN_STORE}{LATEST}"
        )
    if folder.exists():
        return BACKTEST
    raise RunUnreadable(
        f"{run}: is neither a folder nor a snapshot's name; expected the folder of a `streamer backtest --out`, a snapshot "
        f"(`streamer snapshots list`), `{LATEST}`, or FOLDER_OR_URL{IN_STORE}NAME"
    )


def _in_store(run: str) -> bool:
    """Whether a run is written as one of another store."""
    from streamer.snapshots.manifest import is_snapshot_name

    place, mark, name = run.rpartition(IN_STORE)
    return bool(place and mark) and (name == LATEST or is_snapshot_name(name))


def _opened(config: Config, run: str) -> Side:
    """A snapshot with its store. Raises SnapshotDamaged, RunUnreadable, OSError, ClickException."""
    from streamer.compare.tables import Side
    from streamer.compare.values import RunUnreadable
    from streamer.snapshots import latest_complete, read_manifest

    if not _in_store(run):
        store = open_snapshots(config)
        return Side(store, latest(config, store) if run == LATEST else read_manifest(store, run))
    place, _, name = run.rpartition(IN_STORE)
    store = _store_at(config, place)
    if name != LATEST:
        return Side(store, read_manifest(store, name))
    found = latest_complete(store)
    if found is None:
        raise RunUnreadable(
            f"{place}: holds no complete snapshot; expected a folder `manifests` in it: does the namespace lack?"
        )
    return Side(store, found)


def _store_at(config: Config, place: str) -> SnapshotStore:
    """The store of another namespace or place: named by what holds its manifests, namespace included."""
    root, _, namespace = place.rstrip("/").rpartition("/")
    if not namespace or root.endswith((":", "/")):
        raise click.BadParameter(f"{place}: expected a folder or URL that ends with a namespace")
    snapshots = msgspec.structs.replace(config.snapshots, root=root or ("/" if place.startswith("/") else "."))
    return open_snapshots(msgspec.structs.replace(config, snapshots=snapshots, namespace=namespace))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from streamer.compare.text import lines

    return lines(found)


def _write(out: Path, found: dict[str, Any]) -> None:
    from streamer.compare.page import page

    try:
        out.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(
            f"{out}: {error.strerror or error}; expected a file that can be written", param_hint="--out"
        ) from error
    click.echo(f"{out} shows it all", err=True)


@contextlib.contextmanager
def _bars() -> Iterator[Told]:
    """A line of progress on stderr, a new one for each kind of work, once there is something to show."""
    from tqdm import tqdm

    interval_s = WATCHED_S if sys.stderr.isatty() else UNWATCHED_S
    bars: dict[str, Any] = {}

    def told(what: str, done: int, total: int | None) -> None:
        if what not in bars:
            for bar in bars.values():
                bar.close()
            bars[what] = tqdm(
                desc=what, total=total, unit_scale=True, file=sys.stderr, mininterval=interval_s, delay=WATCHED_S, leave=False
            )
        bars[what].update(done - bars[what].n)

    try:
        yield told
    finally:
        for bar in bars.values():
            bar.close()
