"""``streamer status``: what a running worker says of itself."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from streamer.cli.common import config_option, json_option, prepare, say_json, shown
from streamer.config import Config

TIMEOUT_S = 5.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a worker that listens everywhere can be asked


@click.command()
@click.option("--url", metavar="URL", help="Where the worker listens; from http.host and http.port unless given.")
@config_option
@json_option
def status(url: str | None, config_path: Path | None, *, as_json: bool) -> None:
    """Ask a running worker how it is."""
    config = prepare(config_path)
    found = ask(url or worker_url(config))
    for line in _lines(found):
        click.echo(line)
    if as_json:
        say_json(found)


def worker_url(config: Config) -> str:
    """Where the worker of this configuration listens. Raises ClickException where its port is any free one."""
    if config.http.port == 0:
        message = (
            "http.port is 0, so the worker chose a free port: find it in the worker's log, and give --url http://HOST:PORT"
        )
        raise click.ClickException(message)
    host = ANYWHERE.get(config.http.host, config.http.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{config.http.port}"


def ask(url: str) -> dict[str, Any]:
    """The answer of ``/status``. Raises ClickException where no worker gives one."""
    place = urlsplit(url if "://" in url else f"http://{url}")
    try:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/status")
            body = connection.getresponse().read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        message = (
            f"no worker answers at {url} ({error}): start one (streamer worker), or correct http.host and http.port, or --url"
        )
        raise click.ClickException(message) from error
    return _parsed(body, url)


def _parsed(body: bytes, url: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"role", "namespace"} <= found.keys():
        message = (
            f"what answers at {url} is no worker of ours (begins {body[:60]!r}): correct http.host and http.port, or --url"
        )
        raise click.ClickException(message)
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    names = ("role", "namespace", "epoch", "generation", "snapshot")
    lines = [f"{name}: {found[name]}" for name in names if found.get(name) is not None]
    if found.get("role") == "standby":
        lines.append("another worker owns the partitions: epoch, counters, lists and learning are told by that one (--url)")
    counters = found.get("counters") or {}
    applied = counters.get("applied") or {}
    if counters:
        lines.append(f"applied: {sum(applied.values())} ({', '.join(f'{kind} {count}' for kind, count in applied.items())})")
        lines.append(", ".join(f"{name} {count}" for name, count in counters.items() if name != "applied"))
    if found.get("learning"):
        lines.append(_learning(found["learning"].get("frozen")))
    if found.get("lists"):
        lines.append(_lists(found["lists"]))
    behind = sum(sum(parts.values()) for parts in (found.get("lag") or {}).values())
    return [*lines, f"lag: {behind} records"]


def _learning(frozen: dict[str, Any] | None) -> str:
    if frozen is None:
        return "learning: goes on"
    if frozen["by"] != "operator":
        return "learning: FROZEN by itself, after blocks with a gradient that was not finite; see `streamer rollback`, then unfreeze"
    if "since_ms" not in frozen:
        return "learning: FROZEN by an operator, before this worker started; `streamer unfreeze` ends it"
    since = f" since {shown(frozen['since_ms'])}" if frozen["since_ms"] else ""
    who = f"{frozen['reason'] or 'no reason given'} ({frozen['name'] or 'unnamed'})"
    return f"learning: FROZEN by an operator{since}: {who}; `streamer unfreeze` ends it"


def _lists(lists: dict[str, Any]) -> str:
    written = f"last written {shown(lists['written_ms'])}" if lists["written_ms"] else "none written since the start"
    text = f"lists: {lists['unpublished']} wait to be written, {written}"
    if not lists["fault"]:
        return text
    return f"{text}; NOT WRITTEN since {shown(lists['fault_ms'])} ({lists['errors']} errors): {lists['fault']}"
