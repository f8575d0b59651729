"""A real Apache Kafka broker as a child process: the tests' log, with the faults that tests need."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

LIBS = Path(__file__).parent.parent / ".kafka" / "libs"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
PR_SET_PDEATHSIG = 1

QUICK = ("-Xms128m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""One tier of the compiler: a test's broker lives for minutes, and its start is what tests wait for."""
AS_KAFKA_STARTS_IT = (
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
)
"""By ``kafka-server-start.sh`` of its distribution."""

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
group.consumer.min.session.timeout.ms=500
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""

SECURED = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},CLIENTS://127.0.0.1:{secured_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CLIENTS://127.0.0.1:{secured_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_PLAINTEXT
listener.name.clients.sasl.enabled.mechanisms=PLAIN
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:ANONYMOUS
"""
"""A second listener, where users log in and may do what ACLs allow; on the first one, whoever comes may do all."""


class KafkaServer:
    """A broker on a free loopback port with its data under ``root``; the same port and data after every restart.

    ``passwords`` by user: they can log in at ``secured``, by SASL/PLAIN, and have no rights but those of the ACLs.
    """

    def __init__(self, root: Path, passwords: Mapping[str, str] | None = None, *, for_long: bool = False) -> None:
        """``for_long``: with the options of Kafka's own start script, not those by which it starts soonest."""
        _require_kafka()
        self.root = root
        self._options = AS_KAFKA_STARTS_IT if for_long else QUICK
        self.port = free_port()
        self._secured_port = free_port()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True, exist_ok=True)
        self._properties = root / "server.properties"
        users = " ".join(f'user_{name}="{password}"' for name, password in (passwords or {}).items())
        ports = {"port": self.port, "controller_port": self._controller_port, "secured_port": self._secured_port}
        properties = PROPERTIES + (SECURED if users else "")  # of a key that comes twice the last one counts
        self._properties.write_text(properties.format(**ports, data=root / "data", users=users))
        self._format()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def secured(self) -> str:
        """Where users log in."""
        return f"127.0.0.1:{self._secured_port}"

    def start(self) -> None:
        """Starts the broker and returns once it answers a client."""
        command = [*_java(*self._options), "kafka.Kafka", str(self._properties)]
        with (self.root / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_with_parent)  # noqa: PLW1509
        self._wait_ready()

    def stop(self) -> None:
        """Ends the broker in good order; kills it if that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: the machine's power cord."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``suspend``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _format(self) -> None:
        # a first byte of zero, since an id that begins with a dash would be read as an option
        cluster_id = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()
        tool = [*_java(*QUICK), "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster_id]
        done = subprocess.run([*tool, "-c", str(self._properties)], capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"Kafka's storage tool failed on {self._properties}:\n{done.stdout.decode()}{done.stderr.decode()}"
            )

    def _wait_ready(self) -> None:
        from kafka import KafkaAdminClient
        from kafka.errors import KafkaError

        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if _listens(self.port):
                with (
                    contextlib.suppress(KafkaError),
                    KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2000) as admin,
                ):
                    admin.list_topics()
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        tail = (self.root / "broker.log").read_text(errors="replace")[-4000:]
        raise RuntimeError(
            f"Kafka did not answer on {self.bootstrap} within {START_TIMEOUT_S:.0f} s; the end of its log:\n{tail}"
        )


def _java(*options: str) -> list[str]:
    return ["java", *options, "-Djava.awt.headless=true", "-cp", f"{LIBS}/*"]


def _require_kafka() -> None:
    if shutil.which("java") is None:
        raise RuntimeError(
            "tests on Apache Kafka need Java 17 or later on PATH, and found none: apt-get install openjdk-17-jre-headless"
        )
    if not list(LIBS.glob("kafka_2.13-*.jar")):
        raise RuntimeError(
            f"tests on Apache Kafka need its jars in {LIBS}, and found none; fetch them with: "
            'mvn -q -f deploy/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/.kafka/libs"'
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
