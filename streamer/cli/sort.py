"""``streamer sort``: a recording in the order of its times."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import click

from producers.formats import AUTO, FORMAT_HELP, Recorded, open_events
from producers.sorting import Sorter


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option(
    "-o", "--out", "out_path", type=click.Path(path_type=Path), help="File to write, packed where it ends in .gz; else stdout."
)
def sort(files: Sequence[Path], format_name: str, out_path: Path | None) -> None:
    """Write the events of FILE... as JSON Lines in the order of their times, those of equal time as they stand.

    The order among equal times is that of the files and their lines. Memory does not grow with them: what 128 MB do not hold lies
    in temporary files (under SQLITE_TMPDIR or TMPDIR), which take about twice as much room as the events. The file to write
    appears once it is whole.
    """
    if out_path is not None and not out_path.parent.is_dir():
        raise click.BadParameter(f"{out_path}: there is no folder {out_path.parent}", param_hint="--out")
    if out_path is not None and out_path.is_dir():
        raise click.BadParameter(f"{out_path}: is a folder, expected a file to write", param_hint="--out")
    with contextlib.closing(Sorter()) as sorter:
        count = broken = 0

        def seen(records: Iterable[Recorded]) -> Iterator[Recorded]:
            nonlocal broken
            for record in records:
                broken += record.error is not None
                yield record

        for path in files:
            reading = open_events(path, format_name)
            count += sorter.add(seen(reading))
            if reading.left_out.count:
                told = ", ".join(f"{count:,} {kind}" for kind, count in reading.left_out.by_kind.items())
                click.echo(f"{path}: left out, being no interactions: {told}", err=True)
        if not count:
            raise click.ClickException(f"{', '.join(map(str, files))}: no events")
        with _opened(out_path) as out:
            out.writelines(_lines(sorter))
    click.echo(f"{count:,} records in order, {broken:,} of them no events", err=True)


def _lines(values: Iterable[bytes]) -> Iterator[bytes]:
    """In JSON an end of line is a space; a refused row of a table keeps its place as one line that is no event."""
    for value in values:
        yield value.replace(b"\n", b" ") + b"\n"


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Stdout, a pipe or a device as it is, or a file that takes its name when it is whole."""
    if path is None or str(path) == "-" or (path.exists() and not path.is_file()):
        with click.open_file("-" if path is None else str(path), "wb") as out:
            yield out
        return
    unfinished = path.with_name(path.name + ".part")
    try:
        with gzip.open(unfinished, "wb") if path.suffix == ".gz" else unfinished.open("wb") as file:
            yield cast("IO[bytes]", file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
