"""What a real AWX 24.6.1 answered, served again: everything of it can be read."""

import json
from collections import Counter

import msgspec
import pytest

from bridge.awx import SourceOptions, open_source
from bridge.awx.rows import job_from
from bridge.errors import SourceDataError, SourceRefused, SourceUnavailable
from bridge.model import JOB_TYPES, Failure, JobKey
from bridge.ports import Purpose
from tests.support.awx_server import (
    RECORDINGS,
    EventRows,
    answer_recorded,
    recorded,
    recorded_events,
    scripted_awx,
)
from tests.support.fakes import FakeClock

HERE = RECORDINGS.is_dir()
pytestmark = pytest.mark.skipif(not HERE, reason=f"no recordings of a real AWX at {RECORDINGS}")

INDEX = json.loads((RECORDINGS / "index.json").read_text(encoding="utf-8"))["http"] if HERE else []
LISTS = {"job": "jobs/{}/job_events/", "ad_hoc_command": "ad_hoc_commands/{}/events/"}
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in (RECORDINGS / "events").glob("*.jsonl.gz"))


@pytest.fixture
async def awx():
    async with scripted_awx() as awx:
        yield awx


def source(awx, **given):
    options = SourceOptions.model_validate({"url": awx.url, "token": "t", "max_requests": 1000, **given})
    return open_source("prod", options, clock=FakeClock())


def serve(awx, number):
    recording = recorded(number)

    async def answer(request):
        return await answer_recorded(request, recording)

    awx.on(recording["request"]["path"], answer)
    return recording["response"].get("json")


def event_list(awx, name):
    """Serve a recorded job's events; returns its key and the rows."""
    rows = recorded_events(name)
    kind = rows[0]["type"].removesuffix("_event")
    key = JobKey("prod", kind, rows[0][kind])
    path = LISTS.get(kind, f"{kind}s/{{}}/events/").format(key.job_id)
    awx.on(f"/api/v2/{path}", EventRows(rows))
    return key, rows


@pytest.mark.parametrize("name", NAMES)
async def test_every_recorded_event_is_read_as_it_is(awx, name):
    key, rows = event_list(awx, name)
    events = []
    async with source(awx, page_limit=1000) as prod:
        while True:
            above = events[-1].counter if events else 0
            page = await prod.events_after(key, above, limit=1000, purpose=Purpose.LIVE)
            events += page.rows
            assert not page.unreadable
            if not page.full:
                break
        assert await prod.event_count(key) == (len(rows), rows[-1]["counter"])
    assert len(events) == len(rows)
    for event, row in zip(events, rows, strict=True):
        assert not event.malformed
        assert msgspec.json.decode(event.event_data) == row["event_data"]
        for field in (
            "counter",
            "event",
            "id",
            "uuid",
            "created",
            "failed",
            "changed",
            "stdout",
            "start_line",
        ):
            assert getattr(event, field) == row[field]
        assert event.host_name == row.get("host_name")
        assert event.parent_uuid == row.get("parent_uuid")


async def test_every_recorded_job_is_read(awx):
    read = Counter()
    for entry in INDEX:
        if entry["method"] != "GET" or entry["status"] != 200 or entry["content_type"] != "application/json":
            continue
        body = recorded(int(entry["file"][5:8]))["response"].get("json")
        rows = body.get("results", [body]) if isinstance(body, dict) else []
        for row in rows:
            if isinstance(row, dict) and row.get("type") in JOB_TYPES and "status" in row:
                job = job_from(row, "prod")
                assert job.key == JobKey("prod", row["type"], row["id"])
                assert (job.created, job.started, job.finished) == (
                    row["created"],
                    row["started"],
                    row["finished"],
                )
                assert job.elapsed == row["elapsed"]
                assert job.name == row["name"]
                read[row["type"]] += 1
    assert set(read) >= {
        "job",
        "workflow_job",
        "project_update",
        "inventory_update",
        "ad_hoc_command",
        "system_job",
    }
    assert read["job"] > 100


async def test_the_unified_list(awx):
    rows = serve(awx, 237)["results"]
    async with source(awx) as prod:
        jobs = await prod.jobs_above("unified_jobs", 0)
        assert prod.rows_unreadable == 0
    assert [job.key.job_id for job in jobs] == [row["id"] for row in rows]
    project = next(job for job in jobs if job.key.job_type == "project_update")
    assert (project.template, project.project, project.launched_by) == ("Git project", "Git project", "admin")
    command = next(job for job in jobs if job.key.job_type == "ad_hoc_command")
    assert (command.name, command.template, command.limit) == ("ping", None, "web")


@pytest.mark.parametrize(("number", "job_id", "workflow"), [(267, 29, 28), (268, 25, 24), (73, 15, None)])
async def test_the_workflow_of_a_job(awx, number, job_id, workflow):
    serve(awx, number)
    async with source(awx) as prod:
        job = await prod.job(JobKey("prod", "job", job_id))
    assert job.workflow_job_id == workflow


async def test_a_job_of_a_workflow_in_full(awx):
    serve(awx, 267)
    async with source(awx) as prod:
        job = await prod.job(JobKey("prod", "job", 29))
    assert (job.template, job.template_id, job.inventory) == ("jt-success", 9, "Twenty hosts")
    assert (job.project, job.organization) == ("Local playbooks", "Recordings")
    assert (job.launch_type, job.launched_by, job.labels) == ("workflow", "admin", ("prod", "team-a"))
    assert (job.status, job.terminal, job.limit, job.extra_vars) == ("successful", True, "", '{"a": 1}')


async def test_a_job_that_was_reaped_says_why(awx):
    body = serve(awx, 307)
    async with source(awx) as prod:
        job = await prod.job(JobKey("prod", "job", body["id"]))
    assert (job.status, job.explanation) == (body["status"], body["job_explanation"])
    assert job.explanation


async def test_identity(awx):
    serve(awx, 3)
    serve(awx, 5)
    async with source(awx) as prod:
        identity = await prod.identify()
    assert (identity.version, identity.install_uuid) == ("24.6.1", "991ded64-ab3f-4a2d-aae7-3c61ca146d7a")


@pytest.mark.parametrize(
    ("name", "number"), [("job-failure", 188), ("job-unreachable", 191), ("job-mixed", 192)]
)
async def test_hosts_equal_awxs_own_summaries(awx, name, number):
    key, _ = event_list(awx, name)
    async with source(awx) as prod:
        hosts = {host.host: host for host in await prod.hosts(key)}
    summaries = recorded(number)["response"]["json"]["results"]
    assert summaries
    for summary in summaries:
        host = hosts[summary["host_name"]]
        for count in ("ok", "changed", "failures", "dark", "skipped", "rescued", "ignored"):
            assert getattr(host, count) == summary[count]


async def test_failures_are_one_for_each_host_and_task_that_failed(awx):
    key, _ = event_list(awx, "job-failure")
    async with source(awx) as prod:
        failures = await prod.failures(key)
    assert failures[0] == Failure(
        host="db04", task="Check the precondition", message="precondition failed on db04", counter=20
    )
    assert len(failures) == 6


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("job-success", []),
        ("job-unreachable", ["Failed to connect to the host via ssh: ssh: connect to host 127.0.0.1 port 9: Connection refused"]),
        ("job-mixed", ["this is rescued"] * 3),
        ("job-syntaxerr", []),
        ("project-update", []),
    ],
)  # fmt: skip
async def test_failures_that_the_playbook_ignores_are_none(awx, name, messages):
    key, _ = event_list(awx, name)
    async with source(awx) as prod:
        assert [failure.message for failure in await prod.failures(key)] == messages


async def test_the_failed_nodes_of_a_workflow(awx):
    serve(awx, 258)
    async with source(awx) as prod:
        failures = await prod.failures(JobKey("prod", "workflow_job", 28))
    assert failures == (Failure(host=None, task="jt-failure", message="job 30 failed", counter=None),)


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (7, SourceRefused, "credentials were not provided"),
        (12, SourceRefused, "You do not have permission"),
        (53, SourceDataError, "no field named 'nosuchfield'"),
        (78, SourceRefused, "No Job matches"),
        (79, SourceUnavailable, "not AWX's own answer"),
        (80, SourceUnavailable, "not AWX's own answer"),
        (81, SourceUnavailable, "redirects are not followed"),
        (82, SourceUnavailable, "text/html instead of JSON"),
        (83, SourceDataError, "Accept header"),
        (99, SourceUnavailable, "text/plain instead of JSON"),
        (157, SourceDataError, "no field named 'nosuch'"),
        (277, SourceRefused, "No Job matches"),
        (278, SourceRefused, "No Job matches"),
        (302, SourceRefused, "credentials were not provided"),
        (309, SourceUnavailable, "HTTP 502"),
        (311, SourceUnavailable, "HTTP 500"),
        (312, SourceUnavailable, "HTTP 500"),
        (313, SourceUnavailable, "HTTP 500"),
        (315, SourceUnavailable, "text/plain instead of JSON"),
        (318, SourceUnavailable, "text/html instead of JSON"),
    ],
)
async def test_recorded_errors(awx, number, error, said):
    recording = recorded(number)

    async def answer(request):
        return await answer_recorded(request, recording)

    awx.on("/api/v2/jobs/7/", answer)
    async with source(awx) as prod:
        with pytest.raises(error, match=said):
            await prod.job(JobKey("prod", "job", 7))
