"""What the typed sender, a replay and the HTTP gateway cost, beside the bare producer of kafka-python in the same run.

    python -m benchmarks.gateway [--quick]

All of it shares the cores of this machine: broker, gateway process and clients. So rounds alternate, the figures are medians, and the
ratios are what can be compared. Latency is measured in an open loop: requests of one event leave when they are due, whatever became of
those before, at half of the rate that the same run reached.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from kafka import KafkaProducer

from benchmarks.figures import Figures
from benchmarks.machine import machine
from benchmarks.world import KafkaServer
from consumers.kafka_admin import KafkaAdmin
from producers import Sender
from producers.checks import check
from producers.landed import placed_by
from producers.replay import replay
from producers.sender import BATCH_BYTES, LINGER_MS, KafkaWriter
from streamer.config.tree import Config, Kafka
from streamer.embedded.batches import partition_of
from streamer.events.model import EVENTS
from streamer.ports import OutRecord

BASE, UNIT = "bare_producer", "events/s"
ROUNDS = 5
RECORDS = 20_000
SINGLES = 3_000
CONNECTIONS = 16
BATCH_CONNECTIONS = 4
BATCH = 100
OPEN_LOOP_S = 20.0


def event(number: int) -> bytes:
    """About as long as those of the other benchmarks."""
    plain = {
        "event_id": f"0f8fad5b-d9cb-469f-a165-{number:012d}",
        "type": "click",
        "user_id": f"user-{number % 5_000}",
        "item_id": f"item-{number % 977}",
        "timestamp": 1_795_485_458_344 + number,
        "session_id": f"s{number % 9_973}",
        "context": {"page": "home"},
    }
    return json.dumps(plain).encode()


def timed(run: Callable[[], None], records: int) -> float:
    """Events a second."""
    started_s = perf_counter()
    run()
    return records / (perf_counter() - started_s)


def bare(config: Config, values: list[bytes]) -> None:
    """The client with the settings that our writer gives it, and nothing around it."""
    producer = KafkaProducer(
        bootstrap_servers=config.kafka.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=LINGER_MS,
        batch_size=BATCH_BYTES,
    )
    for number, value in enumerate(values):
        producer.send(EVENTS, key=b"user-%d" % (number % 5_000), value=value)
    producer.flush()
    producer.close()


def writer(config: Config, values: list[bytes]) -> None:
    with KafkaWriter(config) as opened:
        for number, value in enumerate(values):
            opened.send(OutRecord(EVENTS, b"user-%d" % (number % 5_000), value))


def sender(config: Config, records: int) -> None:
    with Sender(KafkaWriter(config)) as opened:
        for number in range(records):
            opened.click(
                f"user-{number % 5_000}", f"item-{number % 977}", session_id=f"s{number % 9_973}", context={"page": "home"}
            )


def replayed(config: Config, recording: Path) -> None:
    """A file read twice, as ``streamer replay`` does: to its end first, then onto the log."""
    with contextlib.closing(KafkaWriter(config)) as opened:
        replay(check([recording]), opened, place=placed_by(partition_of, config.kafka.partitions))


def request(body: bytes) -> bytes:
    head = f"POST /v1/events HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """Sends requests that are made already, and looks at no more of an answer than it must."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, sent: bytes) -> None:
        self._socket.sendall(sent)
        answer = b""
        while not answer.endswith(b"}"):
            part = self._socket.recv(65_536)
            answer += part
            if not part:
                break
        if not answer.startswith(b"HTTP/1.1 202 "):
            raise RuntimeError(f"the gateway answered {answer[:300]!r}, expected 202")

    def close(self) -> None:
        self._socket.close()


def together(connections: int, run: Callable[[int], None]) -> None:
    """Runs the same on so many threads; an error of one is the error of all."""
    failed: list[Exception] = []

    def guarded(number: int) -> None:
        try:
            run(number)
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def closed_loop(port: int, requests: list[bytes], connections: int) -> None:
    def run(number: int) -> None:
        with contextlib.closing(Connection(port)) as connection:
            for one in requests[number::connections]:
                connection.ask(one)

    together(connections, run)


def open_loop(port: int, requests: list[bytes], per_s: float) -> np.ndarray:
    """Seconds from the moment at which each request was due to its answer."""
    took_s = np.zeros(len(requests))
    start_s = perf_counter() + 0.2

    def run(number: int) -> None:
        with contextlib.closing(Connection(port)) as connection:
            for place in range(number, len(requests), CONNECTIONS):
                due_s = start_s + place / per_s
                sleep(max(0.0, due_s - perf_counter()))
                connection.ask(requests[place])
                took_s[place] = perf_counter() - due_s

    together(CONNECTIONS, run)
    return took_s


@contextlib.contextmanager
def gateway(config: Config) -> Iterator[int]:
    """The command as a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")} | {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
        "STREAMER_REDIS__URL": "redis://127.0.0.1:1/0",
        "STREAMER_GATEWAY__PORT": str(port),
    }
    command = [sys.executable, "-c", "from streamer.cli.main import main; main()", "gateway"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"the gateway ended with status {process.returncode}; run `streamer gateway` to see why")
            sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    return False


def measure(config: Config, port: int, folder: Path, rounds: int, share: float) -> tuple[Figures, np.ndarray, float]:
    figures = Figures()
    values = [event(number) for number in range(int(RECORDS * share))]
    recording = folder / "recording.jsonl"
    recording.write_bytes(b"".join(value + b"\n" for value in values))
    batches = [request(b"[" + b",".join(values[at : at + BATCH]) + b"]") for at in range(0, len(values), BATCH)]
    singles = [request(value) for value in values[: int(SINGLES * share)]]
    closed_loop(port, singles[:100], CONNECTIONS)
    for _ in range(rounds):
        figures.add(BASE, UNIT, timed(lambda: bare(config, values), len(values)))
        figures.add("writer", UNIT, timed(lambda: writer(config, values), len(values)))
        figures.add("typed_sender", UNIT, timed(lambda: sender(config, len(values)), len(values)))
        figures.add("replay", UNIT, timed(lambda: replayed(config, recording), len(values)))
        figures.add(
            f"gateway_batches_of_{BATCH}",
            UNIT,
            timed(lambda: closed_loop(port, batches, BATCH_CONNECTIONS), len(batches) * BATCH),
        )
        figures.add("gateway_single", UNIT, timed(lambda: closed_loop(port, singles, CONNECTIONS), len(singles)))
    per_s = figures.median("gateway_single") / 2
    paced = [singles[n % len(singles)] for n in range(int(per_s * OPEN_LOOP_S * share))]
    return figures, open_loop(port, paced, per_s), per_s


def main() -> None:
    """Prints the table, with the machine above it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round: shows that it runs, not how fast")
    quick = parser.parse_args().quick
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, load {about['load_before']}; events of {len(event(0))} bytes")
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        server = KafkaServer(Path(folder) / "kafka")
        server.start()
        try:
            config = Config(kafka=Kafka(bootstrap_servers=server.bootstrap, partitions=4))
            with contextlib.closing(KafkaAdmin(config)) as admin:
                admin.create_topics()
            with gateway(config) as port:
                figures, took_s, per_s = measure(config, port, Path(folder), 1 if quick else ROUNDS, 0.1 if quick else 1.0)
        finally:
            server.stop()
    print(figures.table(figures.ratios(BASE, UNIT)).replace(" of bare poll", "bare producer"))
    p50, p99 = np.quantile(took_s * 1e3, [0.5, 0.99])
    print(f"\nopen loop, single events at {per_s:,.0f}/s on {CONNECTIONS} connections: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
