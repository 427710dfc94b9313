"""Faults of the bridge's own surroundings: a stopped process, a clock that jumps, sinks that flap, a bad disk.

Everything random comes from the seed in the test's name.
"""

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from tests.faults.soak import Victim
from tests.support.jobs import NEVER, key
from tests.support.process import bridges, simulated, until
from tests.support.rig import Rig
from tests.support.scene import set_up, settled
from tests.support.source import FakeSink, FakeSource, ScriptedJob
from tests.support.truth import check_everything

HOUR = 3600.0
LAST = 1500.0
OVER = {"awx.job.successful", "awx.job.failed"}
SINKS = 20
STORM = ("--scenario", "storm", "--jobs", 16, "--events", 6000, "--jitter", 1, "--speed", 2)
STANDSTILL = 12.0
"""Seconds; brokers look every 10 s for transactions to end, by default: one of 1 s is over by then."""


def some_jobs(seed):
    """Jobs whose rows come out of order, late, and not at all."""
    rng = random.Random(seed)
    jobs = []
    for number in range(1, 7):
        begins = rng.uniform(0, 60)
        rows = {counter: begins + counter * 0.5 + rng.uniform(0, 4) for counter in range(1, 61)}
        rows[rng.randint(2, 59)] += 25.0
        if number % 2:
            rows[rng.randint(2, 59)] = NEVER
        ends = begins + 45.0
        statuses = ((begins, "running"), (ends, rng.choice(["successful", "failed"])))
        jobs.append(ScriptedJob(key(number), appears=begins, statuses=statuses, rows=rows))
    return jobs


@pytest.mark.timeout(120)
async def test_stopped_for_longer_than_a_transaction_lasts(tmp_path, kafka_broker):
    """The process stands still with a transaction begun, as a machine that is suspended does."""
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *STORM) as awx:
        config = scene.write(awx, sinks={"events": {"transaction_timeout": "1s"}})
        jobs = (await awx.truth())["jobs"]
        note = tmp_path / "stopped-at"
        bridge = Victim(tmp_path, config, note, point="kafka.sent", at=15, by=signal.SIGSTOP)
        try:
            await until(note.exists, within=30, what="a stop inside a transaction")
            await asyncio.sleep(STANDSTILL)
            assert state_of(bridge.pid) == "T"
            bridge.signal(signal.SIGCONT)
            await scene.idle(bridge, jobs, within=60)
            assert await bridge.stop() == 0
        finally:
            bridge.kill()
        truth = await settled(awx)
        told = await scene.told()
    check_everything(told, truth)
    assert '"sink.failing"' in bridge.errors()


def state_of(pid):
    """Return the letter that Linux has for what a process does; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


async def through(seed, *, jumps=(), sinks=None):
    """Let the jobs of `seed` run; `jumps` are (loop time, skew of the wall clock from then on)."""
    rig = Rig(FakeSource("prod", *some_jobs(seed)), sinks=sinks, close_wait=60)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for job in rig.source.jobs.values():
        job.appears += begun
        job.statuses = tuple((at + begun, status) for at, status in job.statuses)
        job.rows = {counter: at + begun for counter, at in job.rows.items()}
    async with rig.run() as bridge:
        for at, skew in jumps:
            await asyncio.sleep(begun + at - loop.time())
            rig.clock.skew = skew
        await asyncio.sleep(begun + LAST - loop.time())
        assert bridge.parked == {}
    return rig


def outcome(rig):
    """Return what reached the sink and what is remembered, without the moments of it."""
    sink = rig.sinks["all"]
    receipts = [event.read() for event in sink.events if event.type in OVER]
    return {
        "ids": by_job(sink.ids),
        "late": sorted(event.id for event in sink.events if event.late),
        "receipts": sorted((r["id"], r["complete"], *r["events_missing"]) for r in receipts),
        "marks": rig.state.sources["prod"].marks,
        "done": {job: record.done for job, record in rig.state.jobs.items()},
        "own": [i for i in sink.ids if "/job/" not in i],
    }


def by_job(ids):
    """Sort ids by job, each in the order of arrival."""
    jobs = {}
    for one in ids:
        jobs.setdefault("/".join(one.split("/")[:3]), []).append(one)
    return jobs


@pytest.mark.looptime
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_clock_that_jumps_an_hour_changes_nothing(seed):
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0, 150) for _ in range(8))
    jumps = [(at, rng.choice([-HOUR, 0.0, HOUR])) for at in moments]
    usual = outcome(await through(seed))
    assert usual["late"]
    assert {len(receipt) for receipt in usual["receipts"]} == {2, 3}
    assert all(usual["done"].values())
    assert outcome(await through(seed, jumps=jumps)) == usual


class Flapping(FakeSink):
    """Fails by the seed: for a while in many ways, and for good with the `poison` among its events."""

    def __init__(self, seed, number):
        super().__init__(self._fail)
        self._rng = random.Random(f"{seed} {number}")
        self._until_refused = self._rng.randint(5, 60)
        self._poison = f"{seed} {number}"
        self.failed = {"temporary": 0, "refused": 0, "permanent": 0}

    def poisonous(self, event_id):
        return random.Random(f"{self._poison} {event_id}").random() < 0.02

    def _fail(self, events):
        chance = self._rng.random()
        self._until_refused -= 1
        if self._until_refused == 0 or chance < 0.005:
            self.failed["refused"] += 1
            raise SinkRefusedError("HTTP 401")
        if chance < 0.2:
            self.failed["temporary"] += 1
            raise TemporaryDeliveryError("HTTP 503", retry_after=self._rng.choice([None, 5.0]))
        if any(self.poisonous(event.id) for event in events):
            self.failed["permanent"] += 1
            raise PermanentDeliveryError("HTTP 400")


class Timed(FakeSink):
    """Notes when each event came."""

    def __init__(self):
        super().__init__(self._note)
        self.times = {}

    def _note(self, events):
        now = asyncio.get_running_loop().time()
        self.times |= {event.id: now for event in events}


@pytest.mark.looptime
@pytest.mark.parametrize("seed", [1, 2])
async def test_twenty_sinks_that_flap_and_nobody_waits_for_another(seed):
    alone = (await through(seed, sinks={"all": Timed()})).sinks["all"]
    origin = asyncio.get_running_loop().time()
    flapping = {f"flapping-{number}": Flapping(seed, number) for number in range(SINKS)}
    rig = await through(seed, sinks={"all": Timed(), **flapping})
    calm = rig.sinks["all"]

    everything = by_job(i for i in alone.ids if "/job/" in i)
    assert by_job(i for i in calm.ids if "/job/" in i) == everything
    waited = {i: at - origin - alone.times[i] for i, at in calm.times.items() if i in alone.times}
    assert max(waited.values()) < 1.0, "the calm sink waited for one that flaps"
    for name, sink in flapping.items():
        assert all(sink.failed.values()), f"{name} did not fail in every way: {sink.failed}"
        dead = {event_id for at, event_id in rig.state.letters if at == name}
        assert dead, f"{name} has no dead letter"
        assert all(sink.poisonous(event_id) for event_id in dead)
        wanted = {job: kept for job, ids in everything.items() if (kept := [i for i in ids if i not in dead])}
        assert by_job(i for i in sink.ids if "/job/" in i) == wanted, name


def below_a_file(folder):
    (folder / "file").write_text("no folder")
    return folder / "file" / "state"


def where_nothing_can_be_made(_folder):
    return Path("/proc/awx-bridge")


@pytest.mark.parametrize("place", [below_a_file, where_nothing_can_be_made])
async def test_a_folder_for_state_that_takes_no_file(tmp_path, place):
    """Both refuse root too, so that this never has to be skipped."""
    state = place(tmp_path) / "bridge.db"
    config = tmp_path / "bridge.yaml"
    text = {
        "sources": {"prod": {"url": "http://127.0.0.1:1", "token": "t"}},
        "sinks": {"out": {"type": "file", "path": str(tmp_path / "out.jsonl")}},
        "routes": [{"to": "out"}],
        "state": {"path": str(state)},
        "server": {"listen": None},
    }
    config.write_text(json.dumps(text))
    with bridges(tmp_path) as start:
        bridge = start(config)
        assert await bridge.ends(within=20) == 74
    assert str(state) in bridge.errors()
    assert "Traceback" not in bridge.errors()
