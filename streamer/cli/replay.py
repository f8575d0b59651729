"""``streamer replay``: recorded events onto the log."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from consumers.compose import open_admin, open_reader, open_writer, user_pseudonyms
from producers import registration
from producers.checks import Checked, Interval, check, check_items, shown
from producers.formats import AUTO, FORMAT_HELP, Reading, Recorded
from producers.landed import Landed, Placed, find_landed, placed_by
from producers.progress import Meter
from producers.registration import Playing, Run, Runs, wait_until_still
from producers.replay import Pace, ReplayReport, parse_speed, replay_records
from producers.replay import replay as send
from streamer.cli.common import config_option, event_time, json_option, prepare, say_json
from streamer.cli.replay_bar import Bar, bar
from streamer.cli.replay_target import Target, own_namespace, require_same_partitions
from streamer.cli.topics import full_name, require_topics
from streamer.config import Config
from streamer.embedded.batches import partition_of
from streamer.events.codec import InvalidEventError
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import LogAdmin, LogWriter, OffsetGapError, Positions


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option("--speed", default="max", show_default=True, help="max, or how many times faster than recorded: 1, 100.")
@click.option(
    "--from", "start_ms", callback=event_time, metavar="TIME", help="Leave out events before this time (epoch ms or RFC 3339)."
)
@click.option("--to", "end_ms", callback=event_time, metavar="TIME", help="Leave out events at or after this time.")
@click.option("--namespace", help="Onto topics with the prefix NAMESPACE and a dot.")
@click.option("--configured", is_flag=True, help="Onto the topics that the configuration names.")
@click.option(
    "--live",
    metavar="NAMESPACE",
    help="Even among records that no replay put there: the target's namespace, a second time.",
)
@click.option("--items", "items_path", type=click.Path(path_type=Path), help="Item documents, sent before the events.")
@click.option(
    "--create-topics", is_flag=True, help="Make the topics where they are missing; a namespace of its own always does."
)
@click.option(
    "--again", is_flag=True, help="Even if the recording was played onto this topic before, so that each event is there twice."
)
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
    live: str | None,
    items_path: Path | None,
    config_path: Path | None,
    *,
    configured: bool,
    create_topics: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Send the events of FILE... onto the log, in the order of their times; exit status 1 where the log refused one.

    They go into a namespace of their own, named after the file and what it holds, unless --namespace or --configured say where to.
    A namespace that is live is refused unless it is named twice: --namespace NS --live NS, or --configured --live NS where NS is
    the configured namespace.

    A recording is played onto a topic once: a second time is refused, and after an interruption the same command goes on
    where it ended. Nothing is sent before every file was read to its end. Lines that are no events are sent as they are, so
    that they end in events.dead as they would from a live system.
    """
    pace = Pace(speed=_speed(speed))
    target = Target(namespace, configured, live, config_path)
    config = prepare(config_path, target.overrides())
    target.require_possible(config)
    if not target.own:
        require_topics(config, create=create_topics)
    with bar() as progress:
        items = None if items_path is None else check_items(items_path, progress)
        recording = check(files, format_name=format_name, interval=Interval(start_ms, end_ms), progress=progress)
        if target.own:
            config = prepare(config_path, target.overrides(own_namespace(files, recording)))
            require_topics(config, create=True)
        with contextlib.closing(open_admin(config)) as admin:
            recording = dataclasses.replace(recording, alias=_alias(config))
            played = _Replay(config, admin, recording, progress).play(target, pace, items, again=again)
    _tell(config, target, played, as_json=as_json)
    ctx.exit(1 if played.report.refused + played.items.refused else 0)


def _alias(config: Config) -> Callable[[Recorded], Recorded] | None:
    """A record as it is on the log, where users are pseudonyms: by it the partition is chosen, and it is what is looked for there.

    What can't be put under one is left as it is: the writer refuses it.
    """
    pseudonyms = user_pseudonyms(config)
    if pseudonyms is None:
        return None

    def alias(record: Recorded) -> Recorded:
        with contextlib.suppress(InvalidEventError):
            key, value = pseudonyms.of_record(EVENTS, record.key, record.value)
            return record._replace(key=key, value=value or b"")
        return record

    return alias


def _speed(text: str) -> float:
    try:
        return parse_speed(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--speed") from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Played:
    """What was done."""

    items: ReplayReport
    report: ReplayReport
    resumed: bool


class _Replay:
    """One recording, and the topic that it goes to."""

    def __init__(self, config: Config, admin: LogAdmin, recording: Checked, progress: Bar) -> None:
        self._config = config
        self._recording = recording
        self._progress = progress
        self._runs = Runs(admin, config.group, now_ms=_now_ms)
        partitions = admin.topics()[EVENTS].partitions
        self._place: Placed = placed_by(partition_of, partitions)
        self._partitions = partitions

    def play(self, target: Target, pace: Pace, items: Reading | None, *, again: bool) -> _Played:
        """1. What was played before. 2. Register. 3. What is there. 4. Items. 5. The other events. 6. Register the end."""
        known = self._runs.all()
        latest = next((run for run in reversed(known) if run.identity == self._recording.identity), None)
        if latest is not None and latest.ends is not None and not again:
            if items is None:
                target.require_not_played(self._config, latest)
            return _Played(self._items_alone(items), ReplayReport(landed=latest.note.events), resumed=False)
        target.require_not_live(self._config, self._runs.strangers(known))
        interrupted = latest if latest is not None and latest.ends is None else None
        if interrupted is None:
            run, ends = self._runs.begin(self._recording, 1 if latest is None else latest.number + 1), None
        else:
            ends = self._at_rest(interrupted)
            run = self._runs.take_over(interrupted)
        with self._playing(run) as playing:
            landed = None if ends is None else self._landed(run, ends)
            played = self._send(playing, pace, items, landed)
        if played.items.refused:
            self._runs.stop(run)  # run again, it sends the documents again and finds the events there
        else:
            self._runs.end(run, played.report.sent + played.report.landed, played.report.refused)
        return played

    def _at_rest(self, run: Run) -> Positions:
        """Where the log ends once nothing of an interrupted run is under way."""
        require_same_partitions(self._config, run, self._partitions)
        click.echo(
            f"a replay of {run.files} was interrupted (last sign of life {shown(run.note.at_ms)}): looking for what of it is on the log",
            err=True,
        )
        return wait_until_still(self._runs, run)

    def _landed(self, run: Run, ends: Positions) -> Landed:
        """What an interrupted run has put onto the log."""
        spans = {where: (start, ends[where]) for where, start in run.starts.items()}
        meter = Meter("compare", self._recording.records, self._progress)
        inside = ((when, record) for when, record in self._recording if self._recording.interval.holds(when))
        with contextlib.closing(open_reader(self._config)) as reader:
            try:
                return find_landed(inside, self._place, reader, spans, meter)
            except OffsetGapError as gap:
                message = (
                    f"the log has removed records since the replay of {run.files} was interrupted ({gap}), so nobody can tell which of "
                    "it are there: play it into another --namespace"
                )
                raise click.ClickException(message) from gap

    @contextlib.contextmanager
    def _playing(self, run: Run) -> Iterator[Playing]:
        with contextlib.closing(open_admin(self._config)) as admin:
            beats = Runs(admin, self._config.group, now_ms=_now_ms)
            with registration.playing(beats, self._runs, run) as playing:
                try:
                    yield playing
                except KeyboardInterrupt as interrupted:
                    message = "interrupted: run the same command again to go on from here"
                    raise click.ClickException(message) from interrupted

    def _send(self, playing: Playing, pace: Pace, items: Reading | None, landed: Landed | None) -> _Played:
        def gate(handed: int) -> None:
            pace.gate(handed)
            playing.require()

        playing.settled = False
        writer = open_writer(self._config)
        try:
            sent_items = self._send_items(items, writer)
            report = send(
                self._recording,
                writer,
                place=self._place,
                landed=landed,
                pace=dataclasses.replace(pace, gate=gate),
                progress=self._progress,
            )
        finally:
            writer.close()
            playing.settled = True
        return _Played(sent_items, report, landed is not None)

    def _items_alone(self, items: Reading | None) -> ReplayReport:
        click.echo("the events were played onto this topic before: the item documents alone are sent", err=True)
        with contextlib.closing(open_writer(self._config)) as writer:
            return self._send_items(items, writer)

    def _send_items(self, reading: Reading | None, writer: LogWriter) -> ReplayReport:
        if reading is None:
            return ReplayReport()
        report = replay_records(reading, writer, topic=ITEMS, progress=self._progress)
        report.left_out = reading.left_out.by_kind
        return report


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _tell(config: Config, target: Target, played: _Played, *, as_json: bool) -> None:
    items, report = played.items, played.report
    for problem in (*items.problems, *report.problems):
        click.echo(problem, err=True)
    rate = report.sent / max(report.seconds, 1e-9)
    topic = full_name(config, EVENTS)
    click.echo(f"sent {report.sent} events to {topic} in {report.seconds:.1f} s ({rate:,.0f}/s), {items.sent} item documents")
    counted = {
        "refused": report.refused + items.refused,
        "malformed": report.malformed,
        "outside": report.outside,
        "left out": sum(report.left_out.values()),
        **({"there before the interruption": report.landed} if played.resumed else {}),
    }
    click.echo(", ".join(f"{name} {count}" for name, count in counted.items()))
    pace = _stream_time(report)
    if pace:
        click.echo(
            f"stream time {shown(pace['from_ms'])} to {shown(pace['to_ms'])}, {pace['times_real_time']:,.4g} times as fast as it happened"
        )
    click.echo(f"read it with: {target.worker_command(config)}")
    if as_json:
        say_json(
            {
                **dataclasses.asdict(report),
                "events_per_s": rate,
                "items": dataclasses.asdict(items),
                "topic": topic,
                "namespace": config.namespace,
                "topic_prefix": config.kafka.topic_prefix,
                "resumed": played.resumed,
                "times_real_time": pace.get("times_real_time"),
            }
        )


def _stream_time(report: ReplayReport) -> dict[str, Any]:
    """The stream time that was sent, and how fast; nothing where no record has a time."""
    if report.first_ms is None or report.last_ms is None:
        return {}
    factor = (report.last_ms - report.first_ms) / 1000 / max(report.seconds, 1e-9)
    return {"from_ms": report.first_ms, "to_ms": report.last_ms, "times_real_time": factor}
