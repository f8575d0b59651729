"""A worker process: builds what the owner needs from the configuration, runs it, takes it down in order."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from consumers.compose import (
    DEFAULT_REDIS_URL,
    open_admin,
    open_log,
    open_reader,
    open_snapshots,
    open_store,
    open_writer,
    require_snapshots,
)
from consumers.console.site import Console
from consumers.encoder import EncoderWorker
from consumers.encoder_service import opened_encoder
from consumers.health import HealthServer
from consumers.measurements import Measurements
from consumers.merged_log import MergedLog
from consumers.metrics import WorkerCollector
from consumers.owner import Owner, Ports
from consumers.redis_store import RedisStore, masked
from consumers.tracing import traces
from consumers.tracking import tracked
from consumers.vector_source import EncoderCounters
from consumers.work import OWNER_TOPICS
from streamer.config.tree import Config
from streamer.embedded import ValkeyError, ValkeyProcess
from streamer.encoders import EncoderUnavailable
from streamer.engine.warm import is_warm, warm
from streamer.head.device import require_device
from streamer.snapshots import Override
from streamer.tables.compile import cache_folder

logger = logging.getLogger(__name__)

VALKEY_LOOK_S = 1.0
COMPILE_LOOK_S = 0.1


class WallClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


def run_worker(config: Config, stop: threading.Event, *, bounded: bool = False, override: Override | None = None) -> bool:
    """Runs a worker until ``stop`` is set, or in bounded mode until the ends taken at the start are reached: whether they were.

    Raises:
        LogError, StoreError, RecoveryRefused, DeviceUnavailable, OSError: what keeps it from working, in words.
    """
    require_device(config.head.device)  # a standby finds out now, not when it takes over
    with worker(config, bounded=bounded, override=override or Override()) as opened:
        compile_kernels(stop)
        opened.owner.run(stop)
    return opened.owner.reached_ends


def compile_kernels(stop: threading.Event) -> None:
    """Returns once compiled kernels are in the cache, or ``stop`` is set: no standby may begin to compile when it takes over."""
    if is_warm():
        return
    logger.warning("compiling kernels into %s, once; the worker joins its group in a minute or two", cache_folder())
    thread = threading.Thread(target=warm, name="compile", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(COMPILE_LOOK_S)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that is ready to run; ``encoders`` holds the encoder worker of this process once its model is loaded."""

    owner: Owner
    measurements: Measurements
    store: RedisStore
    url: str
    """Of the store."""
    page: HealthServer
    encoders: list[EncoderWorker]


@contextlib.contextmanager
def worker(config: Config, *, bounded: bool, override: Override) -> Iterator[Worker]:
    """An owner with its ports open and its page up; everything is closed at the end."""
    measurements = Measurements()
    encoders: list[EncoderWorker] = []
    with contextlib.ExitStack() as stack:
        measurements.traces = stack.enter_context(traces(config))
        url = _store_url(config, stack)
        store = stack.enter_context(contextlib.closing(open_store(config, url)))
        admin = stack.enter_context(contextlib.closing(open_admin(config)))
        log = open_log(config, group=config.group, topics=OWNER_TOPICS)
        if bounded:
            log = MergedLog(log, open_reader(config), admin, records_max=config.kafka.max_poll_records)
        stack.callback(log.close)
        dead_letters = stack.enter_context(contextlib.closing(open_writer(config)))
        snapshots = open_snapshots(config)
        require_snapshots(config, snapshots)
        ports = Ports(log, admin, lambda: open_reader(config), dead_letters, store, snapshots, WallClock())
        owner = Owner(ports, config, measurements, override, bounded=bounded)
        encodes = config.log.kind == "embedded" and not bounded
        counters = (lambda: encoders[0].counters if encoders else EncoderCounters()) if encodes else None
        collector = WorkerCollector(lambda: (measurements, owner.status()), encoder=counters)
        console = Console(owner, measurements, store, snapshots, config, ports.clock)
        page = HealthServer(config.http.host, config.http.port, status=owner.status, collector=collector, pages=console.pages)
        stack.callback(page.close)
        stack.callback(console.close)
        console.start()
        stack.enter_context(tracked(config, lambda: (measurements, owner.status()), ports.clock))
        if encodes:
            stack.enter_context(_encoder_thread(config, encoders))
        yield Worker(owner, measurements, store, masked(url), page, encoders)


def _store_url(config: Config, stack: contextlib.ExitStack) -> str:
    """Where lists go: as configured, or with the embedded log a Valkey child process of ours."""
    if config.redis.url is None and config.log.kind == "embedded":
        valkey = ValkeyProcess(Path(config.redis.root))
        stack.callback(valkey.close)
        stack.enter_context(_kept_alive(valkey))
        return valkey.url
    return config.redis.url or DEFAULT_REDIS_URL


@contextlib.contextmanager
def _kept_alive(valkey: ValkeyProcess) -> Iterator[None]:
    """Starts the server anew, at the same URL, where it died or went with the process that had started it."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(VALKEY_LOOK_S):
            try:
                valkey.ensure()
            except (ValkeyError, OSError) as error:
                logger.error("lists wait for the Valkey server: %s", error)  # noqa: TRY400 - the message says it all

    thread = threading.Thread(target=keep, name="valkey", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _encoder_thread(config: Config, found: list[EncoderWorker]) -> Iterator[None]:
    """The encoder worker as a thread of this process; it loads its model when it first runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_encode, args=(config, found, stop), name="encoder", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=30.0)


def _encode(config: Config, found: list[EncoderWorker], stop: threading.Event) -> None:
    try:
        with opened_encoder(config) as encoder:
            found.append(encoder)
            encoder.run(stop)
    except EncoderUnavailable as error:
        logger.error("items are recommended without their text: %s", error)  # noqa: TRY400 - the message says it all
    except Exception:
        logger.exception("the encoder ended; items that arrive from now on have no vectors until the worker is started again")
