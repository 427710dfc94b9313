"""How much memory the bridge takes for a million events, from a simulated AWX into a real Kafka.

Exits with 1 when it ever takes more than the limit, or when Kafka does not hold everything at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
from aiokafka import AIOKafkaConsumer

from simulator.access import TOKEN
from tests.support.kafka import running_broker
from tests.support.process import Bridge, Simulated, bridges, free_port, simulated

LIMIT_MB: Final = 120.0
SAMPLE_EVERY: Final = 0.5
ROWS: Final = 20
TOPIC: Final = "awx.events"
READ_LIMIT: Final = 600.0


class Sample(NamedTuple):
    """One look: seconds since the start, events delivered, resident megabytes (10^6 bytes)."""

    seconds: float
    events: int
    rss: float


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench memory", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--events", type=int, default=5_000, help="of each job")
    parser.add_argument("--live", action="store_true", help="the jobs run now, instead of being finished")
    parser.add_argument("--frozen", type=float, default=0.0, help="seconds without Kafka, beside a file sink")
    parser.add_argument("--max-requests", type=float, default=1_000.0, help="to AWX, per second")
    parser.add_argument("--within", type=float, default=1_800.0, help="seconds that it may take")
    return asyncio.run(_measure(parser.parse_args()))


async def _measure(asked: argparse.Namespace) -> int:
    words = ["--scenario", "bulk", "--jobs", asked.jobs, "--events", asked.events]
    words += ["--live"] if asked.live else []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-memory-")))
        broker = stack.enter_context(running_broker())
        awx = await stack.enter_async_context(simulated(folder, *words))
        port = free_port()
        start = stack.enter_context(bridges(folder))
        bridge = start(_configuration(folder, awx, broker.bootstrap, port=port, asked=asked))
        await bridge.says("bridge.started")
        watching = asyncio.create_task(_watch(bridge, port, asked))
        if asked.frozen:
            with broker.paused():
                await asyncio.sleep(asked.frozen)
        samples = await watching
        code = await bridge.stop()
        complete = code == 0 and await _complete(broker.bootstrap, asked.jobs, asked.events)
    _report(samples)
    most = max(sample.rss for sample in samples)
    print(f"complete: {'yes' if complete else 'NO'}; most memory: {most:.1f} MB of {LIMIT_MB:.0f}")
    return 0 if complete and most < LIMIT_MB else 1


def _configuration(
    folder: Path, awx: Simulated, bootstrap: str, *, port: int, asked: argparse.Namespace
) -> Path:
    source = {"url": awx.url, "token": TOKEN, "start": "all", "max_requests": asked.max_requests}
    sinks: dict[str, Any] = {"events": {"type": "kafka", "bootstrap_servers": bootstrap, "topic": TOPIC}}
    if asked.frozen:
        sinks["archive"] = {"type": "file", "path": str(folder / "events.jsonl"), "fsync": False}
    path = folder / "bridge.yaml"
    text = {
        "name": "bench",
        "sources": {"prod": source},
        "sinks": sinks,
        "routes": [{"to": list(sinks)}],
        "state": {"path": str(folder / "state" / "bridge.db")},
        "server": {"listen": f"127.0.0.1:{port}"},
    }
    path.write_text(json.dumps(text))
    return path


async def _watch(bridge: Bridge, port: int, asked: argparse.Namespace) -> list[Sample]:
    """Sample until every job is closed and delivered."""
    samples: list[Sample] = []
    begun = time.monotonic()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        while True:
            if bridge.code is not None:
                raise SystemExit(f"the bridge ended with {bridge.code}: {bridge.errors()[-3000:]}")
            seconds = time.monotonic() - begun
            samples.append(Sample(seconds, await _delivered(session), _resident(bridge.pid)))
            closed = len(bridge.said("job.closed")) + len(bridge.said("job.closed_incomplete"))
            if (closed >= asked.jobs and await _jobs_open(session) == 0) or seconds > asked.within:
                return samples
            await asyncio.sleep(SAMPLE_EVERY)


async def _delivered(session: aiohttp.ClientSession) -> int:
    async with session.get("/metrics") as answer:
        page = await answer.text()
    name = 'awx_bridge_events_delivered_total{sink="events"} '
    return int(next((float(line[len(name) :]) for line in page.splitlines() if line.startswith(name)), 0.0))


async def _jobs_open(session: aiohttp.ClientSession) -> int:
    async with session.get("/api/v1/status") as answer:
        status: dict[str, Any] = await answer.json()
    return int(status["sources"]["prod"]["jobs_open"])


def _resident(pid: int) -> float:
    """Return the resident memory of a process in megabytes (Linux: /proc/PID/status, VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"process {pid} has no memory")


async def _complete(bootstrap: str, jobs: int, events: int) -> bool:
    """Whether the topic holds each event of each job once, and each job's receipt calls it complete."""
    counters: dict[str, set[int]] = {}
    records = receipts = 0
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        async with asyncio.timeout(READ_LIMIT):
            while [one for one, end in ends.items() if await consumer.position(one) < end]:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for record in batch:
                        _, _, job, kind, what = dict(record.headers)["ce_id"].decode().split("/")
                        if kind == "event":
                            records += 1
                            counters.setdefault(job, set()).add(int(what))
                        elif what == "successful":
                            receipts += json.loads(record.value)["complete"] is True
    finally:
        await consumer.stop()
    distinct = sum(map(len, counters.values()))
    print(f"in Kafka: {records:,} events of {len(counters)} jobs, {distinct:,} distinct; {receipts} complete")
    return (records, distinct, receipts) == (jobs * events, jobs * events, jobs)


def _report(samples: Sequence[Sample]) -> None:
    print(f"{'events':>12}{'seconds':>10}{'events/s':>10}{'RSS, MB':>10}")
    step = max(1, len(samples) // ROWS)
    shown = [*samples[::step], samples[-1]]
    for before, now in zip([samples[0], *shown], shown, strict=False):
        took = now.seconds - before.seconds
        rate = (now.events - before.events) / took if took else 0.0
        print(f"{now.events:>12,}{now.seconds:>10.1f}{rate:>10,.0f}{now.rss:>10.1f}")
    rss = [sample.rss for sample in samples]
    half = [sample for sample in samples if sample.events >= samples[-1].events / 2]
    print(f"RSS: min {min(rss):.1f}, median {statistics.median(rss):.1f}, max {max(rss):.1f} MB")
    print(f"slope over the last half: {_slope(half):+.2f} MB per 100,000 events")


def _slope(samples: Sequence[Sample]) -> float:
    """Return the least-squares slope of memory over events, in megabytes per 100,000 events."""
    if len({sample.events for sample in samples}) < 2:  # noqa: PLR2004 - a line has two points
        return 0.0
    fit = statistics.linear_regression([s.events for s in samples], [s.rss for s in samples])
    return fit.slope * 100_000


if __name__ == "__main__":
    sys.exit(main())
