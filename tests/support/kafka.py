"""One node of Apache Kafka 4.1 (KRaft) for the tests, run from Maven Central's jars on Java 17.

`kafka_broker` is the fixture. The broker has four listeners (plain, TLS with a client certificate,
SASL, SASL over TLS); whoever comes over `plaintext` or as the user `bridge` may do everything, the user
`limited` what `kafka_acl` allows. Records stay, whatever their age: those of tests are past any retention.
`python -m tests.support.kafka` runs one until SIGTERM, for trials by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from cryptography.hazmat.primitives import serialization

ROOT = Path(__file__).parents[2]
POM = ROOT / "tests" / "kafka" / "pom.xml"
JARS = ROOT / ".cache" / "kafka" / "4.1.0"

PASSWORD = "bridge-secret"
LISTENERS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
START_LIMIT = 90.0
EXIT_LIMIT = 20.0


class MissingTool(Exception):
    """Java or Maven is not there."""


class StartFailed(Exception):
    """The broker did not come up; the message ends with its log."""


def jars() -> Path:
    """Return the folder of Kafka's jars, fetched once with Maven."""
    if JARS.is_dir():
        return JARS
    if shutil.which("mvn") is None:
        raise MissingTool("Apache Kafka's jars are fetched with Maven: install mvn")
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=JARS.parent) as half:
        got = Path(half) / "jars"
        command = [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={got}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise StartFailed(f"Maven could not fetch Kafka: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        with contextlib.suppress(OSError):  # another test run was faster
            got.rename(JARS)
    return JARS


class Certificates(NamedTuple):
    """Files of one throw-away authority."""

    ca: Path
    server_store: Path
    client: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        authority = trustme.CA()
        made = cls(folder / "ca.pem", folder / "server.pem", folder / "client.pem")
        authority.cert_pem.write_to_path(made.ca)
        server = authority.issue_cert("127.0.0.1", "localhost")
        key = serialization.load_pem_private_key(server.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(  # the only form that Kafka reads
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(part.bytes() for part in server.cert_chain_pems)
        made.server_store.write_bytes(pkcs8 + chain)
        authority.issue_cert("bridge.test").private_key_and_cert_chain_pem.write_to_path(made.client)
        return made


_LOGGING = """
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1} %m%n
"""

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,\
CONTROLLER:PLAINTEXT
log.dirs={folder}/data
num.partitions=3
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1500
num.network.threads=2
num.io.threads=4
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=8388608
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:bridge
ssl.keystore.type=PEM
ssl.keystore.location={certificates.server_store}
ssl.truststore.type=PEM
ssl.truststore.location={certificates.ca}
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.principal.mapping.rules=RULE:^.*$/bridge/
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
"""

_PLAIN = (
    "listener.name.{listener}.plain.sasl.jaas.config="
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'user_bridge="{password}" user_limited="{password}";\n'
)
_SCRAM = (
    "listener.name.{listener}.{mechanism}.sasl.jaas.config="
    "org.apache.kafka.common.security.scram.ScramLoginModule required;\n"
)


class KafkaBroker:
    """One broker with its data folder; `start` it, then disturb it as you like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = Certificates.make(folder)
        self._jars = jars()
        self._java = shutil.which("java")
        if self._java is None:
            raise MissingTool("Apache Kafka runs on Java: install a Java 17 runtime")
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where `PLAINTEXT` is spoken."""
        return self.address("plaintext")

    def address(self, listener: str) -> str:
        """Return `host:port` of one of `LISTENERS`."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    def start(self) -> None:
        """Start, or start again with the same ports and data; return when requests are answered."""
        if not self._ports:
            self._format()
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command("kafka.Kafka"), str(self.folder / "server.properties")],
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_ready()
        except StartFailed:
            self.kill()
            raise

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(EXIT_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(EXIT_LIMIT)
        self._process = None

    def _command(self, main: str) -> list[str]:
        return [
            str(self._java),
            *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            f"-Dkafka.logs.dir={self.folder}",
            *("-cp", f"{self._jars}/*", main),
        ]

    def _format(self) -> None:
        """Choose the ports and prepare the data folder, with `bridge` as a SCRAM user."""
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        self._ports = dict(zip((*LISTENERS, "controller"), _free_ports(len(LISTENERS) + 1), strict=True))
        named = ",".join(f"{name.upper()}://127.0.0.1:{self._ports[name]}" for name in LISTENERS)
        text = _PROPERTIES.format(
            controller=self._ports["controller"],
            listeners=named,
            folder=self.folder,
            certificates=self.certificates,
        )
        for listener in ("sasl_plaintext", "sasl_ssl"):
            text += _PLAIN.format(listener=listener, password=PASSWORD)
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                text += _SCRAM.format(listener=listener, mechanism=mechanism)
        properties = self.folder / "server.properties"
        properties.write_text(text)
        scram = [f"SCRAM-SHA-{bits}=[name=bridge,password={PASSWORD}]" for bits in (256, 512)]
        formatting = [
            *self._command("kafka.tools.StorageTool"),
            *("format", "-t", "a2Fma2EtZm9yLXRlc3RzMQ", "-c", str(properties)),
            *(part for user in scram for part in ("--add-scram", user)),
        ]
        done = subprocess.run(formatting, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise StartFailed(f"Kafka's storage cannot be formatted: {done.stdout}{done.stderr}")

    def _wait_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + START_LIMIT
        while not _answers(self._ports["plaintext"]):
            if self._process.poll() is not None or time.monotonic() > end:
                raise StartFailed(f"Kafka does not start:\n{self.log()[-3000:]}")
            time.sleep(0.05)
        if not _listens(self._process.pid, self._ports["plaintext"]):
            raise StartFailed(f"port {self._ports['plaintext']} belongs to another process")

    def log(self) -> str:
        """What the broker printed so far."""
        return (self.folder / "broker.log").read_text(errors="replace")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _answers(port: int) -> bool:
    """Whether an ApiVersions request (key 18, version 0) gets an answer: the broker serves."""
    body = struct.pack(">hhih", 18, 0, 7, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as wire:
            wire.sendall(struct.pack(">i", len(body)) + body)
            return len(wire.recv(8)) > 0
    except OSError:
        return False


def _listens(pid: int, port: int) -> bool:
    """Whether `pid` itself holds the listening socket of `port` (Linux's /proc; elsewhere: believe it)."""
    if not Path("/proc/net/tcp").exists():
        return True
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            cells = line.split()
            if cells[1].endswith(wanted) and cells[3] == "0A":  # 0A: LISTEN
                inodes.add(f"socket:[{cells[9]}]")
    held = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    return bool(inodes & held)


@contextlib.contextmanager
def running_broker() -> Iterator[KafkaBroker]:
    """Run a broker in a temporary folder; another process on its port means: choose new ports."""
    with tempfile.TemporaryDirectory(prefix="bridge-kafka-") as folder:
        for attempt in range(3):
            home = Path(folder) / str(attempt)
            home.mkdir()
            broker = KafkaBroker(home)
            try:
                broker.start()
            except StartFailed:
                if attempt == 2:
                    raise
                continue
            break
        try:
            yield broker
        finally:
            broker.kill()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A broker for the whole test run; a test that disturbs it leaves it running."""
    with contextlib.ExitStack() as stack:
        try:
            broker = stack.enter_context(running_broker())
        except MissingTool as err:
            if os.environ.get("CI"):
                pytest.fail(f"no Kafka in CI: {err}")
            pytest.skip(f"no Kafka for the tests: {err}")
        yield broker


async def read_all(bootstrap: str, topic: str, *, limit: float = 30.0) -> list[ConsumerRecord]:
    """Read a topic from its beginning to its end as a `read_committed` consumer, in offset order.

    They come partition by partition. Open transactions are waited for: TimeoutError after `limit` seconds.
    """
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    async with asyncio.timeout(limit):
        try:
            await consumer.start()
            return await _drain(consumer)
        finally:
            await consumer.stop()


async def _drain(consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
    while not consumer.assignment():  # noqa: ASYNC110 - nothing tells when the topic shows
        await asyncio.sleep(0.05)
    read: dict[TopicPartition, list[ConsumerRecord]] = {one: [] for one in sorted(consumer.assignment())}
    while [one for one in read if not await _at_end(consumer, one)]:
        for one, records in (await consumer.getmany(timeout_ms=200)).items():
            read[one].extend(records)
    return [record for records in read.values() for record in records]


async def _at_end(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    """Whether all is read. Not `end_offsets`: that is the end of what is committed, seen by the reader."""
    end = consumer.highwater(partition)
    return end is not None and await consumer.position(partition) >= end


def main() -> int:
    """Print the bootstrap address and run until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with running_broker() as broker:
        print(broker.bootstrap, flush=True)  # noqa: T201 - the point of the command
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
