"""How fast the bridge catches up into Kafka exactly once, as a ratio to a bare transactional producer.

Both read the same pages of one simulated AWX and write to one Kafka, in turn, several times in one
run; a rate is events over the time between a topic's first and last record. Exits with 1 below the
least ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from simulator.access import TOKEN
from tests.support.kafka import KafkaBroker, read_all, running_broker
from tests.support.process import Process, Simulated, bridges, simulated

LEAST: Final = 0.40
PER_TRANSACTION: Final = 1_000
LIMIT: Final = 1_000
PARTITIONS: Final = 6


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench catch_up", description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--events", type=int, default=5_000, help="of each job")
    parser.add_argument("--turns", type=int, default=3)
    return asyncio.run(_measure(parser.parse_args()))


async def _measure(asked: argparse.Namespace) -> int:
    words = ["--scenario", "bulk", "--jobs", asked.jobs, "--events", asked.events]
    ratios = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-catch-up-")))
        broker = stack.enter_context(running_broker())
        awx = await stack.enter_async_context(simulated(folder, *words))
        for turn in range(asked.turns):
            bridge = await _bridge(folder, awx, broker, name=f"bridge-{turn}", asked=asked)
            bare = await _bare(folder, awx, broker, name=f"bare-{turn}", asked=asked)
            ratios.append(bridge / bare)
            print(f"turn {turn + 1}: bridge {bridge:,.0f}/s, bare {bare:,.0f}/s, ratio {bridge / bare:.2f}")
    median = statistics.median(ratios)
    print(f"ratio: min {min(ratios):.2f}, median {median:.2f}, max {max(ratios):.2f}; at least {LEAST:.2f}")
    return 0 if median >= LEAST else 1


async def _bridge(
    folder: Path, awx: Simulated, broker: KafkaBroker, *, name: str, asked: argparse.Namespace
) -> float:
    path = folder / f"{name}.yaml"
    sink = {"type": "kafka", "bootstrap_servers": broker.bootstrap, "topic": name, "partitions": PARTITIONS}
    sink["topic_config"] = {"message.timestamp.type": "LogAppendTime"}
    source: dict[str, Any] = {"url": awx.url, "token": TOKEN, "start": "all", "jobs": {"types": ["job"]}}
    text = {
        "name": name,
        "sources": {"prod": source | {"max_requests": 1_000, "page_limit": LIMIT}},
        "sinks": {"events": sink},
        "routes": [{"to": "events"}],
        "state": {"path": str(folder / name / "bridge.db")},
        "server": {"listen": None},
    }
    path.write_text(json.dumps(text))
    with bridges(folder) as start:
        process = start(path)
        await process.says("job.closed", count=asked.jobs, within=600)
        await asyncio.sleep(2)
        await process.stop()
    return await _rate(broker, name, asked.jobs * asked.events)


async def _bare(
    folder: Path, awx: Simulated, broker: KafkaBroker, *, name: str, asked: argparse.Namespace
) -> float:
    await broker_topic(broker, name)
    words = (awx.url, broker.bootstrap, name, asked.jobs, LIMIT, PER_TRANSACTION)
    process = Process(folder, name, "-m", "bench.bare", *words)
    if await process.ends(within=600):
        raise SystemExit(process.errors()[-3000:])
    return await _rate(broker, name, asked.jobs * asked.events)


async def broker_topic(broker: KafkaBroker, name: str) -> None:
    """Make a topic like the bridge's."""
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # noqa: PLC0415 - only here

    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    config = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=config)])
    await admin.close()


async def _rate(broker: KafkaBroker, topic: str, events: int) -> float:
    """Return events per second between the first and the last event in `topic`."""
    records = await read_all(broker.bootstrap, topic, limit=120)
    moments = [one.timestamp for one in records if b"/event/" in dict(one.headers)["ce_id"]]
    if len(moments) != events:
        raise SystemExit(f"{topic} holds {len(moments)} events of {events}")
    return events / ((max(moments) - min(moments)) / 1000)


if __name__ == "__main__":
    sys.exit(main())
