"""One Kafka node (KRaft, broker and controller) on the loopback interface."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.local.broker_security import BrokerSecurity
from ops.local.cache import Report
from ops.local.errors import LocalStackError
from ops.local.java import find_java
from ops.local.kafka_jars import KAFKA_VERSION, ensure_jars
from ops.local.ports import kept_port

# Small, quick to start and to notice a dead broker; single copies, since there is one node.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}

auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A dead letter holds a record of up to 1 MiB whole, and its headers.
message.max.bytes=2097152
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# An abandoned transaction hides what others write behind it until it is aborted.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# After a kill -9 the broker is let in again when its old session has ended.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300

num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.index.size.max.bytes=1048576
"""

_LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %-5p %c{1} %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
"""

_JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
# What it knows too little of to say: the levels are of its metadata, which only grow from release to release.
_NEWER_DATA = re.compile(r"No MetadataVersion with feature level (\d+)\. Valid feature levels are from \d+ to (\d+)")
_FORMAT_LIMIT_S = 60
_DESCRIBE_CLUSTER = 60


class KafkaPart:
    """A Kafka node whose settings and log segments lie under `directory`.

    `properties` are laid over the node's settings, by their names in server.properties. With `security` it speaks TLS
    alone, and serves nobody whom it was not told of.
    """

    name = "kafka"
    # Measured: 1.2 s; 3.5 s after a kill -9.
    start_limit_s = 60.0

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str] | None = None,
        *,
        security: BrokerSecurity | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._security = security
        self._java_options = tuple(java_options)
        self._properties = directory / "server.properties"
        self._overrides = dict(properties or {})
        self._port = kept_port(directory, "broker")
        self._controller_port = kept_port(directory, "controller")
        self._certificate_port = kept_port(directory, "certificates") if security else None

    @property
    def address(self) -> str:
        """The bootstrap server, `host:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def certificate_address(self) -> str | None:
        """Where a secure node lets in clients with a certificate."""
        return None if self._certificate_port is None else f"127.0.0.1:{self._certificate_port}"

    def prepare(self, report: Report) -> None:
        """Fetch the jars, write the settings, and format the storage if it is new."""
        ensure_jars(report)
        data = self._directory / "data"
        settings = _PROPERTIES.format(port=self._port, controller_port=self._controller_port, data=data)
        secured: Mapping[str, str] = {}
        if self._security is not None and self._certificate_port is not None:
            self._security.prepare()
            secured = self._security.properties(self._port, self._certificate_port, self._controller_port)
        overrides = "".join(f"{name}={value}\n" for name, value in {**secured, **self._overrides}.items())
        self._properties.write_text(settings + overrides)
        (self._directory / "log4j2.properties").write_text(_LOGGING)
        if not (data / "meta.properties").exists():
            self._format()

    def command(self) -> Sequence[str]:
        return [*self._java("kafka.Kafka"), str(self._properties)]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}

    def answers(self) -> bool:
        """Whether the node serves requests and counts itself as alive, so that topics can be placed on it."""
        try:
            if self._security is not None and self._certificate_port is not None:
                return _live_brokers(self._certificate_port, self._security.context()) > 0
            return _live_brokers(self._port) > 0
        except (OSError, struct.error):
            return False

    def cause(self, log: str, /) -> str | None:
        """Says so when the data is another Kafka's, which this one can't read."""
        found = _NEWER_DATA.search(log)
        if found is None:
            return None
        return (
            f"its data in {self._directory / 'data'} was written by a newer Kafka (metadata version {found[1]}) than"
            f" this one ({KAFKA_VERSION}, up to {found[2]}): use the easel that made it, or, to begin anew without what"
            f" it holds, `easel down`, remove {self._directory}, `easel up`, `easel topics`"
        )

    def _java(self, main_class: str) -> list[str]:
        classpath = str(ensure_jars() / "*")
        logging = f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}"
        # The directory marks the process as ours: two stacks have the same command otherwise.
        return [str(find_java().path), *_JVM, *self._java_options, logging, "-cp", classpath, main_class]

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The id must not look like an option.
        cluster_id = cluster_id.replace("-", "A")
        arguments = ["format", "--standalone", "--ignore-formatted", "-t", cluster_id, "-c", str(self._properties)]
        try:
            subprocess.run(
                [*self._java("kafka.tools.StorageTool"), *arguments],
                env=dict(self.environment()),
                check=True,
                capture_output=True,
                text=True,
                timeout=_FORMAT_LIMIT_S,
            )
        except subprocess.CalledProcessError as error:
            raise LocalStackError(f"Kafka's storage could not be formatted:\n{error.stdout}{error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            raise LocalStackError(f"Kafka's storage was not formatted within {_FORMAT_LIMIT_S} s: try again") from error


def _live_brokers(port: int, tls: ssl.SSLContext | None = None) -> int:
    """Ask the node for the live brokers of its cluster (DescribeCluster v0, KIP-700).

    By hand, since a port that opens is not yet a broker that takes part, and a whole client is slow to give up.
    """
    header = struct.pack(">hhih5sB", _DESCRIBE_CLUSTER, 0, 1, 5, b"easel", 0)
    body = b"\x00\x00"  # without authorized operations; no tagged fields
    with contextlib.ExitStack() as opened:
        connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=0.5))
        if tls is not None:
            connection = opened.enter_context(tls.wrap_socket(connection, server_hostname="127.0.0.1"))
        connection.settimeout(0.5)
        connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            answer = stream.read(size)
    # correlation id, tags, throttle time, error code; then two compact strings, each its length + 1 and the text
    _, _, _, error_code = struct.unpack_from(">iBih", answer)
    if error_code != 0:
        return 0
    at = struct.calcsize(">iBih")
    for _ in ("error message", "cluster id"):
        at += 1 + max(answer[at] - 1, 0)
    at += 4  # controller id
    return answer[at] - 1
