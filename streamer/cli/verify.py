"""What ``streamer snapshots verify`` does and says."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time

import click

from consumers.compose import open_admin, open_reader
from streamer.cli.common import say_json
from streamer.cli.logs import said_while
from streamer.config import Config
from streamer.ports import SnapshotStore

# The engine takes seconds to import, which lists of snapshots need not wait for.
# ruff: noqa: PLC0415

REDRAW_S = 0.5


def verified(config: Config, store: SnapshotStore, names: tuple[str, str], *, as_json: bool) -> bool:
    """Whether the second snapshot is what the log makes of the first; said on stdout, with progress on stderr.

    Raises AuditImpossible, SnapshotDamaged, StructureDiffers, LogError where that cannot be told.
    """
    from tqdm import tqdm

    from consumers.audit import Audit

    with contextlib.closing(open_admin(config)) as admin, contextlib.closing(open_reader(config)) as reader:
        topic_ids = {topic: info.topic_id for topic, info in admin.topics().items()}
        audit = Audit(store, reader, config, names, topic_ids)
        for warning in audit.warnings:
            click.echo(f"warning: {warning}", err=True)
        started_s = time.monotonic()
        with tqdm(unit=" records", unit_scale=True, file=sys.stderr, mininterval=REDRAW_S, leave=False) as bar:

            def progress(folded: int, records: int) -> None:
                bar.total = records
                bar.update(folded - bar.n)

            with said_while("while verifying"):
                verdict = audit.run(progress)
        seconds = time.monotonic() - started_s
    for table in verdict.differing:
        click.echo(f"{table} differs")
    rate = verdict.records / max(seconds, 1e-9)
    click.echo(
        f"folded {verdict.records} records in {seconds:.1f} s ({rate:,.0f}/s), {len(audit.line) - 1} snapshots after {names[0]}"
    )
    if verdict.equal:
        click.echo(f"{names[1]} is what the log makes of it: all {verdict.tables} tables are equal bit for bit")
    else:
        click.echo(
            f"{names[1]} is NOT what the log makes of it: {len(verdict.differing)} of {verdict.tables} tables differ. Were settings of "
            "[windows], [catalog], [signals] or [head] changed meanwhile, or versions, that is why; else the snapshot is not to be trusted"
        )
    if as_json:
        say_json({"from": names[0], "to": names[1], "equal": verdict.equal, "seconds": seconds, **dataclasses.asdict(verdict)})
    return verdict.equal
