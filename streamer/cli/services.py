"""``streamer worker`` and ``streamer encoder``: the services, which run until they are told to stop."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from streamer.cli.common import config_option, prepare

# The engine and the encoder take seconds to import, which their help need not wait for.
# ruff: noqa: PLC0415

logger = logging.getLogger(__name__)


@click.command()
@click.option("--bounded", is_flag=True, help="Read to the ends that the log has now, take a snapshot, and exit.")
@click.option("--accept-snapshot", metavar="NAME", help="Where the start is refused: start from this snapshot.")
@click.option("--accept-log", is_flag=True, help="Where the start is refused: keep the state, take the log as it is.")
@click.option("--from-beginning", is_flag=True, help="Where the start is refused: begin with an empty state.")
@click.option("--undo-reset", is_flag=True, help="Where the start is refused: start from before a reset all the same.")
@config_option
def worker(
    config_path: Path | None,
    accept_snapshot: str | None,
    *,
    bounded: bool,
    accept_log: bool,
    from_beginning: bool,
    undo_reset: bool,
) -> None:
    """Fold events, learn, publish lists, until SIGTERM: then take a snapshot and exit.

    Start two, and one stands by. Where the committed offsets, the snapshots and the log cannot be explained together, it
    refuses to start and names the option that overrides that.
    """
    config = prepare(config_path)
    stop = stop_on_signals()
    from consumers.runtime import run_worker
    from streamer.snapshots import Override

    override = Override(accept_snapshot, accept_log, from_beginning, undo_reset)
    reached = run_worker(config, stop, bounded=bounded, override=override)
    if bounded and not reached:
        message = "stopped before the ends that the log had at the start: run it again to go on from the last snapshot"
        raise click.ClickException(message)


@click.command()
@click.option(
    "--reencode",
    is_flag=True,
    help="Read all documents again from the beginning of items; what the cache has is not encoded anew. A change of models does so by itself.",
)
@config_option
def encoder(config_path: Path | None, *, reencode: bool) -> None:
    """Write the vectors of item documents to the log, until SIGTERM. Any number of processes share the work."""
    config = prepare(config_path)
    stop = stop_on_signals()
    from consumers.encoder_service import run_encoder

    run_encoder(config, stop, reencode=reencode)


def stop_on_signals() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process at once."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        _ = frame
        logger.info("%s: stopping", signal.Signals(number).name)
        stop.set()
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_DFL)

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, end)
    return stop


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends what is under way as Ctrl-C does: what was begun is cleaned up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def until_signalled() -> Iterator[threading.Event]:
    """The same while it lasts; afterwards signals do again what they did before."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop_on_signals()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
