"""``streamer recommend``: a user's list as a reader gets it, and why each item is on it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from consumers.compose import open_store, serving_url
from consumers.words import LEAST, in_words, item_in_words, parts_of, printable
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.config import Config
from streamer.ports import RecommendationList

BAR = 10
"""Characters of the longest bar."""


@click.command()
@click.argument("user")
@click.option("--explain", is_flag=True, help="Say why each item is on the list.")
@click.option(
    "--items",
    "items_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Item documents, to show titles beside ids.",
)
@config_option
@json_option
def recommend(user: str, items_path: Path | None, config_path: Path | None, *, explain: bool, as_json: bool) -> None:
    """Show the list of USER as it is served: his own, or the popular one where he has none.

    With --explain, each entry's score is shown in parts, the largest first: a bar of + for what speaks for the entry, of - for
    what speaks against it.
    """
    config = prepare(config_path)
    found = read(config, user)
    if found is None:
        message = (
            f"the namespace {config.namespace!r} has neither a list of user {user!r} nor a popular one: "
            "see `streamer status` whether its worker runs and has read events"
        )
        raise click.ClickException(message)
    names = {} if items_path is None else titles(items_path, found)
    for line in _lines(found, names, explain=explain):
        click.echo(line)
    if as_json:
        say_json(_plain(found, names, explain=explain))


def read(config: Config, user: str) -> RecommendationList | None:
    """The list as served, None where there is none. Raises StoreError."""
    with serving_url(config) as url, contextlib.closing(open_store(config, url)) as store:
        return store.read(user)


def titles(path: Path, found: RecommendationList) -> dict[str, str]:
    """Titles by item id, of the items that the list or its reasons name. Raises RecordingError where the file is of no use."""
    from producers.formats import read_items  # noqa: PLC0415 - only those who want titles wait for it

    wanted = {entry.item_id for entry in found.items}
    wanted |= {reason.item_id for entry in found.items for reason in entry.why if reason.item_id is not None}
    documents = (msgspec.json.decode(record.value) for record in read_items(path) if record.error is None)
    return {
        document["item_id"]: document["title"]
        for document in documents
        if document["item_id"] in wanted and document.get("title")
    }


def _lines(found: RecommendationList, names: Mapping[str, str], *, explain: bool) -> list[str]:
    user = printable(found.user_id)
    whose = f"list of {user}" if found.personal else f"popular list ({user} has none of his own)"
    lines = [f"{whose}, version {found.version}"]
    parts = [parts_of(entry, names) if explain else [] for entry in found.items]
    largest = max((abs(part.value) for part in itertools.chain(*parts)), default=0.0)
    if largest >= LEAST:
        lines.append(f"     {'+' * BAR} {largest:6.2f} of a score, the largest part on this list")
    for place, (entry, shown) in enumerate(zip(found.items, parts, strict=True), 1):
        title = f" {item_in_words(entry.item_id, names)}" * (entry.item_id in names)
        lines.append(f"{place:3d}. {printable(entry.item_id)}{title}  {entry.score:.3f}")
        lines += [f"     {bar(part.value, largest)} {part.value:6.2f} {part.words}" for part in shown]
    return lines


def bar(value: float, largest: float) -> str:
    """A value as ``BAR`` characters: as many + or - as its share of the largest, one at least if it is worth showing.

    >>> bar(0.5, 1.0), bar(-0.01, 1.0)
    ('+++++     ', '-         ')
    """
    share = abs(value) / largest if largest > 0 else 0.0
    length = max(round(BAR * share), 1 if abs(value) >= LEAST else 0)
    return f"{('+' if value >= 0 else '-') * length:{BAR}s}"


def _plain(found: RecommendationList, names: Mapping[str, str], *, explain: bool) -> dict[str, Any]:
    """The list in the form that it has in the store, with whether it is the user's own."""
    items: list[dict[str, Any]] = []
    for entry in found.items:
        title = {"title": names[entry.item_id]} if entry.item_id in names else {}
        why = [[reason.term, reason.value, reason.item_id] for reason in entry.why]
        because = {"because": in_words(entry, names)} if explain else {}
        items.append({"item_id": entry.item_id, **title, "score": entry.score, "why": why, **because})
    return {
        "version": found.version,
        "user_id": found.user_id,
        "personal": found.personal,
        "items": items,
        "head_step": found.head_step,
        "event_ms": found.event_ms,
        "written_ms": found.written_ms,
    }
