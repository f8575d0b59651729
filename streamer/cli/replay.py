"""``streamer replay``: recorded events onto the log."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from tqdm import tqdm

from consumers.compose import open_admin, open_writer
from producers import replay as recordings
from producers.formats import AUTO, FORMAT_HELP, open_items
from producers.replay import Pace, Progress, ReplayReport, parse_speed
from streamer.cli.common import config_option, event_time, json_option, prepare, say_json
from streamer.cli.topics import full_name, missing_topics
from streamer.config import Config
from streamer.events.model import ITEMS
from streamer.ports import LogWriter, TopicsMissingError

REDRAW_S = 0.2
REDRAW_UNWATCHED_S = 10.0
"""Between two lines of progress where stderr is no terminal."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option("--speed", default="max", show_default=True, help="max, or how many times faster than recorded: 1, 100.")
@click.option(
    "--from", "start_ms", callback=event_time, metavar="TIME", help="Leave out events before this time (epoch ms or RFC 3339)."
)
@click.option("--to", "end_ms", callback=event_time, metavar="TIME", help="Leave out events at or after this time.")
@click.option("--namespace", help="Onto topics with the prefix NAMESPACE and a dot, apart from the configured ones.")
@click.option("--items", "items_path", type=click.Path(path_type=Path), help="Item documents, sent before the events.")
@click.option("--create-topics", is_flag=True, help="Make the topics where they are missing.")
@config_option
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    files: Sequence[Path],
    format_name: str,
    speed: str,
    start_ms: int | None,
    end_ms: int | None,
    namespace: str | None,
    items_path: Path | None,
    config_path: Path | None,
    *,
    create_topics: bool,
    as_json: bool,
) -> None:
    """Send the events of FILE... onto the log, in the order of their times; exit status 1 where the log refused one.

    Lines that are no events are sent as they are, so that they end in events.dead as they would from a live system.
    """
    pace = Pace(speed=_speed(speed))
    config = prepare(config_path, apart(namespace))
    require_topics(config, create=create_topics)
    with contextlib.closing(open_writer(config)) as writer, progress_bar() as progress:
        items = _send_items(items_path, writer, progress)
        report = recordings.replay(
            files, writer, format_name=format_name, start_ms=start_ms, end_ms=end_ms, pace=pace, progress=progress
        )
    _tell(config, items, report, as_json=as_json)
    ctx.exit(1 if report.refused + items.refused else 0)


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from error


def apart(namespace: str | None) -> dict[str, object]:
    """The settings of a namespace whose topics are its own."""
    return {} if namespace is None else {"namespace": namespace, "kafka.topic_prefix": f"{namespace}."}


def require_topics(config: Config, *, create: bool) -> None:
    """Raises TopicsMissingError with what to run, before a long file is read."""
    with contextlib.closing(open_admin(config)) as admin:
        if create:
            admin.create_topics()
            return
        missing = missing_topics(admin.topics())
    if missing:
        names = ", ".join(full_name(config, topic) for topic in missing)
        raise TopicsMissingError(
            f"the log has no topics {names}: add --create-topics, "
            f"or run STREAMER_KAFKA__TOPIC_PREFIX='{config.kafka.topic_prefix}' streamer topics create"
        )


def _send_items(path: Path | None, writer: LogWriter, progress: ProgressBar) -> ReplayReport:
    if path is None:
        return ReplayReport()
    reading = open_items(path)
    report = recordings.replay_records(reading, writer, topic=ITEMS, progress=progress)
    report.left_out = reading.left_out.by_kind
    return report


class ProgressBar:
    """Tells of progress on stderr: a line that moves on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Moves on."""
        if self._bar is None or progress.stage != self._stage:
            self.close()
            watched = sys.stderr.isatty()
            self._bar = tqdm(
                total=progress.total,
                desc={"check": "reading", "send": "sending"}[progress.stage],
                unit=" records",
                unit_scale=True,
                mininterval=REDRAW_S if watched else REDRAW_UNWATCHED_S,
                leave=watched,
            )
            self._stage = progress.stage
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Ends the line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextlib.contextmanager
def progress_bar() -> Iterator[ProgressBar]:
    """One, closed in the end."""
    with contextlib.closing(ProgressBar()) as bar:
        yield bar


def _tell(config: Config, items: ReplayReport, report: ReplayReport, *, as_json: bool) -> None:
    for problem in (*items.problems, *report.problems):
        click.echo(problem, err=True)
    rate = report.sent / max(report.seconds, 1e-9)
    topic = full_name(config, "events")
    click.echo(f"sent {report.sent} events to {topic} in {report.seconds:.1f} s ({rate:,.0f}/s), {items.sent} item documents")
    counted = {
        "refused": report.refused + items.refused,
        "malformed": report.malformed,
        "outside": report.outside,
        "left out": sum(report.left_out.values()),
    }
    click.echo(", ".join(f"{name} {count}" for name, count in counted.items()))
    if as_json:
        say_json({**dataclasses.asdict(report), "events_per_s": rate, "items": dataclasses.asdict(items), "topic": topic})
