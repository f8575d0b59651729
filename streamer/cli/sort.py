"""``streamer sort``: a recording in the order of its times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click

from producers.formats import AUTO, FORMAT_HELP, in_time_order, open_events


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option("-o", "--out", "out_path", type=click.Path(path_type=Path), help="File to write; stdout unless given.")
def sort(files: Sequence[Path], format_name: str, out_path: Path | None) -> None:
    """Write the events of FILE... as JSON Lines in the order of their times, those of equal time as they stand.

    It holds all events in memory. The order among equal times is that of the files and their lines.
    """
    readings = [open_events(path, format_name) for path in files]
    events = list(chain.from_iterable(readings))
    for reading in readings:
        if reading.left_out.count:
            told = ", ".join(f"{count:,} {kind}" for kind, count in reading.left_out.by_kind.items())
            click.echo(f"{reading.path}: left out, being no interactions: {told}", err=True)
    if not events:
        raise click.ClickException(f"{', '.join(map(str, files))}: no events")
    ordered = in_time_order(record._replace(line=place) for place, record in enumerate(events))
    with click.open_file(str(out_path or "-"), "wb") as out:
        # In JSON an end of line is a space; a refused row of a table keeps its place as one line that is no event.
        out.writelines(record.value.replace(b"\n", b" ") + b"\n" for record in ordered)
