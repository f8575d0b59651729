"""``streamer events show``: records of an input topic as they lie on the log, to find those that a reset should leave out."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from consumers.compose import open_admin, open_reader
from consumers.words import printable
from streamer.cli.common import config_option, event_time, json_option, prepare, say_json, shown
from streamer.config import Config
from streamer.events.model import EVENTS, INPUT_TOPICS
from streamer.ports import LogReader, TopicPartition

SHOWN = 20
VALUE_CHARS = 200
READ_AT_ONCE = 2_000
LOOKED_AT_MAX = 1_000_000
"""Records that one call looks at, whatever it finds."""

_PLACE = re.compile(r"(?P<topic>[^\[\]]+)(?:\[(?P<partition>\d+)\])?")


class Found(NamedTuple):
    """A record, its place and the log's time of it."""

    place: TopicPartition
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


class Wanted(NamedTuple):
    """Which records are shown: those that the log got at or after a time, of a user, of an item."""

    append_ms: int | None
    user: str | None
    item: str | None

    def takes(self, one: Found) -> bool:
        """Whether it is one of them."""
        if self.append_ms is not None and one.append_ms < self.append_ms:
            return False
        if self.user is None and self.item is None:
            return True
        user, items = _ids(one)
        return (self.user is None or self.user == user) and (self.item is None or self.item in items)


@click.group()
def events() -> None:
    """Look at records of the log."""


@events.command()
@click.argument("place", metavar="TOPIC[PARTITION]", default=EVENTS)
@click.option(
    "--from", "start", metavar="OFFSET|TIME", help="Where to begin; a time (epoch ms or RFC 3339) is when the log got them."
)
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(1, 100_000), help="Records shown at most.")
@click.option("--user", metavar="ID", help="Only those of this user.")
@click.option("--item", metavar="ID", help="Only those that name this item.")
@config_option
@json_option
@click.pass_context
def show(
    ctx: click.Context,
    place: str,
    start: str | None,
    limit: int,
    user: str | None,
    item: str | None,
    config_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Show records, oldest first: the place as `streamer reset --leave-out` takes it, when the log got it, key, value.

    Without a partition those of all partitions come one after the other. Begins at the oldest record that the log has unless
    told otherwise; records that can't be decoded are shown as well. Nothing is changed, and no group is joined.
    """
    config = prepare(config_path)
    offset, append_ms = _start(ctx, start)
    wanted, shown_rows = Wanted(append_ms, user, item), []
    with contextlib.closing(open_reader(config)) as reader:
        walk = Walk(reader, _bounds(config, place), offset)
        for one in walk:
            if not wanted.takes(one):
                continue
            click.echo(_line(one))
            shown_rows.append(_plain(one))
            if len(shown_rows) == limit:
                break
    click.echo(f"{len(shown_rows)} shown of {walk.looked_at} looked at{'; ' if walk.rest else ''}{walk.rest}", err=True)
    if as_json:
        say_json({"records": shown_rows, "looked_at": walk.looked_at, "rest": walk.rest or None})


class Walk:
    """The records of partitions one after the other, no more than LOOKED_AT_MAX; ``rest`` says where it stopped before the end."""

    def __init__(self, reader: LogReader, bounds: dict[TopicPartition, tuple[int, int]], offset: int | None) -> None:
        self._reader = reader
        self._bounds = bounds
        self._offset = offset
        self.looked_at = 0
        self.rest = ""

    def __iter__(self) -> Iterator[Found]:
        """From the offset, or the beginning where that is later."""
        for place, (beginning, end) in self._bounds.items():
            position = max(self._offset or 0, beginning)
            while position < end:
                batch = self._reader.read(place, position, READ_AT_ONCE)
                if batch.next_offset <= position:
                    break
                for row, offset in enumerate(batch.offsets):
                    if offset >= end:
                        break
                    if self.looked_at == LOOKED_AT_MAX:
                        at = f"{place.topic}[{place.partition}]"
                        self.rest = f"stopped at {at} offset {offset}: go on with `streamer events show '{at}' --from {offset}`"
                        return
                    self.looked_at += 1
                    yield Found(place, offset, batch.append_ms[row], batch.keys[row], batch.values[row])
                position = batch.next_offset


def _start(ctx: click.Context, start: str | None) -> tuple[int | None, int | None]:
    """An offset, or a time: a number below any time in milliseconds is an offset."""
    if start is None:
        return None, None
    if start.isdecimal() and int(start) < 10**11:
        return int(start), None
    return None, event_time(ctx, next(one for one in ctx.command.params if one.name == "start"), start)


def _bounds(config: Config, text: str) -> dict[TopicPartition, tuple[int, int]]:
    found = _PLACE.fullmatch(text)
    with contextlib.closing(open_admin(config)) as admin:
        bounds = {place: ends for place, ends in sorted(admin.bounds().items()) if place.topic in INPUT_TOPICS}
    wanted = {
        place: ends
        for place, ends in bounds.items()
        if found and place.topic == found["topic"] and found["partition"] in {None, str(place.partition)}
    }
    if not wanted:
        known = ", ".join(f"{place.topic}[{place.partition}]" for place in bounds) or "none: run `streamer topics create`"
        message = f"{text}: there is no such partition; those that a worker reads are {known}"
        raise click.UsageError(message)
    return wanted


def _ids(one: Found) -> tuple[str, set[str]]:
    """The user and the items that a record names, as far as it can be read."""
    key = (one.key or b"").decode(errors="replace")
    try:
        value = msgspec.json.decode(one.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        value = None
    fields = value if isinstance(value, dict) else {}
    many = fields.get("item_ids")
    items = {str(fields["item_id"])} if "item_id" in fields else set()
    items |= {str(each) for each in many} if isinstance(many, list) else set()
    if one.place.topic == EVENTS:
        return str(fields.get("user_id", key)), items
    return str(fields.get("user_id", key)), items | {key}


def _line(one: Found) -> str:
    value = printable((one.value or b"").decode(errors="replace")) if one.value is not None else "(deleted)"
    cut = f"{value[:VALUE_CHARS]}… ({len(one.value or b'')} bytes)" if len(value) > VALUE_CHARS else value
    key = printable(one.key.decode(errors="replace")) if one.key is not None else "-"
    return f"{_place(one)}  {shown(one.append_ms)}  {key}  {cut}"


def _plain(one: Found) -> dict[str, object]:
    return {
        "place": _place(one),
        "append_ms": one.append_ms,
        "key": one.key.decode(errors="replace") if one.key is not None else None,
        "value": _text(one.value),
    }


def _text(value: bytes | None) -> str | None:
    """As it is where it is text, else in base64."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"


def _place(one: Found) -> str:
    return f"{one.place.topic}[{one.place.partition}]:{one.offset}"
