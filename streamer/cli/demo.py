"""``streamer demo``: the main job on a real recorded stream, with nothing but this package: log, owner, encoder and store in one process."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamer.cli import logs
from streamer.cli.common import config_option, json_option, say_json
from streamer.config import Config, from_environment

# The engine takes a second to import, which the help need not wait for.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from consumers.measurements import Measurements
    from consumers.owner import Owner
    from consumers.runtime import Worker
    from streamer.cli.demo_summary import Played

logger = logging.getLogger(__name__)

AHEAD_MAX = 1_000
"""Records that the producer keeps ahead of the owner, so that freshness and lists as served mean something."""
TEACHING_SHARE = 0.1
"""Of the stream, which only teaches: quality is reported from there on."""
SETTLE_S_MAX = 30.0


@click.command()
@click.option("--resume", is_flag=True, help="Go on from the state that an earlier demo left, instead of starting anew.")
@click.option("--serve", is_flag=True, help="Stay up after the stream has ended, until Ctrl-C.")
@click.option("--events", "events_max", type=click.IntRange(min=1), metavar="N", help="Play the first N events only.")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path(".streamer/demo"), show_default=True, help="Folder for all data."
)
@json_option
@config_option
def demo(config_path: Path | None, root: Path, events_max: int | None, *, resume: bool, serve: bool, as_json: bool) -> None:
    """Learn from 100,000 recorded ratings of films (MovieLens 100K), live, and show how good the lists are."""
    from streamer.cli.demo_summary import in_words, summary

    config = demo_config(config_path, root)
    with alone(root):
        fresh = not resume or not (root / "log").exists()
        if fresh:
            for part in ("log", "valkey", "snapshots"):
                shutil.rmtree(root / part, ignore_errors=True)
        log_to_file(config, root / "worker.log")
        click.echo(
            f"{'starting anew' if fresh else 'resuming'} in {root} (MovieLens 100K; worker's log in {root / 'worker.log'})",
            err=True,
        )
        with running(config) as worker:
            played = play(config, worker, events_max)
            result = summary(config, worker, played, root)
            click.echo(in_words(result), err=as_json)
            if as_json:
                say_json(result)
            if serve:
                wait_for_interrupt(worker, result["user"]["user_id"])


def demo_config(config_path: Path | None, root: Path) -> Config:
    """The configuration as given, with everything embedded and kept under ``root``; one partition, so that time orders all."""
    return from_environment(
        config_path,
        {
            "namespace": "demo",
            "log.kind": "embedded",
            "log.root": str(root / "log"),
            "kafka.partitions": 1,
            "redis.url": None,
            "redis.root": str(root / "valkey"),
            "snapshots.root": str(root / "snapshots"),
            "encoder.cache_root": str(root / "vectors"),
            "http.port": 0,
            "head.judged_every": 1,  # what is shown at the end is of every event
        },
    )


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keeps a second demo out of the folder while one runs."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise click.ClickException(f"another demo runs in {root}: end it, or give --root another folder") from None
        yield


def log_to_file(config: Config, path: Path) -> None:
    """Sends logs to a file: stderr has the progress bar."""
    logs.set_up(config.logging)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logs.TextLines())
    logging.basicConfig(handlers=[handler], level=config.logging.level, force=True)


@contextlib.contextmanager
def running(config: Config) -> Iterator[Worker]:
    """A worker at work in a thread; at the end it takes a snapshot and leaves."""
    from consumers.compose import open_admin
    from consumers.runtime import worker
    from streamer.snapshots import Override

    with contextlib.closing(open_admin(config)) as admin:
        admin.create_topics()
    stop = threading.Event()
    with worker(config, bounded=False, override=Override()) as opened:
        failure: list[BaseException] = []
        thread = threading.Thread(target=_run, args=(opened.owner, stop, failure), name="owner")
        thread.start()
        try:
            yield opened
        finally:
            stop.set()
            thread.join()
    if failure:
        raise failure[0]


def _run(owner: Owner, stop: threading.Event, failure: list[BaseException]) -> None:
    try:
        owner.run(stop)
    except BaseException as error:
        logger.exception("the owner failed")
        failure.append(error)


def play(config: Config, worker: Worker, events_max: int | None) -> Played:
    """Sends items, then events in time order, at most AHEAD_MAX ahead of the owner; waits until all lists are in the store."""
    from consumers.compose import open_admin, open_writer
    from producers.formats import in_time_order, read_events, read_items
    from producers.recordings import movielens_100k
    from producers.replay import Pace, replay_records
    from streamer.cli.demo_summary import Played
    from streamer.events.model import EVENTS, ITEMS

    recording = movielens_100k()
    played = Played(in_time_order(read_events(recording.events))[:events_max])
    with contextlib.closing(open_admin(config)) as admin:
        ends = {place.topic: end for place, (_, end) in admin.bounds().items()}
    with contextlib.closing(open_writer(config)) as writer, progress(len(played.records)) as bar:
        if not ends[ITEMS]:
            replay_records(read_items(recording.items), writer, topic=ITEMS)
        already = min(ends[EVENTS], len(played.records))
        gate = Gate(worker.owner, worker.measurements, played, already, bar)
        gate.wait_until_owner()
        started_s = time.monotonic()
        played.sent = replay_records(played.records[already:], writer, topic=EVENTS, pace=Pace(gate=gate)).sent
        gate.wait_until_applied(already + played.sent)
        played.seconds = time.monotonic() - started_s
        wait_until_published(worker.measurements)
    return played


class Gate:
    """Holds the producer back, and moves the progress bar with the owner."""

    def __init__(self, owner: Owner, measurements: Measurements, played: Played, already: int, bar: Bar) -> None:
        self._owner = owner
        self._measurements = measurements
        self._played = played
        self._already = already
        self._bar = bar
        self._applied = 0

    def __call__(self, handed: int) -> None:
        """Waits while ``handed`` records are further ahead than allowed."""
        if self._already + handed - self._applied >= AHEAD_MAX:
            self._wait(lambda: self._already + handed - self._applied < AHEAD_MAX)

    def wait_until_owner(self) -> None:
        """Waits until the worker has restored its state and owns the log."""
        self._wait(lambda: self._owner.status().role == "owner")

    def wait_until_applied(self, events: int) -> None:
        """Waits until so many events are applied."""
        self._wait(lambda: self._applied >= events)

    def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            status = self._owner.status()
            self._applied = sum(status.offsets.get("events", {}).values())
            self._bar.move_to(self._applied)
            if not self._played.taught and self._applied >= TEACHING_SHARE * len(self._played.records):
                self._played.taught = self._measurements.quality
            if self._owner.ended:
                raise click.ClickException("the worker ended; its log says why")
            time.sleep(0.002)


def wait_until_published(measurements: Measurements) -> None:
    """Waits until every touched user's list is in the store."""
    deadline_s = time.monotonic() + SETTLE_S_MAX
    time.sleep(2.0)  # the figures are taken once a second
    while measurements.lists_unpublished and time.monotonic() < deadline_s:
        time.sleep(0.1)


def wait_for_interrupt(worker: Worker, user: str) -> None:
    """Keeps everything up."""
    url = worker.page.url
    click.echo(f"\nthe console: {url} (why this list: {url}/#user={user}); lists in {worker.url}. Ctrl-C ends it.", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        while not worker.owner.ended:
            time.sleep(0.5)


class Bar:
    """Events applied and events/s, on stderr."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit=" events", file=sys.stderr, smoothing=0.1, mininterval=0.5)

    def move_to(self, applied: int) -> None:
        """Shows that so many are applied."""
        self._bar.update(applied - self._bar.n)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


@contextlib.contextmanager
def progress(total: int) -> Iterator[Bar]:
    """A progress bar."""
    bar = Bar(total)
    try:
        yield bar
    finally:
        bar.close()
