"""Job lists against a scripted AWX: what is asked of which list, and what is read."""

import pytest
from aiohttp import web

from bridge.awx import SourceOptions, open_source
from bridge.errors import SourceDataError, SourceRefused
from bridge.model import JOB_TYPES, Failure, JobKey
from tests.support.awx_server import scripted_awx
from tests.support.fakes import FakeClock

UNIFIED = "job,workflow_job,project_update,inventory_update,ad_hoc_command"


@pytest.fixture
async def awx():
    async with scripted_awx() as awx:
        yield awx


def source(awx, **given):
    options = SourceOptions.model_validate({"url": awx.url, "token": "t", "max_requests": 1000, **given})
    return open_source("prod", options, clock=FakeClock())


def row(job_id, **more):
    return {
        "id": job_id,
        "type": "job",
        "status": "running",
        "created": f"2026-11-23T07:00:{job_id % 60:02}Z",
        **more,
    }


class Rows:
    """A job list with AWX's semantics."""

    def __init__(self, *rows):
        self.rows = rows

    async def __call__(self, request):
        query = request.query
        rows = [
            r
            for r in self.rows
            if r.get("id", 0) > int(query.get("id__gt", 0))
            and ("id__in" not in query or str(r["id"]) in query["id__in"].split(","))
            and ("status__in" not in query or r["status"] in query["status__in"].split(","))
            and r["status"] != query.get("not__status")
            and r["created"] >= query.get("created__gte", "")
        ]
        rows.sort(key=lambda r: r["id"], reverse=query["order_by"] == "-id")
        return web.json_response({"results": rows[: min(int(query["page_size"]), 200)]})


def ids(jobs):
    return [job.key.job_id for job in jobs]


async def test_which_lists_show_the_followed_types(awx):
    async with source(awx) as prod:
        assert prod.listings == ("unified_jobs", "system_jobs", "workflow_approvals")
    async with source(awx, jobs={"types": ["job", "workflow_approval"]}) as prod:
        assert prod.listings == ("unified_jobs", "workflow_approvals")


async def test_new_jobs_above_an_id(awx):
    awx.on("/api/v2/unified_jobs/", Rows(*(row(n) for n in range(1, 301))))
    async with source(awx) as prod:
        assert ids(await prod.jobs_above("unified_jobs", 50)) == list(range(51, 251))
        assert ids(await prod.jobs_above("unified_jobs", 250)) == list(range(251, 301))
        assert ids(await prod.jobs_above("unified_jobs", 300)) == []
    assert awx.asked[0][1] == {
        "order_by": "id", "count_disabled": "1", "id__gt": "50", "page_size": "200", "type": UNIFIED,
    }  # fmt: skip


async def test_finished_jobs_above_an_id(awx):
    awx.on("/api/v2/unified_jobs/", Rows(row(1), row(2, status="failed"), row(3, status="error")))
    async with source(awx) as prod:
        since = "2026-11-23T07:00:00Z"
        found = await prod.jobs_finished("unified_jobs", 1, since=since, statuses=["failed", "error"])
        assert ids(found) == [2, 3]
        assert ids(await prod.jobs_finished("unified_jobs", 0, since=None, statuses=())) == [2, 3]
    assert awx.asked[0][1] == {
        "order_by": "id", "count_disabled": "1", "id__gt": "1", "page_size": "200", "type": UNIFIED,
        "status__in": "error,failed", "finished__gt": since,
    }  # fmt: skip
    assert awx.asked[1][1]["status__in"] == "canceled,error,failed,successful"
    assert "finished__gt" not in awx.asked[1][1]


async def test_the_own_lists_take_no_type(awx):
    awx.on("/api/v2/system_jobs/", Rows(row(4, type="system_job")))
    awx.on("/api/v2/workflow_approvals/", Rows(row(5, type="workflow_approval")))
    async with source(awx) as prod:
        assert [job.key.job_type for job in await prod.jobs_above("system_jobs", 0)] == ["system_job"]
        assert [job.key.job_type for job in await prod.jobs_above("workflow_approvals", 0)] == [
            "workflow_approval"
        ]
    assert all("type" not in query for _, query in awx.asked)


async def test_types_that_are_not_followed_are_not_asked_for(awx):
    awx.on("/api/v2/unified_jobs/", Rows(row(4)))
    async with source(awx, jobs={"types": ["job", "workflow_job"]}) as prod:
        await prod.jobs_above("unified_jobs", 0)
        assert await prod.jobs_above("system_jobs", 0) == []
        assert await prod.jobs_active("workflow_approvals") == []
        assert await prod.newest_id() == 4
    assert [(path, query["type"]) for path, query in awx.asked] == [
        ("/api/v2/unified_jobs/", "job,workflow_job"),
        ("/api/v2/unified_jobs/", "job,workflow_job"),
    ]


async def test_active_jobs_over_all_pages(awx):
    rows = [row(n, status="waiting" if n % 2 else "failed") for n in range(1, 901)]
    awx.on("/api/v2/unified_jobs/", Rows(*rows))
    async with source(awx) as prod:
        assert ids(await prod.jobs_active("unified_jobs")) == list(range(1, 901, 2))
    assert len(awx.asked) == 3
    assert awx.asked[0][1]["status__in"] == "new,pending,running,waiting"


async def test_changed_and_existing_jobs(awx):
    awx.on("/api/v2/unified_jobs/", Rows(row(1), row(2, status="failed"), row(3, status="failed")))
    async with source(awx, jobs={"types": ["job"]}) as prod:
        assert ids(await prod.jobs_changed("unified_jobs", [1, 2, 9], "running")) == [2]
        assert await prod.jobs_existing("unified_jobs", [1, 3, 9]) == {1, 3}
        assert await prod.jobs_changed("unified_jobs", [], "running") == []
        assert await prod.jobs_existing("unified_jobs", []) == frozenset()
    # a job that is known is asked for even when its type is no longer followed
    assert [query["type"] for _, query in awx.asked] == [UNIFIED, UNIFIED]
    assert (awx.asked[0][1]["id__in"], awx.asked[0][1]["not__status"]) == ("1,2,9", "running")


async def test_newest_and_first_over_all_lists(awx):
    awx.on("/api/v2/unified_jobs/", Rows(row(10), row(12)))
    awx.on("/api/v2/system_jobs/", Rows(row(11, type="system_job"), row(13, type="system_job")))
    awx.on("/api/v2/workflow_approvals/", Rows())
    async with source(awx) as prod:
        assert await prod.newest_id() == 13
        assert await prod.first_id_since("2026-11-23T07:00:11Z") == 11
        assert await prod.first_id_since("2026-11-24T00:00:00Z") is None
        awx.on("/api/v2/unified_jobs/", Rows())
        awx.on("/api/v2/system_jobs/", Rows())
        assert await prod.newest_id() == 0


async def test_rows_that_are_no_job_are_counted_and_left_out(awx):
    awx.say("/api/v2/unified_jobs/", {"results": [row(1), "x", {"id": 2}, row(3, type="news"), row(4)]})
    async with source(awx) as prod:
        assert ids(await prod.jobs_above("unified_jobs", 0)) == [1, 4]
        assert prod.rows_unreadable == 3


async def test_a_page_without_one_job_does_not_end_the_search(awx):
    awx.on("/api/v2/unified_jobs/", Rows(*(row(n, type="news") for n in range(1, 201)), row(201)))
    async with source(awx) as prod:
        assert ids(await prod.jobs_above("unified_jobs", 0)) == [201]


async def test_large_rows_come_in_smaller_pages_and_one_too_large_is_left_behind(awx):
    rows = [row(n, artifacts="x" * (50_000 if n == 3 else 3000)) for n in range(1, 9)]
    awx.on("/api/v2/unified_jobs/", Rows(*rows))
    async with source(awx, page_bytes=20_000) as prod:
        found = set()
        above = 0
        while jobs := await prod.jobs_above("unified_jobs", above):
            found |= set(ids(jobs))
            above = max(found)
        assert found == {1, 2, 4, 5, 6, 7, 8}
        assert prod.rows_unreadable >= 1
        assert ids(await prod.jobs_active("unified_jobs")) == [1, 2, 4, 5, 6, 7, 8]
        assert await prod.jobs_existing("unified_jobs", [1, 2, 4, 5, 6, 7, 8]) == {1, 2, 4, 5, 6, 7, 8}


@pytest.mark.parametrize(
    ("job_type", "listing"),
    [("job", "unified_jobs"), ("workflow_job", "unified_jobs"), ("system_job", "system_jobs"),
     ("workflow_approval", "workflow_approvals")],
)  # fmt: skip
async def test_the_count_proof(awx, job_type, listing):
    async def emitted(request):
        query = request.query
        holds = query.get("emitted_events") == "910" or int(query.get("emitted_events__gt", 9999)) < 910
        return web.json_response({"results": [row(7, type=job_type)] if holds else []})

    awx.on(f"/api/v2/{listing}/", emitted)
    key = JobKey("prod", job_type, 7)
    async with source(awx) as prod:
        assert await prod.emitted_is(key, 910)
        assert not await prod.emitted_is(key, 911)
        assert await prod.emitted_above(key, 909)
        assert not await prod.emitted_above(key, 910)
    assert awx.asked[0][1] == {"id": "7", "emitted_events": "910", "count_disabled": "1", "page_size": "1"}


async def test_a_proof_about_another_job_is_none(awx):
    awx.say("/api/v2/unified_jobs/", {"results": [row(8)]})
    async with source(awx) as prod:
        with pytest.raises(SourceDataError, match="another job"):
            await prod.emitted_is(JobKey("prod", "job", 7), 3)


@pytest.mark.parametrize(
    "answer", [{}, [], {"id": 8, "type": "job", "status": "x"}, {"id": 7, "type": "job"}]
)
async def test_a_detail_that_is_no_such_job(awx, answer):
    awx.say("/api/v2/jobs/7/", answer)
    async with source(awx) as prod:
        with pytest.raises(SourceDataError):
            await prod.job(JobKey("prod", "job", 7))


@pytest.mark.parametrize(
    ("job_type", "path"),
    [(kind, {"inventory_update": "inventory_updates"}.get(kind, f"{kind}s")) for kind in JOB_TYPES],
)
async def test_details(awx, job_type, path):
    awx.say(f"/api/v2/{path}/7/", row(7, type=job_type))
    async with source(awx) as prod:
        assert (await prod.job(JobKey("prod", job_type, 7))).key.job_type == job_type


async def test_system_jobs_that_only_an_auditor_sees(awx):
    awx.say("/api/v2/system_jobs/", {"detail": "Superuser privileges needed."}, status=403)
    async with source(awx) as prod:
        with pytest.raises(SourceRefused, match="needs a System Auditor, or leave system_job out") as caught:
            await prod.jobs_above("system_jobs", 0)
    assert caught.value.status == 403


async def test_failed_nodes_of_a_workflow_over_all_pages(awx):
    def node(node_id):
        status = "failed" if node_id % 20 == 0 else "successful"
        job = {"id": node_id + 1000, "type": "job", "name": f"step {node_id}", "status": status}
        return {"id": node_id, "created": "", "status": "", "summary_fields": {"job": job}}

    awx.on("/api/v2/workflow_jobs/7/workflow_nodes/", Rows(*(node(n) for n in range(1, 261))))
    async with source(awx) as prod:
        found = await prod.failures(JobKey("prod", "workflow_job", 7))
    assert found[0] == Failure(host=None, task="step 20", message="job 1020 failed", counter=None)
    assert len(found) == 13
    assert len(awx.asked) == 2
