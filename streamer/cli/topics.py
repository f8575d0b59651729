"""``streamer topics``: making and checking the topics."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from consumers.compose import open_admin
from streamer.cli.common import config_option, json_option, prepare, say_json
from streamer.config import Config
from streamer.ports import ALL_TOPICS, TopicInfo, TopicsMissingError


@click.group()
def topics() -> None:
    """Make or check the topics."""


@topics.command()
@config_option
@json_option
def create(config_path: Path | None, *, as_json: bool) -> None:
    """Make the topics that are missing; running it again changes nothing."""
    config = prepare(config_path)
    with contextlib.closing(open_admin(config)) as admin:
        created = admin.create_topics()
    for topic in ALL_TOPICS:
        click.echo(f"{full_name(config, topic)}: {'created' if topic in created else 'exists'}")
    if as_json:
        say_json({"created": created, "existing": [topic for topic in ALL_TOPICS if topic not in created]})


@topics.command()
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, config_path: Path | None, *, as_json: bool) -> None:
    """Say which topics are there and how they are set up; exit status 1 where one is missing."""
    config = prepare(config_path)
    with contextlib.closing(open_admin(config)) as admin:
        found = admin.topics()
    missing = missing_topics(found)
    for topic in ALL_TOPICS:
        click.echo(f"{full_name(config, topic)}: {_described(found.get(topic))}")
        for warning in found[topic].warnings if topic in found else ():
            click.echo(f"  warning: {warning}")
    if missing:
        click.echo("make the missing ones with: streamer topics create", err=True)
    if as_json:
        say_json({"topics": found, "missing": missing})
    ctx.exit(1 if missing else 0)


def missing_topics(found: dict[str, TopicInfo]) -> list[str]:
    """The topics that are not there, by logical name."""
    return [topic for topic in ALL_TOPICS if topic not in found]


def full_name(config: Config, topic: str) -> str:
    """A topic's name on the log."""
    return config.kafka.topic_prefix + topic


def _described(info: TopicInfo | None) -> str:
    return "missing" if info is None else f"{info.partitions} partition{'s' if info.partitions > 1 else ''}, id {info.topic_id}"


def require_topics(config: Config, *, create: bool) -> None:
    """Raises TopicsMissingError with what to run, before a long file is read."""
    with contextlib.closing(open_admin(config)) as admin:
        if create:
            admin.create_topics()
            return
        missing = missing_topics(admin.topics())
    if missing:
        names = ", ".join(full_name(config, topic) for topic in missing)
        raise TopicsMissingError(
            f"the log has no topics {names}: add --create-topics, "
            f"or run STREAMER_KAFKA__TOPIC_PREFIX='{config.kafka.topic_prefix}' streamer topics create"
        )
