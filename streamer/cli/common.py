"""What commands have in common: options, the configuration, and JSON on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from streamer.cli import logs
from streamer.config import Config, from_environment
from streamer.events.timestamps import TimestampError, timestamp_ms

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file; STREAMER_… variables win over it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON as the last line of stdout.")


def prepare(config_path: Path | None, overrides: Mapping[str, object] | None = None) -> Config:
    """The configuration of this run, with logs set up as it says. Raises ConfigError."""
    config = from_environment(config_path, overrides)
    logs.set_up(config.logging)
    return config


def say_json(value: object) -> None:
    """One line of JSON on stdout."""
    click.echo(msgspec.json.encode(value).decode())


def event_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Callback of an option that takes a time of the stream, epoch milliseconds or RFC 3339 with an offset: epoch milliseconds."""
    if value is None:
        return None
    try:
        return timestamp_ms(int(value) if value.lstrip("-").isdecimal() else value)
    except TimestampError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def shown(ms: int) -> str:
    """Epoch milliseconds as RFC 3339.

    >>> shown(1795485458344)
    '2026-11-24T01:57:38.344Z'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
