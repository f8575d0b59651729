"""``streamer traffic``: synthetic traffic onto the log, or into a file."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from consumers.compose import open_writer
from producers.formats import Recorded
from producers.replay import Pace, parse_speed, replay_records
from producers.synthetic import Catalogue, Extent, Made, SyntheticStream, Traffic, send, write_events, write_items
from producers.synthetic.tally import CAUTION
from streamer.cli.common import config_option, event_time, json_option, prepare, say_json
from streamer.cli.replay_bar import bar
from streamer.cli.replay_target import apart
from streamer.cli.services import until_signalled
from streamer.cli.topics import full_name, require_topics
from streamer.config import Config
from streamer.config.tree import Windows
from streamer.events.model import EVENTS, ITEMS

STDOUT = Path("-")
DEFAULTS = Traffic()
LIVE_FUTURE = 0.001
"""Shares of the live stream that a stream of another time has otherwise: a clock can only be ahead of the present."""
LEAD_MS = 1_000
LEAD_MS_PER_USER = 0.004
"""What a live stream needs to get ready: it starts so much after the command."""


SETTINGS = tuple(name for name in Traffic.__dataclass_fields__ if name != "lateness_ms_max")
"""Those with an option; how late is late is what the worker's configuration says."""


def _setting(name: str, text: str) -> Callable[[Any], Any]:
    default = getattr(DEFAULTS, name)
    return click.option(f"--{name}", type=type(default), default=default, show_default=True, help=text)


@click.command()
@_setting("users", "People; bots come beside them.")
@_setting("items", "Items in the catalogue at any one time.")
@_setting("rate", "Records a second of the stream's time, on average.")
@click.option(
    "--speed", default=None, help="How many times faster than its own time it is sent, or max.  [default: 1; max with --out]"
)
@click.option("--events", type=click.IntRange(min=1), help="End after so many records.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds of the stream's time.")
@_setting("seed", "Same seed and settings, same bytes.")
@_setting("late", "Share of events with a record beside them that is later than a worker allows.")
@_setting("duplicate", "Share of events that come twice.")
@_setting("broken", "Share of events with a record beside them that no worker accepts, for one of seven reasons.")
@_setting("disorder", "Share of events that are delayed, so that they come behind younger ones.")
@click.option(
    "--future",
    type=float,
    help=f"Share of events whose clock is days ahead.  [default: {LIVE_FUTURE:g} in the present, else 0]",
)
@_setting("bots", "Share of events by bots.")
@_setting("drift", "Share of users whose taste changes within a day.")
@_setting("turnover", "Share of items replaced within a day.")
@_setting("repeats", "Share of what is looked at that is a staple of its user.")
@click.option(
    "--rhythm",
    type=float,
    help=f"How far the hours of a day swing around the rate, 0 to 1.  [default: 0 in the present, else {DEFAULTS.rhythm:g}]",
)
@click.option(
    "--start",
    "start_ms",
    callback=event_time,
    metavar="TIME",
    help="Time of the first event (epoch ms or RFC 3339).  [default: now where --speed is 1, else 2026-01-01T00:00Z]",
)
@click.option("--namespace", help="Onto topics with the prefix NAMESPACE and a dot, apart from the configured ones.")
@click.option("--configured", is_flag=True, help="Onto the topics that the configuration names, among whatever is there.")
@click.option("--create-topics", is_flag=True, help="Make the topics where they are missing.")
@click.option("--without-items", is_flag=True, help="Send no item documents.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write JSON Lines to this file (.gz: packed; -: stdout), not to the log."
)
@click.option("--items-out", type=click.Path(path_type=Path), help="Write the item documents to this file.")
@config_option
@json_option
@click.pass_context
def traffic(
    ctx: click.Context,
    /,
    config_path: Path | None,
    namespace: str | None,
    out: Path | None,
    items_out: Path | None,
    *,
    configured: bool,
    create_topics: bool,
    without_items: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make traffic up from a seed and send it onto the log at a steady rate, or write it to a file.

    It is for load tests and demonstrations. How good lists are on traffic that was made up says nothing about how good they are.

    Where the log is slow, the schedule is not: what is due goes as soon as it can, and the summary says how far behind it was. Ctrl-C
    or SIGTERM end it, with the summary. Where other options are equal, more --events begin with the same bytes.
    """
    _check_output(out, items_out, options, as_json=as_json)
    _check_target(out, namespace, configured=configured, log_only=create_topics or without_items)
    config = prepare(config_path, apart(namespace))
    speed = _speed(options["speed"] or ("max" if out else "1"))
    live = speed == 1 and out is None and options["start_ms"] is None
    made_from = _settings(options, config, live=live)
    extent = Extent(options["events"], options["seconds"])
    if out is None:
        require_topics(config, create=create_topics)
        documents = None if without_items else Catalogue(made_from).documents()
        made_from, made = _sent(made_from, extent, config, speed, documents, live=live)
    else:
        made = _written(made_from, extent, out)
    if items_out is not None:
        made.items = write_items(made_from, made.last_ms, items_out)
    command = _command(made_from, made, config, ctx.params)
    _tell(_summary(made, made_from, command, out or full_name(config, EVENTS)), made, err=out == STDOUT, as_json=as_json)
    ctx.exit(1 if made.refused else 0)


def _check_output(out: Path | None, items_out: Path | None, options: dict[str, Any], *, as_json: bool) -> None:
    if out is None:
        return
    if as_json and out == STDOUT:
        raise click.UsageError("--out - and --json both write to stdout: write to a file, or leave --json out")
    if out != STDOUT and options["events"] is None and options["seconds"] is None:
        raise click.UsageError("--out to a file needs --events or --seconds: the stream has no end of its own")
    if items_out is not None and out.resolve() == items_out.resolve():
        raise click.UsageError(f"--out and --items-out are both {out}: name two files")


def _check_target(out: Path | None, namespace: str | None, *, configured: bool, log_only: bool) -> None:
    if out is not None and (namespace is not None or configured or log_only):
        message = "--namespace, --configured, --create-topics and --without-items are of the log: with --out there is none"
        raise click.UsageError(message)
    if out is None and configured == (namespace is not None):
        message = (
            "where to? Give --namespace NAMESPACE, --configured (among whatever is on the configured topics), or --out FILE"
        )
        raise click.UsageError(message)


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from error


def _settings(options: dict[str, Any], config: Config, *, live: bool) -> Traffic:
    """What the stream is made from; a live one is told its start once it is about to start."""
    given = {name: options[name] for name in SETTINGS if options.get(name) is not None}
    if live:
        given = {"future": LIVE_FUTURE, "rhythm": 0.0} | given
    try:
        return Traffic(**given, lateness_ms_max=config.windows.lateness_ms_max)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _sent(
    made_from: Traffic, extent: Extent, config: Config, speed: float, documents: Iterator[Recorded] | None, *, live: bool
) -> tuple[Traffic, Made]:
    with until_signalled() as stop, contextlib.closing(open_writer(config)) as writer, bar() as progress:
        pace = Pace(speed=speed, sleep=stop.wait, stopped=stop.is_set)
        sent = replay_records(documents or (), writer, topic=ITEMS, pace=Pace(stopped=stop.is_set), progress=progress)
        if live:
            made_from = replace(made_from, start_ms=_now_ms() + LEAD_MS + round(LEAD_MS_PER_USER * made_from.users))
        stream = SyntheticStream(made_from)
        batches = extent.of(stream.batches(), made_from.start_ms)
        first = next(batches)  # takes as long as a visit is old at the start
        if live:
            stop.wait(max(0, made_from.start_ms - _now_ms()) / 1_000)
        made = send(chain([first], batches), writer, pace, progress)
    made.items += sent.sent
    made.refused += sent.refused
    made.problems += sent.problems
    return made_from, made


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _written(made_from: Traffic, extent: Extent, out: Path) -> Made:
    with until_signalled() as stop:
        return write_events(extent.of(SyntheticStream(made_from).batches(), made_from.start_ms), out, stop.is_set)


def _command(made_from: Traffic, made: Made, config: Config, params: dict[str, Any]) -> str:
    """What makes the same records again, to the same place."""
    words = ["streamer", "traffic"]
    for name in SETTINGS:
        words += [f"--{name.removesuffix('_ms')}", str(getattr(made_from, name))]
    words += ["--events", str(max(made.tally.records, 1))]
    for name in ("speed", "namespace", "out", "items_out", "config_path"):
        if params[name] is not None:
            words += [f"--{name.replace('_', '-').removesuffix('-path')}", str(params[name])]
    words += [f"--{name.replace('_', '-')}" for name in ("configured", "create_topics", "without_items") if params[name]]
    if made_from.lateness_ms_max != Windows().lateness_ms_max and params["config_path"] is None:
        words.insert(0, f"STREAMER_WINDOWS__LATENESS_MS_MAX={config.windows.lateness_ms_max}")
    return shlex.join(words)


def _summary(made: Made, made_from: Traffic, command: str, target: object) -> dict[str, Any]:
    return {
        "caution": CAUTION,
        **made.tally.counts(),
        "items": made.items,
        "refused": made.refused,
        "seconds": made.seconds,
        "records_per_s": made.tally.records / max(made.seconds, 1e-9),
        "behind_s": made.behind_s,
        "behind_s_max": made.behind_s_max,
        "first_ms": made_from.start_ms,
        "last_ms": made.last_ms,
        "target": str(target),
        "settings": asdict(made_from),
        "command": command,
    }


def _tell(summary: dict[str, Any], made: Made, *, err: bool, as_json: bool) -> None:
    for problem in made.problems:
        click.echo(problem, err=True)
    applied, rejected = summary["applied"], summary["rejected"]
    rate, seed = summary["records_per_s"], summary["settings"]["seed"]
    flags = (("by bots", "bots"), ("delayed", "disordered"), ("from a clock that is ahead", "future"))
    lines = [
        f"made {summary['records']:,} records for {summary['target']} in {made.seconds:.1f} s ({rate:,.0f}/s), seed {seed}",
        f"  events    {_counted(applied)}",
        f"  of which  {', '.join(f'{summary[name]:,} {words}' for words, name in flags)}",
        f"  beside    {summary['late']:,} late, {summary['duplicate']:,} duplicate, {sum(rejected.values()):,} broken",
        f"  broken    {_counted(rejected)}",
        f"  items     {made.items:,} documents",
    ]
    if made.timed:
        lines.append(f"  behind    {made.behind_s:.2f} s at the end, {made.behind_s_max:.2f} s at most")
    if made.refused:
        lines.append(f"  refused   {made.refused:,} records by the log")
    lines += [f"the same again: {summary['command']}", CAUTION]
    click.echo("\n".join(lines), err=err)
    if as_json:
        say_json(summary)


def _counted(counts: dict[str, int]) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,}: {told}"
