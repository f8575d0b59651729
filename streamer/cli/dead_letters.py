"""``streamer dead-letters``: what was rejected, why, and whether it was sent again."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from consumers.compose import open_admin, open_reader
from consumers.dead_topic import DeadTopic, Overview, Selection, overview, ranges
from consumers.words import printable
from streamer.cli.common import config_option, event_time, json_option, prepare, say_json, shown
from streamer.config import Config
from streamer.events.dead_letters import Letter
from streamer.events.model import RejectReason

SHOWN = 10
BEGINNING_CHARS = 160

Command = TypeVar("Command", bound=Callable[..., None])


def selection_options(command: Command) -> Command:
    """--reason, --from and --to."""
    for option in (
        click.option("--to", "end_ms", callback=event_time, metavar="TIME", help="Only those rejected before this time."),
        click.option(
            "--from",
            "start_ms",
            callback=event_time,
            metavar="TIME",
            help="Only those rejected at or after this time (epoch ms or RFC 3339).",
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            type=click.Choice([reason.value for reason in RejectReason]),
            metavar="REASON",
            help=f"Only those of this reason: {', '.join(RejectReason)}; may be given several times.",
        ),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def opened(config: Config) -> Iterator[DeadTopic]:
    """The topic, read as far as it reaches now."""
    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        yield DeadTopic(reader, admin)


@click.command("dead-letters")
@selection_options
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(0), help="So many are shown, the newest.")
@click.option("--oldest", is_flag=True, help="Show the oldest instead.")
@click.option("--values", "whole", is_flag=True, help="Show values whole, not their beginning.")
@click.option("--lines", is_flag=True, help="Every letter as a line of JSON on stdout, whole, and nothing else.")
@click.option(
    "--places", is_flag=True, help="Only where the rejected records lie, one range a line, as reset --leave-out takes them."
)
@config_option
@json_option
def dead_letters(
    reasons: tuple[str, ...],
    start_ms: int | None,
    end_ms: int | None,
    limit: int,
    config_path: Path | None,
    *,
    oldest: bool,
    whole: bool,
    lines: bool,
    places: bool,
    as_json: bool,
) -> None:
    """Show what workers rejected, by reason, and what of it was sent again; `streamer redrive` sends it."""
    if lines + places + as_json > 1:
        message = "--lines, --places and --json each say what stands on stdout: give one of them"
        raise click.UsageError(message)
    selection = Selection(frozenset(reasons), start_ms, end_ms)
    with opened(prepare(config_path)) as dead:
        found = ((letter, again) for letter, again in dead.letters() if selection.takes(letter))
        if lines:
            for letter, again in found:
                say_json(_fields(letter, again=again, whole=True))
        elif places:
            present = (letter.origin for letter, _ in found if dead.topic_ids.get(letter.topic) == letter.topic_id)
            for one in ranges(place for place in present if place.offset >= 0):
                click.echo(one)
        else:
            _tell(overview(found, limit, oldest=oldest), oldest=oldest, whole=whole, as_json=as_json)


def _tell(found: Overview, *, oldest: bool, whole: bool, as_json: bool) -> None:
    for line in _lines(found, oldest=oldest, whole=whole):
        click.echo(line)
    if as_json:
        letters = [_fields(letter, again=again, whole=whole) for letter, again in found.shown]
        redriven = sum(one.redriven for one in found.reasons.values())
        say_json({"letters": found.total, "redriven": redriven, "reasons": found.reasons, "shown": letters})


def _lines(found: Overview, *, oldest: bool, whole: bool) -> Iterable[str]:
    if not found.total:
        yield "no dead letters"
        return
    yield f"{'reason':<14} {'letters':>9} {'redriven':>9} {'cut':>5}  first and last"
    for reason, one in sorted(found.reasons.items(), key=lambda pair: -pair[1].letters):
        times = f"{shown(one.first_ms)} {shown(one.last_ms)}"
        yield f"{printable(reason) or '(none)':<14} {one.letters:>9,} {one.redriven:>9,} {one.cut:>5,}  {times}"
    if found.shown:
        yield f"the {'oldest' if oldest else 'newest'} {len(found.shown)} of {found.total:,}:"
    for letter, again in found.shown:
        yield from _letter_lines(letter, again=again, whole=whole)


def _letter_lines(letter: Letter, *, again: bool, whole: bool) -> Iterable[str]:
    notes = [shown(letter.append_ms), f"attempts {letter.attempts}", f"letter {letter.at}"]
    notes += ["redriven"] * again + ["cut"] * letter.cut
    yield f"{_origin(letter)}  {printable(letter.reason)}  {', '.join(notes)}"
    yield f"    {printable(letter.error)}"
    yield f"    {printable(_text(letter.value, whole=whole))}"


def _origin(letter: Letter) -> str:
    topic = letter.topic or f"topic of id {letter.topic_id or 'unknown'}"
    return printable(f"{topic}[{letter.partition}]:{letter.offset}")


def _text(value: bytes | None, *, whole: bool) -> str:
    if value is None:
        return "(null)"
    text = value.decode(errors="replace")
    return text if whole or len(text) <= BEGINNING_CHARS else f"{text[:BEGINNING_CHARS]}… ({len(value):,} bytes)"


def _fields(letter: Letter, *, again: bool, whole: bool) -> dict[str, object]:
    """A letter as JSON; a value that is no UTF-8 is there in base64 as well where all of it is asked for."""
    fields: dict[str, object] = {
        "letter": str(letter.at),
        "rejected_ms": letter.append_ms,
        "reason": letter.reason,
        "error": letter.error,
        "topic": letter.topic,
        "topic_id": letter.topic_id,
        "partition": letter.partition,
        "offset": letter.offset,
        "attempts": letter.attempts,
        "redriven": again,
        "cut": letter.cut,
        "sha256": letter.sha256,
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "value": None if letter.value is None else _text(letter.value, whole=whole),
    }
    if whole and letter.value is not None and letter.value.decode(errors="replace").encode() != letter.value:
        fields["value_base64"] = base64.b64encode(letter.value).decode()
    return fields
