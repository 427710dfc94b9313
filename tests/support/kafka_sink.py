"""Events and opened sinks for the tests of the Kafka sink."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable

from aiokafka import ConsumerRecord

from bridge import encode
from bridge.errors import PartialDeliveryError, TemporaryDeliveryError
from bridge.model import Event, JobKey, Place
from bridge.ports import SinkContext
from bridge.sinks.kafka import KafkaOptions, KafkaSink, TransactionalKafkaSink, open_kafka

_numbers = itertools.count(1)


class WallClock:
    """The machine's time."""

    def now(self) -> float:
        return time.time()


def new_topic(word: str = "events") -> str:
    """Return a name that no other test has."""
    return f"{word}-{time.time_ns()}-{next(_numbers)}"


def make_event(job_id: int = 1, counter: int = 1, *, stdout: str = "ok", **fields: object) -> Event:
    """Make a job event as `normalize` does, with fewer fields."""
    key = JobKey("prod", "job", job_id)
    return encode.to_event(
        {
            "id": encode.event_id(key, counter),
            "type": "awx.event.runner_on_ok",
            "time": "2026-03-01T10:00:00.250000Z",
            "source": "prod",
            "schema_version": "1.0",
            "job_id": job_id,
            "job_type": "job",
            "counter": counter,
            "stdout": stdout,
            **fields,
        },
        key=str(key),
        counter=counter,
    )


def make_events(jobs: int, counters: int, **fields: object) -> list[Event]:
    """Make `counters` events of each of `jobs` jobs, the jobs taking turns."""
    return [
        make_event(job, counter, **fields) for counter in range(1, counters + 1) for job in range(1, jobs + 1)
    ]


def job(number: int) -> JobKey:
    """Return the key of the job whose events `make_event(number)` makes."""
    return JobKey("prod", "job", number)


def places_after(events: Iterable[Event]) -> dict[JobKey, Place]:
    """Return the places of a lane that has settled all events of each job up to these."""
    return {job(int(event.key.rpartition("/")[2])): Place(through=event.counter or 0) for event in events}


def options_for(bootstrap: str, topic: str, **more: object) -> KafkaOptions:
    return KafkaOptions.model_validate(
        {"type": "kafka", "bootstrap_servers": bootstrap, "topic": topic, **more}
    )


@contextlib.asynccontextmanager
async def open_sink(bootstrap: str, topic: str, **more: object) -> AsyncIterator[KafkaSink]:
    """Open a sink as `app` does, one that delivers at least once."""
    context = SinkContext(bridge="bridge", name="events", clock=WallClock())
    options = options_for(bootstrap, topic, delivery="at_least_once", **more)
    async with open_kafka(options, context) as sink:
        assert isinstance(sink, KafkaSink)
        yield sink


@contextlib.asynccontextmanager
async def open_transactional(
    bootstrap: str, topic: str, *, bridge: str | None = None, **more: object
) -> AsyncIterator[TransactionalKafkaSink]:
    """Open a sink that delivers exactly once; those of one `bridge` (default: the topic) are rivals."""
    context = SinkContext(bridge=bridge or topic, name="events", clock=WallClock())
    async with open_kafka(options_for(bootstrap, topic, **more), context) as sink:
        assert isinstance(sink, TransactionalKafkaSink)
        yield sink


async def send_until_accepted(sink: KafkaSink, events: list[Event]) -> int:
    """Send as a lane does, each job's events in order, until all are accepted; return the tries.

    A job's events behind a failed one are sent again, even if they were accepted, as a lane would not
    know better after a crash.
    """
    left = events
    for tries in range(1, 200):
        try:
            await sink.send(left)
        except TemporaryDeliveryError:
            await asyncio.sleep(0.2)
        except PartialDeliveryError as err:
            if not all(isinstance(error, TemporaryDeliveryError) for error in err.errors.values()):
                raise
            left = [left[position] for position in sorted(err.errors)]
            await asyncio.sleep(0.2)
        else:
            return tries
    raise AssertionError("never accepted")


def ids_by_key(records: Iterable[ConsumerRecord]) -> dict[str, list[str]]:
    """Return the events' ids per Kafka key, in the order of the log."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in records:
        found[record.key.decode()].append(dict(record.headers)["ce_id"].decode())
    return dict(found)


def first_sight(ids: Iterable[str]) -> list[str]:
    """Drop repeats, keeping the first of each."""
    return list(dict.fromkeys(ids))
