"""``streamer gateway``: events and items over HTTP onto the log, lists over HTTP out of the store."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from pathlib import Path

import click
import uvicorn

from consumers.compose import open_admin, open_store, open_writer, redis_url
from producers.gateway import Gateway
from streamer import __version__
from streamer.cli.common import config_option, prepare
from streamer.cli.services import stop_on_signals
from streamer.config import Config
from streamer.events.model import EVENTS, ITEMS
from streamer.ports import TopicsMissingError

logger = logging.getLogger(__name__)

LOOK_S = 0.2
GRACE_S = 10
"""For requests that are under way when the gateway is told to stop."""
BACKLOG = 2_048


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
        writer = stack.enter_context(contextlib.closing(open_writer(config)))
        app = Gateway(config, writer, store, check_log=lambda: check_log(config), version=__version__).app()
        listening = stack.enter_context(contextlib.closing(listen(config)))
        serve(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S), listening, stop)


def check_log(config: Config) -> None:
    """Raises LogError where the log cannot be reached, or lacks a topic that the gateway writes."""
    with contextlib.closing(open_admin(config)) as admin:
        missing = sorted({EVENTS, ITEMS} - set(admin.topics()))
    if missing:
        raise TopicsMissingError(f"the log has no topic {', '.join(missing)}: run `streamer topics create`")


def listen(config: Config) -> socket.socket:
    """A socket on ``gateway.host`` and ``gateway.port``. Raises OSError where the address is taken or not ours."""
    host, port = config.gateway.host, config.gateway.port
    try:
        [(family, *_), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            f"the gateway cannot listen on {host}:{port} (gateway.host, gateway.port, STREAMER_GATEWAY__PORT): "
            f"{error.strerror or error}; give a free port"
        ) from error


def serve(settings: uvicorn.Config, listening: socket.socket, stop: threading.Event) -> None:
    """Serves until ``stop`` is set, then ends what is under way. In a thread, so that signals stay those of the command."""
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="gateway")
    thread.start()
    host, port = listening.getsockname()[:2]
    logger.info("the gateway listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    while thread.is_alive() and not stop.wait(LOOK_S):
        pass
    server.should_exit = True
    thread.join()
