"""What a Kafka sink's block in the configuration says, and what it means to aiokafka."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from bridge.options import Batching, Duration, Secret, SinkOptions, Size, TlsOptions
from bridge.sinks.kafka.naming import TopicPattern, legal

_SERVER: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\],]+)(?::(?P<port>\d{1,5}))?")
_LAST_PORT: Final = 65535


def _servers(value: object) -> object:
    """Split `a:9092,b:9092`; leave a list as it is."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Servers = Annotated[
    tuple[str, ...],
    BeforeValidator(_servers),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class KafkaOptions(SinkOptions):
    """One Kafka cluster and a topic, or a pattern of topics."""

    type: Literal["kafka"]
    bootstrap_servers: Servers = Field(description="host:port of some brokers: a list, or with commas")
    topic: str = Field(description="a topic, or a pattern of fields fixed per job: awx.{source}.{job_type}")
    delivery: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once", description="exactly once by transactions, for consumers that are read_committed"
    )
    transactional_id: str | None = Field(
        None, min_length=1, description="default: <name of the bridge>.<name of the sink>"
    )
    places_topic: str | None = Field(
        None, description="this sink's own, holds its places; default: <transactional_id>.places"
    )
    transaction_timeout: Duration = Field(
        10.0, ge=1.0, description="after it the brokers end what a writer that is gone had begun"
    )
    content_mode: Literal["binary", "structured"] = Field(
        "binary", description="of CloudEvents: attributes as ce_ headers, or an envelope as the value"
    )
    # lz4: every client library can read it, and it costs the least time where everything is one thread.
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    create_topics: bool = Field(default=True, description="make a topic that does not exist")
    partitions: int = Field(6, ge=1, description="of a topic that is made")
    replication_factor: int = Field(-1, description="of a topic that is made; -1: the broker's default")
    topic_config: dict[str, str] = Field({}, description="of a topic that is made: retention.ms and the like")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    tls: TlsOptions = TlsOptions()
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: Secret | None = None
    sasl_password_file: Path | None = None
    client_id: str | None = Field(None, description="default: <name of the bridge>.<name of the sink>")
    max_event_bytes: Size | None = Field(
        None, description="larger events are cut; default: what the topic's max.message.bytes allows"
    )
    request_timeout: Duration = Field(10.0, ge=0.1, description="for one request to one broker")
    delivery_timeout: Duration = Field(
        30.0, ge=0.2, description="for one batch of events, connecting included; then it is tried anew"
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_servers(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        if not servers:
            raise ValueError("name at least one broker as host:port")
        for server in servers:
            match = _SERVER.fullmatch(server)
            if match is None or not 0 < int(match["port"] or 9092) <= _LAST_PORT:
                raise ValueError(f"{server!r} is no broker: write host:port, without a scheme")
        return servers

    @field_validator("topic")
    @classmethod
    def _check_topic(cls, topic: str) -> str:
        TopicPattern(topic)
        return topic

    @field_validator("places_topic")
    @classmethod
    def _check_places_topic(cls, topic: str | None) -> str | None:
        if topic is not None and legal(topic) != topic:
            raise ValueError("a topic has letters, digits, '.', '_' and '-' only, at most 249")
        return topic

    @field_validator("topic_config", mode="before")
    @classmethod
    def _write_as_kafka_does(cls, config: object) -> object:
        if not isinstance(config, dict):
            return config
        return {name: _as_text(value) for name, value in config.items()}

    @field_validator("replication_factor")
    @classmethod
    def _check_replication(cls, factor: int) -> int:
        if factor != -1 and not 1 <= factor <= 32767:  # noqa: PLR2004 - an int16 of the protocol
            raise ValueError("is the number of copies, or -1 for the broker's default")
        return factor

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        secret = self.sasl_password is not None or self.sasl_password_file is not None
        if self.uses_sasl and not (self.sasl_username and secret):
            raise ValueError(
                f"{self.security_protocol} needs sasl_username and sasl_password (or sasl_password_file)"
            )
        if not self.uses_sasl and (self.sasl_username or secret):
            raise ValueError(
                "sasl_username and sasl_password need security_protocol SASL_PLAINTEXT or SASL_SSL"
            )
        if not self.uses_tls and self.tls != TlsOptions():
            raise ValueError("tls needs security_protocol SSL or SASL_SSL")
        if self.places_topic == self.topic:
            raise ValueError("places_topic holds nothing but places: name another one than topic")
        if self.request_timeout > self.delivery_timeout:
            raise ValueError("request_timeout cannot be longer than delivery_timeout")
        return self

    @property
    def uses_sasl(self) -> bool:
        """Whether the broker asks for a user and a password."""
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def batching(self) -> Batching:
        """Large batches, one at a time: a partition's order would not survive two."""
        return Batching(max_events=1000, max_bytes=4 << 20, in_flight=1)

    @property
    def destination(self) -> str:
        """The cluster, whatever order its brokers are named in, and the topic."""
        return f"kafka {','.join(sorted(self.bootstrap_servers))} {self.topic}"

    def connection(self) -> dict[str, Any]:
        """Return aiokafka's arguments for reaching the cluster; files are read anew at each call.

        Raises:
            OSError: a file cannot be read, or holds no certificate or key (`ssl.SSLError`).
            ValueError: the password's file is no UTF-8.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap_servers),
            "security_protocol": self.security_protocol,
            "request_timeout_ms": int(self.request_timeout * 1000),
        }
        if self.uses_tls:
            arguments["ssl_context"] = self.tls.context()
        if self.uses_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.reveal("sasl_password")
        return arguments


def _as_text(value: object) -> object:
    """Write YAML's booleans and numbers as Kafka's configuration does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value
