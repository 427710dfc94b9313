"""The baseline: reads the same pages, and sends the same facts by a bare transactional producer.

No places, no redaction, no routes, no order of release: what any loop over AWX's pages and aiokafka
could reach at best. `python -m bench.bare URL BOOTSTRAP TOPIC JOBS LIMIT PER_TRANSACTION`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import aiohttp
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from simulator.access import TOKEN

READERS = 2
"""Requests to AWX at a time, as many as the bridge has for catching up."""


class Row(msgspec.Struct):
    """What is read of a row; the rest goes on as it came."""

    counter: int
    event: str
    created: str
    uuid: str
    stdout: str
    event_data: msgspec.Raw
    host_name: str = ""
    play: str = ""
    task: str = ""
    role: str = ""
    failed: bool = False
    changed: bool = False
    start_line: int = 0
    end_line: int = 0
    verbosity: int = 0


class Page(msgspec.Struct):
    """One page of an event list."""

    results: list[Row]


Queue = asyncio.Queue[tuple[int, list[Row]] | None]


async def read(session: aiohttp.ClientSession, jobs: asyncio.Queue[int], rows: Queue, *, limit: int) -> None:
    """Read job after job, page after page."""
    decoder = msgspec.json.Decoder(Page)
    while not jobs.empty():
        job = jobs.get_nowait()
        after = 0
        while True:
            query = {
                "counter__gt": str(after),
                "order_by": "counter",
                "limit": str(limit),
                "no_truncate": "1",
            }
            async with session.get(f"/api/v2/jobs/{job}/job_events/", params=query) as answer:
                page = decoder.decode(await answer.read()).results
            if page:
                await rows.put((job, page))
                after = page[-1].counter
            if len(page) < limit:
                break


def record(job: int, row: Row) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return key, value and headers: as flat and as large as the bridge's."""
    name = f"prod/job/{job}/event/{row.counter}"
    fields = {
        "id": name,
        "type": f"awx.event.{row.event}",
        "time": row.created,
        "source": "prod",
        "schema_version": "1.0",
        "job_id": job,
        "job_type": "job",
        "job_name": "bulk",
        "job_status": "successful",
        "job_url": f"http://127.0.0.1/#/jobs/playbook/{job}/output",
        "template": "bulk",
        "template_id": 40,
        "inventory": "Web and databases",
        "project": "Platform playbooks",
        "organization": "Platform",
        "launch_type": "manual",
        "launched_by": "admin",
        "labels": [],
        "job_limit": "",
        "workflow_job_id": None,
        **msgspec.structs.asdict(row),
    }
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", name.encode()),
        ("ce_source", b"prod"),
        ("ce_type", fields["type"].encode()),
        ("ce_time", row.created.encode()),
        ("content-type", b"application/json"),
    ]
    return f"prod/job/{job}".encode(), msgspec.json.encode(fields), headers


async def send(producer: AIOKafkaProducer, topic: str, rows: Queue, *, per_transaction: int) -> None:
    """Send what was read, in transactions, until None comes."""
    parts = sorted(await producer.partitions_for(topic))
    choose = DefaultPartitioner()
    left: list[tuple[int, Row]] = []
    while (page := await rows.get()) is not None:
        left += [(page[0], row) for row in page[1]]
        while len(left) >= per_transaction:
            await transact(producer, topic, left[:per_transaction], parts=parts, choose=choose)
            del left[:per_transaction]
    if left:
        await transact(producer, topic, left, parts=parts, choose=choose)


async def transact(
    producer: AIOKafkaProducer,
    topic: str,
    rows: list[tuple[int, Row]],
    *,
    parts: list[int],
    choose: DefaultPartitioner,
) -> None:
    """Send one transaction."""
    by_partition = defaultdict(list)
    for job, row in rows:
        made = record(job, row)
        by_partition[choose(made[0], parts, parts)].append(made)
    await producer.begin_transaction()
    sent = []
    for partition, records in by_partition.items():
        builder = producer.create_batch()
        for key, value, headers in records:
            if builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
                builder.close()
                sent.append(await producer.send_batch(builder, topic, partition=partition))
                builder = producer.create_batch()
                builder.append(key=key, value=value, timestamp=None, headers=headers)
        builder.close()
        sent.append(await producer.send_batch(builder, topic, partition=partition))
    await asyncio.gather(*sent)
    await producer.commit_transaction()


async def main(url: str, bootstrap: str, topic: str, *, jobs: int, limit: int, per_transaction: int) -> None:
    """Move everything once."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    for job in range(1, jobs + 1):
        queue.put_nowait(job)
    rows: Queue = asyncio.Queue(4)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id="bare",
        max_batch_size=900_000,
        compression_type="lz4",
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    await producer.start()
    async with aiohttp.ClientSession(url, headers=headers) as session, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send(producer, topic, rows, per_transaction=per_transaction))
        async with asyncio.TaskGroup() as readers:
            for _ in range(READERS):
                readers.create_task(read(session, queue, rows, limit=limit))
        await rows.put(None)
        await sending
    await producer.stop()


if __name__ == "__main__":
    import uvloop

    words = sys.argv[1:]
    sizes = {"jobs": int(words[3]), "limit": int(words[4]), "per_transaction": int(words[5])}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*words[:3], **sizes))
