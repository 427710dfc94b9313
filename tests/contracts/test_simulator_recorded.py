"""Recorded jobs played again: their rows say the same, and counters come when they came."""

from __future__ import annotations

import gzip
import json

import pytest

from simulator import recorded
from simulator.plan import ACTIVE, Act
from simulator.world import World
from tests.support.awx_recordings import FOLDER, needs_recordings

pytestmark = needs_recordings

LABELS = ("w1-one-worker", "w4-910-events-all-readers", "w4-receiver-stopped-22s", "w4-slow-paced-job")
NAMES = tuple(recorded.names(FOLDER)) if FOLDER.is_dir() else ()
MOVED = {"id", "url", "related", "summary_fields", "created", "modified"}


class Hands:
    """A clock that is set by hand."""

    at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


def timeline(label: str) -> list[dict]:
    return lines(f"timeline/{label}.jsonl.gz")


def lines(path: str) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress((FOLDER / path).read_bytes()).splitlines()]


@pytest.mark.parametrize("label", LABELS)
def test_counters_become_readable_when_they_did(label):
    clock = Hands()
    world = World(clock)
    job = world.play(recorded.timeline(FOLDER, label))
    seen: set[int] = set()
    for step in timeline(label):
        if step["src"] != "pg":
            continue
        seen |= set(step["new"])
        now = clock.at + step["t"] + 1e-6
        assert {job.events.log.counters[at] for at in job.events.log.readable(now)} == seen


def test_counters_that_the_stopped_receiver_lost_stay_lost():
    world = World(Hands())
    job = world.play(recorded.timeline(FOLDER, "w4-receiver-stopped-22s"))
    known = job.truth(1e12)
    assert known["lost"] == [[231, 272]]
    assert known["emitted_events"] == 910
    assert not job.finished_processing(1e12)


@pytest.mark.parametrize("label", LABELS)
def test_the_status_moves_as_it_did(label):
    world = World(Hands())
    job = world.play(recorded.timeline(FOLDER, label))
    first = next(step for step in timeline(label) if step["src"] == "job" and step["status"] not in ACTIVE)
    start = job.changes[0].at
    assert job.status(start + first["t"] - 0.001) == "running"
    assert job.status(start + first["t"] + 0.001) == first["status"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_job_played_again_say_what_they_said(name):
    clock = Hands()
    world = World(clock, first_job_id=500)
    job = world.stage([Act(at=0, plan=recorded.plan(FOLDER, name))])[0]
    known = {row["counter"]: row for row in lines(f"events/{name}.jsonl.gz")}
    rows = list(job.rows(1e12))
    assert [row["counter"] for row in rows] == sorted(known)
    for row in rows[:500]:
        was = known[row["counter"]]
        same = set(was) - MOVED - {job.kind}
        assert {field: row[field] for field in same} == {field: was[field] for field in same}
        assert row[job.kind] == 500
        assert set(row) == set(was)


def test_everything_recorded_can_be_played():
    world = World(Hands())
    jobs = world.stage(recorded.everything(FOLDER))
    assert len(jobs) > len(NAMES)
    assert {job.kind for job in jobs} >= {
        "job",
        "project_update",
        "inventory_update",
        "ad_hoc_command",
        "system_job",
    }
