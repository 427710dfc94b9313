"""Input that nobody wants, given to the command as a process: huge pages, torn rows, a disk that is full."""

import json
import resource
import sqlite3
from contextlib import closing

import pytest

from simulator.access import TOKEN
from tests.support.process import bridges, simulated, until
from tests.support.scene import settled
from tests.support.truth import SOURCE, check_schema, key_of
from tests.support.webhook import running_receiver

pytestmark = pytest.mark.timeout(180)

ROOM = 128 * 1024
"""Bytes that each file may still grow by once the disk is all but full."""


def write(folder, awx, *, sink=None, **more):
    """Write a configuration with one sink, a file, for everything; `more` replaces parts of the source."""
    file = {"type": "file", "path": str(folder / "out.jsonl")}
    source = {"url": awx.url, "token": TOKEN, "start": "all", "max_requests": 100, "gap_wait": "2s"}
    text = {
        "sources": {SOURCE: {**source, "close_wait": "6s", **more}},
        "sinks": {"out": {"fields": {"exclude": ["event_data"]}, **(sink or file)}},
        "routes": [{"to": "out"}],
        "state": {"path": str(folder / "bridge.db")},
        "server": {"listen": None},
    }
    path = folder / "bridge.yaml"
    path.write_text(json.dumps(text))
    return path


def lines(folder):
    file = folder / "out.jsonl"
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def ends(folder):
    return {f"{line['job_type']}/{line['job_id']}" for line in lines(folder) if line.get("terminal")}


async def over(folder, awx, bridge, *, name, within=60):
    """Wait for the end of the job called `name`; return what AWX knows of it."""
    [job] = [job for job in (await awx.truth())["jobs"] if job["name"] == name]

    def check():
        assert bridge.code is None, bridge.errors()[-3000:]
        return f"{job['type']}/{job['id']}" in ends(folder)

    await until(check, within=within, what="the end of the job")
    [job] = [job for job in (await awx.truth())["jobs"] if job["name"] == name]
    return job


async def test_an_event_larger_than_any_page_is_missing_and_all_others_arrive(tmp_path):
    async with simulated(tmp_path, "--scenario", "heavy") as awx:
        config = write(tmp_path, awx, gap_wait="1s", close_wait="2s")
        with bridges(tmp_path) as start:
            bridge = start(config)
            job = await over(tmp_path, awx, bridge, name="heavy")
            said = await bridge.says("event.unreadable")
            assert await bridge.stop() == 0
    told = lines(tmp_path)
    receipt = next(line for line in told if line.get("terminal"))
    [lost] = receipt["events_missing"]
    counters = [line["counter"] for line in told if "counter" in line]
    assert counters == [n for n in range(1, job["emitted_events"] + 1) if n != lost]
    assert (receipt["complete"], receipt["events_total"]) == (False, job["emitted_events"])
    assert (said["level"], said["counter"]) == ("warning", lost)
    assert len(bridge.said("event.unreadable")) == 1
    [missing] = [line for line in told if line["type"] == "bridge.events.missing"]
    assert missing["events_missing"] == [lost]


async def test_a_row_that_is_torn_is_delivered_as_far_as_it_can_be_read(tmp_path):
    async with simulated(tmp_path, "--scenario", "odd", "--speed", 3) as awx:
        with bridges(tmp_path) as start:
            bridge = start(write(tmp_path, awx))
            job = await over(tmp_path, awx, bridge, name="garbled-row")
            assert await bridge.stop() == 0
    told = lines(tmp_path)
    [torn] = [line for line in told if line.get("malformed")]
    assert (torn["job_id"], torn["counter"]) == (job["id"], 12)
    assert torn["stdout"]
    of_job = [line["counter"] for line in told if line["job_id"] == job["id"] and "counter" in line]
    assert of_job == list(range(1, 24))
    check_schema({**line, "event_data": {}} if "counter" in line else line for line in told)


def fill_the_disk(bridge, folder):
    """Let no file of this process grow by more than `ROOM`: what a full disk does to a commit."""
    largest = max(path.stat().st_size for path in folder.iterdir() if path.is_file())
    resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (largest + ROOM, resource.RLIM_INFINITY))


def places(state):
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return db.execute("SELECT count(*) FROM places").fetchone()[0]


async def test_a_full_disk_ends_it_and_what_is_there_stays(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    storm = ("--scenario", "storm", "--jobs", 8, "--events", 3000, "--speed", 3)
    async with running_receiver() as receiver, simulated(logs, *storm) as awx:
        config = write(tmp_path, awx, sink={"type": "webhook", "url": receiver.url, "in_flight": 32})
        with bridges(logs) as start:
            bridge = start(config)
            await bridge.says("job.discovered", count=3)
            fill_the_disk(bridge, tmp_path)
            assert await bridge.ends(within=60) == 74
            *_, last = bridge.errors().splitlines()
            assert last.startswith(f"state file {tmp_path / 'bridge.db'}")
            assert "Traceback" not in bridge.errors()
            assert places(tmp_path / "bridge.db") > 0
            again = start(config)
            wanted = {
                f"{key_of(job)}/event/{counter}"
                for job in (await settled(awx))["jobs"]
                for low, high in job.get("readable") or []
                for counter in range(low, high + 1)
            }
            await until(lambda: wanted <= ids(receiver), within=60, what="every event")
            assert await again.stop() == 0


def ids(receiver):
    return {got.headers["webhook-id"] for got in receiver.received}
