"""The simulator over HTTP: who may read, outages, counts, the gateway, and the command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time

import aiohttp
import pytest

from simulator import oddities, plays, scenarios
from simulator.access import PASSWORD, TOKEN
from simulator.faults import KINDS
from simulator.plan import Act
from simulator.receiver import Receiver
from simulator.server import serve
from simulator.world import World

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def finished_world(acts=None) -> World:
    """A world whose jobs ended long ago."""
    world = World(time.time, receiver=Receiver(jitter=0))
    world.stage(
        [Act(at=act.at - 3600, plan=act.plan, workflow=act.workflow, node=act.node) for act in acts or one()]
    )
    return world


def one() -> list[Act]:
    return [Act(at=0, plan=oddities.plain("one"))]


@contextlib.asynccontextmanager
async def running(world: World, **options):
    async with serve(world, **options) as awx, aiohttp.ClientSession(awx.url, headers=BEARER) as session:
        yield awx, session


async def get(session, path, **options):
    async with session.get(path, allow_redirects=False, **options) as response:
        body = await (response.json() if response.content_type == "application/json" else response.text())
        return response.status, body


class TestAccess:
    async def test_without_credentials_only_ping_and_the_roots_answer(self):
        async with running(finished_world()) as (_, session):
            nobody = {"Authorization": ""}
            open_paths = ("/api/", "/api/v2/", "/api/v2/ping/")
            assert [(await get(session, path, headers=nobody))[0] for path in open_paths] == [200, 200, 200]
            for path in (
                "/api/v2/me/",
                "/api/v2/jobs/",
                "/api/v2/jobs/1/",
                "/api/v2/jobs/99/",
                "/api/v2/unified_jobs/",
            ):
                assert (await get(session, path, headers=nobody))[0] == 401

    async def test_basic_is_as_good_as_a_token(self):
        async with running(finished_world()) as (_, session):
            good = {"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}
            bad = {"Authorization": aiohttp.encode_basic_auth("admin", "wrong")}
            assert (await get(session, "/api/v2/me/", headers=good))[0] == 200
            assert (await get(session, "/api/v2/me/", headers=bad))[0] == 401

    async def test_a_token_can_be_taken_away(self):
        async with running(finished_world()) as (awx, session):
            assert (await get(session, "/api/v2/me/"))[0] == 200
            awx.access.tokens.clear()
            assert (await get(session, "/api/v2/me/"))[0] == 401

    async def test_a_user_without_a_role_sees_nothing(self):
        async with running(finished_world()) as (awx, session):
            awx.access.readers.clear()
            assert (await get(session, "/api/v2/jobs/"))[1]["count"] == 0
            assert (await get(session, "/api/v2/jobs/1/"))[0] == 403


class TestLists:
    async def test_unified_jobs_has_no_approvals(self):
        async with running(finished_world(scenarios.demo())) as (_, session):
            _, unified = await get(session, "/api/v2/unified_jobs/?page_size=200")
            _, approvals = await get(session, "/api/v2/workflow_approvals/")
        assert "workflow_approval" not in {row["type"] for row in unified["results"]}
        assert [row["name"] for row in approvals["results"]] == ["approve"]

    async def test_a_cursor_reads_every_event_once(self):
        world = finished_world([Act(at=0, plan=scenarios.sized_job("big", 1000, seconds=1))])
        seen: list[int] = []
        async with running(world) as (_, session):
            while True:
                after = seen[-1] if seen else 0
                path = f"/api/v2/jobs/1/job_events/?order_by=counter&limit=150&counter__gt={after}"
                _, page = await get(session, path)
                if not page["results"]:
                    break
                seen += [row["counter"] for row in page["results"]]
        assert seen == list(range(1, 1001))

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("counter__in=5,3,99&order_by=counter", [3, 5]),
            ("counter__in=5,3,99&order_by=-counter", [5, 3]),
            ("counter__gte=3&counter__lte=4&order_by=counter", [3, 4]),
            ("counter=7", [7]),
            ("counter__gt=20&order_by=-counter", [23, 22, 21]),
            ("event=playbook_on_stats&limit=1", [23]),
            ("or__event=playbook_on_start&or__event=playbook_on_stats&order_by=counter", [3, 23]),
            ("not__event__startswith=runner&order_by=counter", [1, 2, 3, 4, 5, 14, 23]),
            ("host_name=web02&event=runner_on_ok", [11, 20]),
            ("order_by=counter&page_size=2&page=3", [5, 6]),
            ("order_by=counter&counter__gt=21&counter__gt=22", [23]),
        ],
    )
    async def test_events_are_filtered(self, query, expected):
        async with running(finished_world()) as (_, session):
            _, page = await get(session, f"/api/v2/jobs/1/job_events/?{query}")
        assert [row["counter"] for row in page["results"]] == expected

    async def test_the_number_of_emitted_events_filters_and_does_not_show(self):
        async with running(finished_world()) as (_, session):
            counts = [
                (await get(session, f"/api/v2/{path}/?id=1&{query}"))[1]["count"]
                for path in ("jobs", "unified_jobs")
                for query in ("emitted_events=23", "emitted_events__gt=23", "emitted_events__gt=22")
            ]
            _, detail = await get(session, "/api/v2/jobs/1/")
        assert counts == [1, 0, 1, 1, 0, 1]
        assert "emitted_events" not in detail

    async def test_children_of_a_workflow_and_its_nodes(self):
        async with running(finished_world(scenarios.release(at=0))) as (_, session):
            _, children = await get(
                session, "/api/v2/unified_jobs/?unified_job_node__workflow_job=1&order_by=id"
            )
            _, nodes = await get(session, "/api/v2/workflow_jobs/1/workflow_nodes/")
        assert [row["name"] for row in children["results"]] == ["test", "roll-out", "roll-back"]
        assert children["results"][0]["summary_fields"]["source_workflow_job"]["id"] == 1
        shown = {node["identifier"]: (node["job"], node["do_not_run"]) for node in nodes["results"]}
        assert shown["announce"] == (None, True)
        assert nodes["results"][2]["summary_fields"]["job"]["status"] == "failed"

    async def test_long_output_is_cut_in_lists_unless_asked_not_to(self):
        writer = plays.Writer("job", "x.yml")
        writer.verbose("\x1b[0;32m" + "y" * 3000 + "\x1b[0m")
        async with running(finished_world([Act(at=0, plan=plays.job("x", writer=writer))])) as (_, session):
            _, cut = await get(session, "/api/v2/jobs/1/job_events/")
            _, whole = await get(session, "/api/v2/jobs/1/job_events/?no_truncate=1")
            _, single = await get(session, "/api/v2/job_events/1/")
        assert cut["results"][0]["stdout"] == "\x1b[0;32m" + "y" * 1016 + "…\x1b[0m"
        assert len(whole["results"][0]["stdout"]) == len(single["stdout"]) == 3011


class TestGateway:
    async def test_the_api_is_below_its_prefix_and_nowhere_else(self):
        async with running(finished_world(), prefix="controller") as (_, session):
            _, gateway = await get(session, "/api/")
            _, controller = await get(session, "/api/controller/")
            status, _ = await get(session, "/api/v2/jobs/")
            _, jobs = await get(session, "/api/controller/v2/jobs/?page_size=1")
        assert "available_versions" not in gateway
        assert controller["available_versions"] == {"v2": "/api/controller/v2/"}
        assert status == 404
        assert jobs["results"][0]["url"] == "/api/controller/v2/jobs/1/"


class TestOutages:
    @pytest.mark.parametrize(
        ("kind", "status", "content_type"),
        [
            ("502_html", 502, "text/html"),
            ("503_html", 503, "text/html"),
            ("504_html", 504, "text/html"),
            ("500_html", 500, "text/html"),
            ("500_json", 500, "application/json"),
            ("401", 401, "application/json"),
            ("403", 403, "application/json"),
            ("429", 429, "text/html"),
            ("migration", 302, "application/octet-stream"),
            ("login_page", 200, "text/html"),
        ],
    )
    async def test_an_outage_answers_for_awx(self, kind, status, content_type):
        async with running(finished_world()) as (_, session):
            await session.post("/_sim/outage", json={"kind": kind, "delay": 7})
            async with session.get("/api/v2/jobs/", allow_redirects=False) as response:
                assert (response.status, response.content_type) == (status, content_type)
                if kind == "429":
                    assert response.headers["Retry-After"] == "7"
                if kind == "migration":
                    assert response.headers["Location"] == "/migrations_notran/"
            await session.delete("/_sim/outage")
            assert (await get(session, "/api/v2/jobs/"))[0] == 200

    @pytest.mark.parametrize("kind", ["reset", "half_body"])
    async def test_a_connection_breaks(self, kind):
        async with running(finished_world()) as (awx, session):
            awx.faults.add(kind)
            with pytest.raises(aiohttp.ClientError):
                await get(session, "/api/v2/jobs/")

    async def test_an_answer_that_is_no_json(self):
        async with running(finished_world()) as (awx, session):
            awx.faults.add("not_json")
            with pytest.raises(ValueError, match="Expecting"):
                await get(session, "/api/v2/jobs/")

    async def test_hanging_lasts_as_long_as_the_outage(self):
        async with running(finished_world()) as (awx, session):
            awx.faults.add("hang", seconds=30)
            with pytest.raises(TimeoutError):
                await get(session, "/api/v2/jobs/", timeout=aiohttp.ClientTimeout(total=0.2))

    async def test_slow_answers_in_the_end(self):
        async with running(finished_world()) as (awx, session):
            awx.faults.add("slow", delay=0.2)
            begun = time.monotonic()
            assert (await get(session, "/api/v2/jobs/"))[0] == 200
            assert time.monotonic() - begun > 0.15

    async def test_an_outage_ends_by_count_by_time_and_hits_only_its_path(self):
        async with running(finished_world()) as (awx, session):
            awx.faults.add("500_html", path="job_events", count=2)
            awx.faults.add("502_html", seconds=0.0)
            events = "/api/v2/jobs/1/job_events/"
            assert [(await get(session, path))[0] for path in ("/api/v2/jobs/", events, events, events)] == [
                200,
                500,
                500,
                200,
            ]

    async def test_a_share_of_the_requests_meets_an_outage_as_the_seed_has_it(self):
        async def met(seed):
            async with running(World(time.time, seed=seed)) as (awx, session):
                awx.faults.add("500_html", share=0.2)
                found = [(await get(session, "/api/v2/jobs/"))[0] == 500 for _ in range(100)]
                assert (await get(session, "/_sim/stats"))[1]["faults"] == {"500_html": sum(found)}
                return found

        first = await met(1)
        assert 10 < sum(first) < 30
        assert (first == await met(1), first == await met(2)) == (True, False)

    @pytest.mark.parametrize(
        "asked",
        [
            {"kind": "nonsense"},
            {"kind": "slow", "path": "("},
            {"kind": "slow", "share": 2},
            {},
            {"kind": "slow", "x": 1},
        ],
    )
    async def test_a_nonsensical_outage_is_refused(self, asked):
        async with (
            running(finished_world()) as (_, session),
            session.post("/_sim/outage", json=asked) as response,
        ):
            assert response.status == 400
            assert (await response.json())["kinds"] == list(KINDS)


class TestOwnPaths:
    async def test_requests_are_counted_by_kind(self):
        async with running(finished_world()) as (_, session):
            for path in (
                "/api/v2/jobs/1/",
                "/api/v2/jobs/2/",
                "/api/v2/jobs/1/job_events/?limit=1",
                "/_sim/truth",
            ):
                await get(session, path)
            _, stats = await get(session, "/_sim/stats")
        assert stats["by_kind"] == {"GET /api/v2/jobs/N/": 2, "GET /api/v2/jobs/N/job_events/": 1}
        assert stats["by_status"] == {"200": 2, "404": 1}
        assert stats["requests"] == 3
        assert stats["most_together"] == 1

    async def test_a_scenario_enters_at_run_time_and_the_truth_knows_it(self):
        async with running(World(time.time, speed=50)) as (_, session):
            async with session.post("/_sim/play", json={"scenario": "odd"}) as response:
                ids = (await response.json())["jobs"]
            _, truth = await get(session, "/_sim/truth")
            assert not truth["settled"]
            await asyncio.sleep(truth["settles_in"] + 0.05)
            _, truth = await get(session, "/_sim/truth")
        assert truth["settled"]
        assert [job["id"] for job in truth["jobs"]] == ids
        assert all(job.get("later", []) == [] for job in truth["jobs"])

    async def test_awx_becomes_another_one(self):
        async with running(finished_world(scenarios.demo())) as (_, session):
            new = "22222222-2222-4222-8222-222222222222"
            await session.post("/_sim/identity", json={"install_uuid": new, "newest_id": 3})
            _, ping = await get(session, "/api/v2/ping/")
            _, jobs = await get(session, "/api/v2/unified_jobs/?order_by=-id&page_size=1")
        assert ping["install_uuid"] == new
        assert jobs["results"][0]["id"] == 3


class TestCommand:
    async def test_it_says_where_it_listens_and_stops_on_sigterm(self):
        command = [sys.executable, "-m", "simulator", "--scenario", "bulk", "--jobs", "3", "--events", "40"]
        process = await asyncio.create_subprocess_exec(
            *command, "--token", "other", stdout=asyncio.subprocess.PIPE, env={**os.environ}
        )
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
            assert line.startswith("simulator listening on http://127.0.0.1:")
            async with aiohttp.ClientSession(
                line.split()[-1], headers={"Authorization": "Bearer other"}
            ) as session:
                _, jobs = await get(session, "/api/v2/jobs/?status=successful")
                _, events = await get(session, "/api/v2/jobs/2/job_events/?page_size=1")
        finally:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert (jobs["count"], events["count"]) == (3, 40)
