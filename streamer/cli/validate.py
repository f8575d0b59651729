"""``streamer validate``: what a worker would make of a recording, before it is sent."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from producers.formats import AUTO, FORMAT_HELP, RecordingError
from producers.validation import IDS_MAX, Documents, Validated, validate_events, validate_items
from streamer.cli.common import config_option, json_option, prepare, say_json

FINE, REJECTED, UNREADABLE = 0, 1, 2
VERDICTS = {FINE: "fine", REJECTED: "not fine", UNREADABLE: "unreadable"}
REDRAW_S, REDRAW_UNWATCHED_S = 0.2, 10.0


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "format_name", default=AUTO, show_default=True, help=FORMAT_HELP)
@click.option("--items", "items_path", type=click.Path(path_type=Path), help="Item documents, looked at as well.")
@config_option
@json_option
@click.pass_context
def validate(
    ctx: click.Context,
    files: Sequence[Path],
    format_name: str,
    items_path: Path | None,
    config_path: Path | None,
    *,
    as_json: bool,
) -> None:
    """Say what a worker would make of the events of FILE...: what it would reject and why, line by line.

    Exit status 0 where all would be accepted, 1 where records would be rejected or a file is empty, cut or in no known format,
    2 for bad usage and what cannot be read. Disorder and repeated event ids are warnings.
    """
    lateness_ms_max = prepare(config_path).windows.lateness_ms_max
    documents: Documents | None = None
    told: list[dict[str, Any]] = []
    if items_path is not None:
        documents, one = _items(items_path)
        told.append(one)
    told += [_events(path, format_name, documents, lateness_ms_max) for path in files]
    for one in told:
        click.echo("\n".join(_lines(one)), err=as_json)
    status = max(one["status"] for one in told)
    if as_json:
        say_json({"status": status, "verdict": VERDICTS[status], "files": told})
    ctx.exit(status)


def _items(path: Path) -> tuple[Documents | None, dict[str, Any]]:
    """What is to be said of a file of item documents."""
    try:
        with _bar(path) as bar:
            found = validate_items(path, bar.update)
    except RecordingError as error:
        return None, _failed(path, "items", error)
    told = _begun(found, "items", found.records)
    told["documents"] = {"records": found.records, "items": len(found.ids), "at_least": found.ids.full}
    if found.ids.full:
        told["warnings"].append(f"more than {IDS_MAX:,} items have documents: those behind them count as without")
    return found, told


def _events(path: Path, format_name: str, documents: Documents | None, lateness_ms_max: int) -> dict[str, Any]:
    """What is to be said of a file of events."""
    try:
        with _bar(path) as bar:
            found = validate_events(
                path, bar.update, lateness_ms_max=lateness_ms_max, format_name=format_name, documents=documents
            )
    except RecordingError as error:
        return _failed(path, "events", error)
    told = _begun(found, "events", found.accepted)
    told |= {
        "by_type": found.by_type,
        "first_ms": found.order.first_ms,
        "last_ms": found.order.last_ms,
        "behind": {
            "events": found.order.behind,
            "ms_max": found.order.behind_ms_max,
            "late": found.order.late,
            "lateness_ms_max": lateness_ms_max,
        },
        "out_of_order": found.unsorted,
        "repeated_event_ids": found.repeats.count,
        "without_event_id": found.without_id,
        "users": {"count": len(found.users), "at_least": found.users.full},
        "items": {"count": len(found.items), "at_least": found.items.full},
    }
    if documents is not None and found.accepted:
        missing = found.items.without(documents.ids)
        told["documents"] = {
            "events_without": found.without_document,
            "events_without_share": found.without_document / found.accepted,
            "items_without": missing,
            "items_without_share": missing / max(1, len(found.items)),
        }
    told["warnings"] += _warnings(found, told)
    return told


def _begun(found: Documents | Validated, kind: str, accepted: int) -> dict[str, Any]:
    rejections = found.rejections
    problems = [f"{found.unit} {one.where}: {one.error} (rejected as {one.reason})" for one in rejections.named]
    if not accepted:
        problems.append(f"holds no {kind} that would be accepted, expected at least one")
    return {
        "file": found.path,
        "kind": kind,
        "status": REJECTED if problems else FINE,
        "format": found.format,
        "why": found.why,
        "accepted": accepted,
        "rejected": {"count": rejections.count, "by_reason": rejections.by_reason},
        "left_out": found.left_out,
        "problems": problems,
        "warnings": [],
    }


def _warnings(found: Validated, told: dict[str, Any]) -> Iterator[str]:
    order = found.order
    if order.behind:
        late = f"; {order.late:,} so far that a worker would count them as late" if order.late else ""
        yield (
            f"{order.behind:,} events stand behind later ones, by up to {_span(order.behind_ms_max)}{late}: "
            "streamer replay refuses the file, streamer sort puts it in order, backtest does so itself"
        )
    if found.repeats.count:
        yield f"{found.repeats.count:,} events repeat the event id of one before them: a worker applies them once"
    if found.repeats.forgot:
        yield f"repeated event ids were looked for among the last {IDS_MAX:,} to {2 * IDS_MAX:,} only"
    if found.without_id:
        yield f"{found.without_id:,} events have no event id: a worker applies them as often as they are sent"
    if "documents" in told:
        documents = told["documents"]
        if documents["events_without"]:
            yield (
                f"{documents['events_without_share']:.1%} of the events are of items without a document, "
                f"{documents['items_without']:,} items ({documents['items_without_share']:.1%}) have none"
            )


def _failed(path: Path, kind: str, error: RecordingError) -> dict[str, Any]:
    problem = str(error).removeprefix(str(path)).lstrip(":, ")
    status = UNREADABLE if error.unreadable else REJECTED
    return {"file": str(path), "kind": kind, "status": status, "problems": [problem], "warnings": []}


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """What is said of a file to people."""
    yield f"{told['file']}: {told['format']}: {told['why']}" if "format" in told else f"{told['file']}:"
    if "accepted" in told:
        yield f"  {told['kind']:10s}{_counts(told['accepted'], told.get('by_type', {}))}"
    if told.get("first_ms") is not None:
        yield f"  time      {_time(told['first_ms'])} to {_time(told['last_ms'])}"
        users, items = (_bounded(told[name]) for name in ("users", "items"))
        yield f"  of        {users} users, {items} items"
    if told.get("left_out"):
        yield f"  left out  {_counts(sum(told['left_out'].values()), told['left_out'])}"
    if told.get("rejected", {}).get("count"):
        yield f"  rejected  {_counts(told['rejected']['count'], told['rejected']['by_reason'])}"
    for kind in ("problems", "warnings"):
        yield from (f"  {kind.removesuffix('s')}: {text}" for text in told[kind])
    yield f"  {_verdict(told)}"


def _verdict(told: dict[str, Any]) -> str:
    verdict = VERDICTS[told["status"]]
    if not told.get("out_of_order"):
        return verdict
    link = "but" if told["status"] == FINE else "and"
    return f"{verdict}, {link} out of order: `streamer replay` refuses it; `streamer sort` first"


def _counts(total: int, parts: dict[str, int]) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(parts.items(), key=lambda part: -part[1]))
    return f"{total:,}: {told}" if told else f"{total:,}"


def _bounded(count: dict[str, Any]) -> str:
    return f"{'at least ' if count['at_least'] else ''}{count['count']:,}"


def _time(epoch_ms: int) -> str:
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return f"{epoch_ms} ms"


def _span(span_ms: int) -> str:
    return str(timedelta(milliseconds=span_ms))


@contextlib.contextmanager
def _bar(path: Path) -> Iterator[tqdm[None]]:
    watched = sys.stderr.isatty()
    interval_s = REDRAW_S if watched else REDRAW_UNWATCHED_S
    with tqdm(desc=path.name, unit=" records", unit_scale=True, mininterval=interval_s, leave=False, delay=interval_s) as bar:
        yield bar
