"""From events to record batches: keys, headers, sizes and partitions.

Pure but for aiokafka's batch builders, which do no I/O: the order of the events is the order of the
records of a partition, and a batch never exceeds what the topic takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiokafka.partitioner import DefaultPartitioner

from bridge import encode
from bridge.errors import PermanentDeliveryError
from bridge.model import Event
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.session import MAX_BATCH

Headers = list[tuple[str, bytes]]

BINARY: Final = b"application/json"
STRUCTURED: Final = b"application/cloudevents+json; charset=UTF-8"

_BATCH_OVERHEAD: Final = 61
"""Bytes of a record batch before its first record (Kafka's message format v2)."""

_RECORD_OVERHEAD: Final = 31
"""At most: length, attributes, timestamp, offset, and the lengths of key and value and headers."""

_HEADER_OVERHEAD: Final = 10

_partition_of: Final = DefaultPartitioner()


class Record(NamedTuple):
    """One event, or one record of the sink's own, as Kafka takes it.

    `position` is its place in the lane's batch, `timestamp` in milliseconds, `size` the bytes that it
    takes at most in a record batch. Without a value it is a tombstone.
    """

    position: int
    key: bytes
    value: bytes | None
    headers: Headers
    timestamp: int
    size: int


class Limits(NamedTuple):
    """What one batch may be: bytes, and records."""

    max_bytes: int
    max_records: int


class Batch(NamedTuple):
    """A filled builder, to be sent once and never again, and the positions of its events."""

    builder: Any
    positions: tuple[int, ...]


def to_record(position: int, event: Event, options: KafkaOptions, *, max_bytes: int, now: float) -> Record:
    """Return the record of `event` in a batch of at most `max_bytes`; `now` in epoch seconds.

    Raises:
        PermanentDeliveryError: it does not fit, even when cut.
    """
    key = event.key.encode()
    headers = _headers(event, binary=options.content_mode == "binary")
    frame = _frame(key, headers)
    room = max_bytes - _BATCH_OVERHEAD - frame
    if options.max_event_bytes is not None:
        room = min(room, options.max_event_bytes)
    if options.content_mode == "structured":
        room -= len(encode.structured(event, b"{}"))
    if room <= 0:
        raise PermanentDeliveryError(f"no event fits into {max_bytes} bytes beside its headers")
    value = encode.shape(event, fields=options.fields, max_bytes=room)
    if options.content_mode == "structured":
        value = encode.structured(event, value)
    return Record(position, key, value, headers, _milliseconds(event.time, now), frame + len(value))


def keyed(key: bytes, value: bytes | None, *, now: float) -> Record:
    """Return a record of the sink's own for a compacted topic; None deletes `key`."""
    size = _frame(key, []) + len(value or b"")
    return Record(0, key, value, [], int(now * 1000), size)


def partition_of(key: bytes, partitions: Sequence[int]) -> int:
    """Return the partition that Java's default partitioner (murmur2) takes; `partitions` ascending."""
    chosen: int = _partition_of(key, partitions, ())
    return chosen


def fill(records: Iterable[Record], new_builder: Callable[[], Any], limits: Limits) -> list[Batch]:
    """Pack one partition's records in order into as few batches as `limits` allow."""
    most_bytes = min(MAX_BATCH, limits.max_bytes)
    batches: list[Batch] = []
    positions: list[int] = []
    builder, size = new_builder(), _BATCH_OVERHEAD
    for record in records:
        full = size + record.size > most_bytes or len(positions) >= limits.max_records
        if positions and (full or not _append(builder, record)):
            batches.append(_closed(builder, positions))
            builder, positions, size = new_builder(), [], _BATCH_OVERHEAD
        if not positions:
            _append(builder, record)  # the first record is always taken
        positions.append(record.position)
        size += record.size
    if positions:
        batches.append(_closed(builder, positions))
    return batches


def _append(builder: Any, record: Record) -> bool:
    """Add a record; False when the builder is full."""
    added = builder.append(
        timestamp=record.timestamp, key=record.key, value=record.value, headers=record.headers
    )
    return added is not None


def _closed(builder: Any, positions: Iterable[int]) -> Batch:
    builder.close()
    return Batch(builder, tuple(positions))


def _headers(event: Event, *, binary: bool) -> Headers:
    """Return the headers of CloudEvents' Kafka binding: in binary mode every attribute is one."""
    attributes = encode.cloudevents(event) if binary else []
    return [
        *((f"ce_{name}", value.encode()) for name, value in attributes),
        ("content-type", BINARY if binary else STRUCTURED),
        ("message_uuid", encode.message_uuid(event.id).encode()),
    ]


def _frame(key: bytes, headers: Headers) -> int:
    return (
        _RECORD_OVERHEAD
        + len(key)
        + sum(len(name) + len(value) + _HEADER_OVERHEAD for name, value in headers)
    )


def _milliseconds(time: str, now: float) -> int:
    """Return the event's time, or `now` where it is none; brokers refuse what lies in the future."""
    latest = int(now * 1000)
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return latest
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = int(moment.timestamp() * 1000)
    return milliseconds if 0 <= milliseconds <= latest else latest
