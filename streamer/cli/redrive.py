"""``streamer redrive``: dead letters back onto the topics from which they came, each once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import click

from consumers.dead_topic import Selection
from consumers.operating import redriven
from consumers.redrive import OPERATOR, OTHER_TOPIC, REFUSED, TOPICS, Mend, RedriveReport
from consumers.words import printable
from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.cli.dead_letters import selection_options
from streamer.cli.mending import mendable, mender
from streamer.cli.services import sigterm_interrupts
from streamer.events.model import EVENTS

_ASKED_BY = {OTHER_TOPIC: " (--topic)", OPERATOR: " (--left-out)"}


def _mender(ctx: click.Context, param: click.Parameter, value: str | None) -> Mend | None:
    if value is None:
        return None
    known = mendable()
    if value not in known:
        message = f"{value!r} is no format of events as JSON: expected one of {', '.join(known)}"
        raise click.BadParameter(message, ctx, param)
    return mender(known[value])


@click.command()
@selection_options
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Send at most N letters, the oldest.")
@click.option(
    "--topic",
    "topics",
    multiple=True,
    default=(EVENTS,),
    show_default=True,
    type=click.Choice(TOPICS),
    help="Letters of this topic; may be given several times. A document sent again replaces what came for its item since.",
)
@click.option("--fix", "mend", callback=_mender, metavar="FORMAT", help="Send what this format of recordings makes of a value.")
@click.option("--left-out", is_flag=True, help="Send also what an operator left out (reset --leave-out).")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@config_option
@json_option
@click.pass_context
def redrive(
    ctx: click.Context,
    reasons: tuple[str, ...],
    start_ms: int | None,
    end_ms: int | None,
    limit: int | None,
    topics: tuple[str, ...],
    mend: Mend | None,
    config_path: Path | None,
    *,
    left_out: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send rejected records again, each once however often this runs; exit status 1 where the log refused one.

    Each goes onto the topic from which it came, under its own key. One that is rejected again comes back with one attempt more.
    """
    if mend is not None and topics != (EVENTS,):
        message = "--fix makes events: it goes with --topic events alone"
        raise click.UsageError(message)
    config, selection = prepare(config_path), Selection(frozenset(reasons), start_ms, end_ms)
    with sigterm_interrupts():
        report, newest_ms = redriven(config, selection, limit, topics=topics, mend=mend, left_out=left_out, dry_run=dry_run)
    late_ms = config.windows.lateness_ms_max
    for line in _lines(report, newest_ms, late_ms, dry_run=dry_run):
        click.echo(line)
    for problem in report.problems:
        click.echo(printable(problem), err=True)
    if as_json:
        say_json({"dry_run": dry_run, "newest_event_ms": newest_ms, **dataclasses.asdict(report)})
    ctx.exit(1 if REFUSED in report.left else 0)


def _lines(report: RedriveReport, newest_ms: int, late_ms: int, *, dry_run: bool) -> Iterable[str]:
    would = "would be sent" if dry_run else "sent"
    records = ", ".join(f"{count:,} onto {topic}" for topic, count in report.records.items()) or "none"
    yield f"{would}: {report.sent:,} of {report.letters:,} letters, as records: {records}"
    for reason, count in sorted(report.reasons.items(), key=lambda pair: -pair[1]):
        yield f"  {printable(reason)}: {count:,}"
    if report.rejected_again:
        yield f"{report.rejected_again:,} of these records are what this version rejects: they come back as dead letters"
    if report.late:
        newest, hours = shown(newest_ms), late_ms / 3_600_000
        yield f"{report.late:,} of these events change nothing, being more than {hours:g} h older than the newest one ({newest})"
    for cause, count in report.left.items():
        yield f"not sent: {count:,} {cause}{_ASKED_BY.get(cause, '')}"
    if dry_run:
        yield "nothing was done: this was a dry run"
