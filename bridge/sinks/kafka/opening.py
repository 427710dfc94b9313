"""Opens the sink that the options ask for; here, and only here, it learns which process it is in."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from bridge.encode import iso
from bridge.errors import ConfigError, Problem
from bridge.ports import SinkContext
from bridge.sinks.kafka.keeping import PlacesTopic
from bridge.sinks.kafka.naming import legal
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.places import Owner
from bridge.sinks.kafka.session import Session, Transactional
from bridge.sinks.kafka.sink import KafkaSink
from bridge.sinks.kafka.transactions import TransactionalKafkaSink


@asynccontextmanager
async def open_kafka(
    options: KafkaOptions, context: SinkContext
) -> AsyncGenerator[KafkaSink | TransactionalKafkaSink]:
    """Open the sink `context.name`; its first use connects, so that Kafka may be down now.

    Raises:
        ConfigError: a certificate, a key or a password's file cannot be used.
    """
    try:
        options.connection()
    except (OSError, ValueError) as err:
        raise ConfigError([Problem(f"sinks.{context.name}", f"a file cannot be used: {err}")]) from err
    client_id = options.client_id or f"{context.bridge}.{context.name}"
    async with AsyncExitStack() as sessions:
        session = Session(options, client_id)
        sessions.push_async_callback(session.close)
        plain = KafkaSink(options, session, context.clock)
        if options.delivery == "at_least_once":
            yield plain
            return
        owner = _this_one(options, context)
        name = options.places_topic or legal(f"{owner.transactional_id}.places")
        session = Session(
            options, client_id, Transactional(owner.transactional_id, options.transaction_timeout)
        )
        sessions.push_async_callback(session.close)
        topic = PlacesTopic(options, name, client_id)
        yield TransactionalKafkaSink(options, session, topic, owner=owner, plain=plain, clock=context.clock)


def _this_one(options: KafkaOptions, context: SinkContext) -> Owner:
    return Owner(
        instance=str(uuid.uuid4()),
        transactional_id=options.transactional_id or f"{context.bridge}.{context.name}",
        bridge=context.bridge,
        host=socket.gethostname(),
        pid=os.getpid(),
        since=iso(context.clock.now()),
    )
