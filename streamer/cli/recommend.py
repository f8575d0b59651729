"""``streamer recommend``: a user's list as a reader gets it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from consumers.compose import open_store, serving_url
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.cli.words import in_words
from streamer.config import Config
from streamer.ports import RecommendationList


@click.command()
@click.argument("user")
@click.option("--explain", is_flag=True, help="Say why each item is on the list.")
@config_option
@json_option
def recommend(user: str, config_path: Path | None, *, explain: bool, as_json: bool) -> None:
    """Show the list of USER as it is served: his own, or the popular one where he has none."""
    config = prepare(config_path)
    found = read(config, user)
    if found is None:
        message = (
            f"the namespace {config.namespace!r} has neither a list of user {user!r} nor a popular one: "
            "see `streamer status` whether its worker runs and has read events"
        )
        raise click.ClickException(message)
    for line in _lines(found, explain=explain):
        click.echo(line)
    if as_json:
        say_json(_plain(found, explain=explain))


def read(config: Config, user: str) -> RecommendationList | None:
    """The list as served, None where there is none. Raises StoreError."""
    with serving_url(config) as url, contextlib.closing(open_store(config, url)) as store:
        return store.read(user)


def _lines(found: RecommendationList, *, explain: bool) -> list[str]:
    whose = f"list of {found.user_id}" if found.personal else f"popular list ({found.user_id} has none of his own)"
    lines = [f"{whose}, version {found.version}"]
    for place, entry in enumerate(found.items, 1):
        lines.append(f"{place:3d}. {entry.item_id}  {entry.score:.3f}")
        if explain:
            lines.append(f"     {in_words(entry)}")
    return lines


def _plain(found: RecommendationList, *, explain: bool) -> dict[str, Any]:
    """The list in the form that it has in the store, with whether it is the user's own."""
    items: list[dict[str, Any]] = []
    for entry in found.items:
        why = [[reason.term, reason.value, reason.item_id] for reason in entry.why]
        because = {"because": in_words(entry)} if explain else {}
        items.append({"item_id": entry.item_id, "score": entry.score, "why": why, **because})
    return {
        "version": found.version,
        "user_id": found.user_id,
        "personal": found.personal,
        "items": items,
        "head_step": found.head_step,
        "event_ms": found.event_ms,
        "written_ms": found.written_ms,
    }
