"""``streamer gateway``: events and items over HTTP onto the log, lists over HTTP out of the store."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from collections.abc import Iterator
from pathlib import Path

import click

from consumers.compose import open_admin, open_store, open_writer, redis_url
from consumers.gateway_metrics import metrics_of
from producers.gateway import Gateway
from producers.gateway_server import listen, serve
from streamer import __version__
from streamer.cli.common import config_option, prepare
from streamer.cli.services import stop_on_signals
from streamer.config import Config
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import LogError, LogWriter, TopicsMissingError

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
"""For what the writer still holds when no request waits for it any more."""


@click.command()
@config_option
def gateway(config_path: Path | None) -> None:
    """Take events and items over HTTP, and serve lists, until SIGTERM. Any number of processes may share the work.

    POST /v1/events and /v1/items, GET /v1/recommendations/USER on gateway.host:gateway.port; GET / says more.
    """
    config = prepare(config_path)
    stop = stop_on_signals()
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(open_store(config, redis_url(config))))
        writer = stack.enter_context(ending(open_writer(config, close_timeout_s=CLOSE_TIMEOUT_S)))
        made = Gateway(
            config,
            writer,
            store,
            check_log=lambda: check_log(config),
            version=__version__,
            metrics=metrics_of(config.namespace),
        )
        listening = stack.enter_context(contextlib.closing(listen(config.gateway)))
        if config.gateway.api_key is None and not is_loopback(listening.getsockname()[0]):
            logger.warning(
                "whoever reaches %s may send items and read every list: set gateway.api_key_file", listening.getsockname()[0]
            )
        serve(made.app(), config.gateway, listening, stop)


@contextlib.contextmanager
def ending(writer: LogWriter) -> Iterator[LogWriter]:
    """Closes the writer. What it could not bring onto the log by then was acknowledged to nobody."""
    try:
        yield writer
    finally:
        try:
            writer.close()
        except LogError as error:
            logger.warning("the gateway ends with records that were not acknowledged: %s", error)


def check_log(config: Config) -> None:
    """Raises LogError where the log cannot be reached, or lacks a topic that the gateway writes."""
    with contextlib.closing(open_admin(config)) as admin:
        missing = sorted({EVENTS, ITEMS} - set(admin.topics([EVENTS, ITEMS])))
    if missing:
        raise TopicsMissingError(f"the log has no topic {', '.join(missing)}: run `streamer topics create`")


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    return ipaddress.ip_address(address).is_loopback
