"""The encoder worker as a service: its adapters, its page, its end."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from consumers.compose import open_admin, open_log, open_writer
from consumers.document_vectors import opened_vectors, roots_of
from consumers.encoder import EncoderWorker
from consumers.health import HealthServer
from consumers.http_server import HttpUnavailable
from consumers.metrics import EncoderCollector
from streamer.config.tree import Config
from streamer.events.model import ITEMS
from streamer.ports import OwnerStatus
from streamer.snapshots.manifest import offsets_of

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def opened_encoder(config: Config, *, reencode: bool = False) -> Iterator[EncoderWorker]:
    """An encoder worker with all that it needs, closed afterwards; loading the model takes seconds.

    Raises EncoderUnavailable, CacheError.
    """
    with contextlib.ExitStack() as stack:
        vectors = stack.enter_context(opened_vectors(config.encoder, roots_of(config.encoder)))
        admin = stack.enter_context(contextlib.closing(open_admin(config)))
        writer = stack.enter_context(contextlib.closing(open_writer(config)))
        log = open_log(config, group=config.encoder_group, topics=[ITEMS], exclusive=False)
        stack.enter_context(contextlib.closing(log))
        pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="encoder-lag"))
        yield EncoderWorker(log, writer, vectors, admin=admin, pool=pool, reencode=reencode)


def run_encoder(config: Config, stop: threading.Event, *, reencode: bool = False) -> None:
    """Works until ``stop`` is set, with its page on ``http.port`` where that is free.

    Raises EncoderUnavailable, CacheError, LogError where the log refuses for good.
    """
    with opened_encoder(config, reencode=reencode) as worker, _page(config, worker):
        worker.run(stop)
        logger.info("encoder worker stopped: %s", worker.counters)


@contextlib.contextmanager
def _page(config: Config, worker: EncoderWorker) -> Iterator[None]:
    """Its metrics and probes. A worker of the same machine may have the port: that costs this one its page, not its work."""

    def status() -> OwnerStatus:
        return OwnerStatus(
            role="encoder",
            namespace=config.namespace,
            epoch=None,
            generation=worker.generation,
            counters=None,
            offsets=offsets_of(dict(worker.positions)),
            snapshot=None,
        )

    collector = EncoderCollector(lambda: worker.counters, namespace=config.namespace)
    try:
        server = HealthServer(
            config.http.host, config.http.port, status=status, collector=collector, ready=lambda: worker.generation is not None
        )
    except HttpUnavailable as error:
        logger.warning("the encoder worker runs without metrics and probes: %s", error)
        yield
        return
    with contextlib.closing(server):
        yield
