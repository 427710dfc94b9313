"""The recordings of a real AWX, for contract tests; they lie beside the repository and may be absent."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from simulator import recorded
from simulator.job import Job, Node
from simulator.script import COLLECTIONS
from simulator.world import World

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "awx-recordings"
AFTER_THE_LIST = 72
"""Requests up to this number were made while exactly the jobs of recording 019 were there."""

needs_recordings = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings of AWX at {FOLDER}")


@cache
def requests() -> dict[int, dict[str, Any]]:
    """Return every recorded request with its response, by number."""
    found = sorted((FOLDER / "http").glob("*.json")) if FOLDER.is_dir() else []
    return {int(path.name[:3]): json.loads(path.read_text()) for path in found}


def body(number: int) -> Any:
    """Return the JSON of a recorded response."""
    return requests()[number]["response"]["json"]


def early_world(clock) -> World:
    """Make the world of requests 1 to 72: the sixteen jobs of the first list, as they were then."""
    world = World(clock)
    names = _names()
    for row in body(19)["results"]:
        running = row["status"] == "running"
        detail = _details().get(row["id"], {}) | row | {"custom_virtualenv": None}
        if running:
            detail = detail | {"event_processing_finished": False, "host_status_counts": None, "elapsed": 0.0}
        known = row["id"] in names and not running
        world.add(recorded.finished(FOLDER, names[row["id"]], detail) if known else _bare(detail))
    return world


def late_world(clock) -> World:
    """Make the world of the later requests: every job with a recorded detail, as it ended."""
    world = World(clock)
    names = _names()
    details = _details()
    rows = {row["id"]: row for row in body(237)["results"]}
    for job_id in sorted({*names, *details, *rows} - {23}):
        detail = details.get(job_id)
        known = job_id in names
        world.add(
            recorded.finished(FOLDER, names[job_id], detail) if known else _bare(detail or rows[job_id])
        )
    for number in (258, 261):
        for row in body(number)["results"]:
            world.jobs[row["workflow_job"]].nodes.append(Node(row=row))
            if row["job"] is not None:
                world.jobs[row["job"]].workflow = world.jobs[row["workflow_job"]]
    for number in (196, 197, 298):
        job_id = int(requests()[number]["request"]["path"].split("/")[4])
        world.jobs[job_id].notifications = body(number)["results"]
    return world


def _bare(detail: dict[str, Any]) -> Job:
    return Job(id=detail["id"], kind=detail["type"], body=detail)


@cache
def _names() -> dict[int, str]:
    """Return the names of the recorded jobs by id."""
    found = {}
    for name in recorded.names(FOLDER):
        found[json.loads((FOLDER / "events" / f"{name}.job.json").read_text())["id"]] = name
    return found


@cache
def _details() -> dict[int, dict[str, Any]]:
    """Return the last recorded detail of every job."""
    details: dict[int, dict[str, Any]] = {}
    for exchange in requests().values():
        shown = exchange["response"].get("json")
        if isinstance(shown, dict) and shown.get("type") in COLLECTIONS and "job_args" in shown:
            details[shown["id"]] = shown
    return details
