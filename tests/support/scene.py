"""A whole set-up for a test of the command: AWX, Kafka, a webhook receiver, Slack, and its file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from simulator.access import TOKEN
from tests.support.kafka import KafkaBroker, read_all
from tests.support.kafka_sink import new_topic
from tests.support.process import Bridge, Simulated, free_port, until
from tests.support.slack import TOKEN as SLACK_TOKEN
from tests.support.slack import FakeSlack, running_slack
from tests.support.truth import SOURCE, Told, key_of, read
from tests.support.webhook import Receiver, running_receiver

SECRET = "whsec_ZTJlLXRlc3Qtc2VjcmV0LW9mLTI0LWJ5dGVzIQ=="
OWN_SECRETS = (TOKEN, SLACK_TOKEN, SECRET)
FAILED = {"type": ["awx.job.failed", "awx.job.error"]}
PARTITIONS = 3


@dataclass
class Scene:
    """What one test has. `write` the configuration before the command is started."""

    folder: Path
    broker: KafkaBroker
    receiver: Receiver
    slack: FakeSlack
    topic: str = field(default_factory=new_topic)
    port: int = field(default_factory=free_port)

    @property
    def state(self) -> Path:
        return self.folder / "state" / "bridge.db"

    @property
    def config(self) -> Path:
        return self.folder / "bridge.yaml"

    def write(
        self,
        awx: Simulated,
        *,
        source: Mapping[str, Any] | None = None,
        sinks: Mapping[str, Mapping[str, Any]] | None = None,
        routes: Iterable[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Path:
        """Write the configuration (JSON is YAML): everything to Kafka, and what `routes` add."""
        usual = {
            "events": {
                "type": "kafka",
                "bootstrap_servers": self.broker.bootstrap,
                "topic": self.topic,
                "partitions": PARTITIONS,
                "topic_config": {"message.timestamp.type": "LogAppendTime"},
            },
            "ops": {"type": "slack", "token": SLACK_TOKEN, "channel": "#ops", "base_url": self.slack.url},
            "cmdb": {"type": "webhook", "url": self.receiver.url, "secret": SECRET},
        }
        text = {
            "name": self.topic,  # Kafka's transactions and places go by it, and the cluster is shared
            "sources": {
                SOURCE: {
                    "url": awx.url,
                    "token": TOKEN,
                    "start": "all",
                    "max_requests": 100,
                    "gap_wait": "2s",
                    "close_wait": "6s",
                    **(source or {}),
                }
            },
            "sinks": {name: {**block, **(sinks or {}).get(name, {})} for name, block in usual.items()},
            "routes": [{"to": "events"}, *routes],
            "state": {"path": str(self.state)},
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "drain_timeout": "10s",
            **more,
        }
        self.config.write_text(json.dumps(text, indent=1))
        return self.config

    async def status(self) -> dict[str, Any] | None:
        """Ask the running bridge how it is; None while it does not answer."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
                session.get(f"http://127.0.0.1:{self.port}/api/v1/status") as answer,
            ):
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def ready(self) -> bool:
        """Whether `/readyz` says so."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(f"http://127.0.0.1:{self.port}/readyz") as answer,
        ):
            assert answer.status in {200, 503}
            return answer.status == 200

    async def idle(self, bridge: Bridge, jobs: Iterable[Mapping[str, Any]], *, within: float) -> None:
        """Wait until all of `jobs` (of the simulator's truth) are over and every sink has them."""
        wanted = {key_of(job) for job in jobs}

        async def check() -> bool:
            assert bridge.code is None, f"ended with {bridge.code}: {bridge.errors()[-3000:]}"
            if not wanted <= self.jobs_over():
                return False
            status = await self.status()
            return status is not None and status["sources"][SOURCE]["jobs_open"] == 0

        try:
            await until(check, within=within, what="every job over and delivered")
        except AssertionError as err:
            left = sorted(wanted - self.jobs_over())[:5]
            raise AssertionError(f"{err}: {left}, {await self.status()}") from err

    def jobs_over(self) -> set[str]:
        """Return the keys of the jobs that state calls done."""
        if not self.state.exists():
            return set()
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as db:
            try:
                rows = db.execute("SELECT source, job_type, job_id FROM jobs WHERE done = 1").fetchall()
            except sqlite3.OperationalError:  # the tables are being made
                return set()
        return {"/".join(map(str, row)) for row in rows}

    def remembered(self) -> bytes:
        """Return every byte of the state file and what belongs to it."""
        return b"".join(path.read_bytes() for path in sorted(self.state.parent.iterdir()))

    def dead_letters(self) -> list[tuple[str, str]]:
        """Return (sink, event id) of every dead letter."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as db:
            return db.execute("SELECT sink, event_id FROM dead_letters ORDER BY seq").fetchall()

    async def told(self) -> list[Told]:
        """Read the whole topic."""
        return read(await read_all(self.broker.bootstrap, self.topic, limit=60))


@contextlib.asynccontextmanager
async def set_up(folder: Path, broker: KafkaBroker, *, limited: bool = False) -> AsyncIterator[Scene]:
    """Serve what the bridge delivers to."""
    async with running_receiver() as receiver, running_slack(FakeSlack(limited=limited)) as slack:
        yield Scene(folder, broker, receiver, slack)


async def settled(awx: Simulated, *, within: float = 60.0) -> dict[str, Any]:
    """Return the truth once nothing changes any more in AWX."""
    truth = await awx.truth()
    if not truth["settled"]:
        assert truth["settles_in"] < within
        await asyncio.sleep(truth["settles_in"] + 0.2)
        truth = await awx.truth()
    assert truth["settled"]
    return truth
