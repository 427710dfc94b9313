"""Whether a topic is there, how large its records may be, and how a missing one is made.

Asked once per topic and producer, over the producer's own connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from bridge.errors import SinkRefusedError
from bridge.sinks.kafka.errors import CLIENT_ERRORS, translate
from bridge.sinks.kafka.options import KafkaOptions

DEFAULT_MAX_BYTES: Final = 1_000_000
"""Assumed where the cluster does not tell: a little below Kafka's default of 1,048,588."""

_TOPIC_RESOURCE: Final = 2
_THERE: Final = (NoError, LeaderNotAvailableError)
_FORBIDDEN: Final = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)


class Topic(NamedTuple):
    """A topic that can be written: its partitions in order, and the largest record batch in bytes."""

    name: str
    partitions: tuple[int, ...]
    max_bytes: int


APPENDED: Final = {"message.timestamp.type": "LogAppendTime"}
"""Retention counts from when the bridge wrote: an old job's events must not vanish once they are there."""


class Making(NamedTuple):
    """How a topic is made where there is none."""

    partitions: int
    config: Mapping[str, str]


class Topics:
    """What is known of the topics of one sink."""

    def __init__(self, options: KafkaOptions, making: Making | None = None) -> None:
        """Nothing is asked before `find`; `making` if not as the options say."""
        self._options = options
        self._making = making or Making(options.partitions, {**APPENDED, **options.topic_config})
        self._max_bytes: dict[str, int] = {}

    def forget(self) -> None:
        """Ask again: the producer is new, so much may have changed."""
        self._max_bytes.clear()

    async def find(self, producer: Any, name: str) -> Topic:
        """Return the topic, made if need be. It has no deadline of its own.

        Raises:
            TemporaryDeliveryError: the cluster does not answer, or not yet.
            SinkRefusedError: the topic is not there and cannot be made, or may not be used.
        """
        try:
            if name not in self._max_bytes:
                await self._ensure(producer.client, name)
            numbers = await producer.partitions_for(name)  # waits until a new topic shows
            if name not in self._max_bytes:
                limit = await ask_config(producer.client, name, "max.message.bytes")
                self._max_bytes[name] = DEFAULT_MAX_BYTES if limit is None else int(limit)
        except CLIENT_ERRORS as err:
            raise translate(err, f"asking for topic {name}") from err
        return Topic(name, tuple(sorted(numbers)), self._max_bytes[name])

    async def _ensure(self, client: Any, name: str) -> None:
        if await is_there(client, name):
            return
        if not self._options.create_topics:
            raise SinkRefusedError(
                f"topic {name} does not exist and create_topics is off: "
                "make the topic, or set create_topics: true"
            )
        await self._create(client, name)

    async def _create(self, client: Any, name: str) -> None:
        options, making = self._options, self._making
        config = list(making.config.items())
        wanted: Any = (name, making.partitions, options.replication_factor, [], config)
        request = CreateTopicsRequest([wanted], int(options.request_timeout * 1000), validate_only=False)
        response = await client.send(_controller(client), request)
        _, code, *message = response.topic_errors[0]
        error = for_code(code)
        if error in (NoError, TopicAlreadyExistsError):
            return
        if error in _FORBIDDEN:
            raise SinkRefusedError(
                f"topic {name} does not exist and we may not make it: make the topic, or allow Create on it"
            )
        raise error(f"topic {name} cannot be made: {message[0] if message and message[0] else ''}")


async def is_there(client: Any, name: str) -> bool:
    """Ask whether a topic exists, without making the broker create it; raises what aiokafka does."""
    response = await client.send(_any_node(client), MetadataRequest([name], allow_auto_topic_creation=False))
    answer = for_code(response.topics[0][0])
    if answer not in {*_THERE, UnknownTopicOrPartitionError}:
        raise answer(name)
    return answer in _THERE


async def ask_config(client: Any, name: str, key: str) -> str | None:
    """Ask how a topic is configured; None for who may not know (DescribeConfigs)."""
    request = DescribeConfigsRequest([(_TOPIC_RESOURCE, name, [key])])
    response = await client.send(_any_node(client), request)
    code, _, _, _, entries = response.resources[0]
    error = for_code(code)
    if error in _FORBIDDEN:
        return None
    if error is not NoError:  # above all, a topic that this broker does not know yet
        raise error(name)
    return next((value for found, value, *_ in entries if found == key), None)


def _any_node(client: Any) -> int:
    node: int | None = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("the cluster names no broker")
    return node


def _controller(client: Any) -> int:
    """Return the broker that makes topics; in KRaft any broker passes the request on."""
    controller = client.cluster.controller
    return _any_node(client) if controller is None else int(controller.nodeId)
