"""Event lists against a scripted AWX: order, bounds in bytes and time, and what is unreadable."""

import asyncio

import pytest
from aiohttp import web

from bridge.awx import SourceOptions, open_source
from bridge.awx.answers import AnswerTooSlow
from bridge.errors import SourceDataError, SourceRefused, SourceUnavailable
from bridge.model import Failure, HostSummary, JobKey
from bridge.ports import Purpose
from tests.support.awx_server import EventRows, hang, scripted_awx
from tests.support.fakes import FakeClock

KEY = JobKey("prod", "job", 7)
LIST = "/api/v2/jobs/7/job_events/"
LIVE = Purpose.LIVE


@pytest.fixture
async def awx():
    async with scripted_awx() as awx:
        yield awx


def source(awx, **given):
    options = SourceOptions.model_validate({"url": awx.url, "token": "t", "max_requests": 1000, **given})
    return open_source("prod", options, clock=FakeClock())


def row(counter, size=0, **more):
    # in AWX's order: the counter before what may be large
    return {"id": 1000 + counter, "type": "job_event", "counter": counter, "event": "verbose", "failed": False,
            "event_data": {"res": {"counter": 5, "out": "x" * size}}, "uuid": f"u{counter}", "stdout": "", **more}  # fmt: skip


async def walk(prod, key=KEY, limit=200):
    """Read a list to its end as a tail does; returns the counters and the unreadable ones."""
    counters, unreadable, above = [], [], 0
    for _ in range(500):
        page = await prod.events_after(key, above, limit=limit, purpose=LIVE)
        counters += [event.counter for event in page.rows]
        unreadable += page.unreadable
        if not page.full:
            return counters, unreadable
        assert page.rows[-1].counter > max([above, *page.unreadable])
        above = page.rows[-1].counter
    raise AssertionError("no end")


def queries(awx):
    return [query for path, query in awx.asked if path == LIST]


async def test_the_question(awx):
    awx.on(LIST, EventRows([row(1)]))
    async with source(awx) as prod:
        page = await prod.events_after(KEY, 0, limit=50, purpose=LIVE)
    assert [event.counter for event in page.rows] == [1]
    assert not page.full
    assert queries(awx) == [{"order_by": "counter", "no_truncate": "1", "counter__gt": "0", "limit": "50"}]


@pytest.mark.parametrize(
    ("job_type", "path"),
    [
        ("job", "jobs/7/job_events/"),
        ("ad_hoc_command", "ad_hoc_commands/7/events/"),
        ("project_update", "project_updates/7/events/"),
        ("inventory_update", "inventory_updates/7/events/"),
        ("system_job", "system_jobs/7/events/"),
    ],
)
async def test_each_type_has_its_own_list(awx, job_type, path):
    awx.on(f"/api/v2/{path}", EventRows([row(1), row(2)]))
    key = JobKey("prod", job_type, 7)
    async with source(awx) as prod:
        assert len((await prod.events_after(key, 0, limit=50, purpose=LIVE)).rows) == 2
        assert len((await prod.events_at(key, [2, 9], purpose=LIVE)).rows) == 1
        assert await prod.event_count(key) == (2, 2)


@pytest.mark.parametrize("job_type", ["workflow_job", "workflow_approval"])
async def test_types_without_events_are_not_asked(awx, job_type):
    key = JobKey("prod", job_type, 7)
    async with source(awx) as prod:
        assert (await prod.events_after(key, 0, limit=50, purpose=LIVE)).rows == ()
        assert (await prod.events_at(key, [1], purpose=LIVE)).rows == ()
        assert await prod.event_count(key) == (0, 0)
        assert await prod.hosts(key) == ()
    assert not awx.requests


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
async def test_page_by_page_to_the_end(awx, limit):
    awx.on(LIST, EventRows([row(n) for n in range(1, 60)]))
    async with source(awx) as prod:
        assert await walk(prod, limit=limit) == (list(range(1, 60)), [])


async def test_page_limit_is_never_exceeded(awx):
    awx.on(LIST, EventRows([row(n) for n in range(1, 60)]))
    async with source(awx, page_limit=20) as prod:
        await walk(prod)
    assert {query["limit"] for query in queries(awx)} == {"20"}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 200])
async def test_no_row_of_a_repeated_counter_is_lost_at_the_edge_of_a_page(awx, limit):
    rows = [row(n) for n in range(1, 10)] + [row(n, id=2000 + n) for n in (3, 4, 5, 9)] + [row(4, id=3004)]
    awx.on(LIST, EventRows(rows))
    async with source(awx) as prod:
        counters, _ = await walk(prod, limit=limit)
    assert counters == [1, 2, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 9, 9]


async def test_before_awx_19_2_1_there_is_no_limit(awx):
    awx.on(LIST, EventRows([row(n) for n in range(1, 500)], knows_limit=False))
    async with source(awx, page_limit=1000) as prod:
        counters, _ = await walk(prod, limit=1000)
        assert counters == list(range(1, 500))
        assert len((await prod.events_at(KEY, range(1, 201), purpose=LIVE)).rows) == 200
        assert await prod.event_count(KEY) == (499, 499)
    assert sum("limit" in query for query in queries(awx)) == 1
    assert {query["page_size"] for query in queries(awx)[1:4]} == {"200"}
    assert all("count_disabled" in query for query in queries(awx)[1:-1])


async def test_another_400_is_a_data_error_and_says_awxs_sentence(awx):
    awx.say(LIST, {"detail": "JobEvent has no field named 'counter'"}, status=400)
    async with source(awx) as prod:
        with pytest.raises(SourceDataError, match="no field named 'counter'"):
            await prod.events_after(KEY, 0, limit=50, purpose=LIVE)


async def test_a_page_too_large_is_asked_again_in_halves(awx):
    awx.on(LIST, EventRows([row(n, size=3000) for n in range(1, 41)]))
    async with source(awx, page_bytes=20_000) as prod:
        assert await walk(prod, limit=40) == (list(range(1, 41)), [])
    limits = [int(query["limit"]) for query in queries(awx)]
    assert limits[:4] == [40, 20, 10, 5]
    assert max(limits[3:]) <= 6


async def test_one_event_too_large_is_unreadable_and_the_next_are_read(awx):
    rows = [row(n, size=100_000 if n in {4, 5, 11} else 10) for n in range(1, 15) if n not in {2, 3, 10}]
    awx.on(LIST, EventRows(rows))
    async with source(awx, page_bytes=20_000) as prod:
        counters, unreadable = await walk(prod)
        assert unreadable == [4, 5, 11]
        assert counters == [1, 6, 7, 8, 9, 12, 13, 14]
        page = await prod.events_at(KEY, [1, 4, 6, 11], purpose=LIVE)
        assert ([event.counter for event in page.rows], page.unreadable) == ([1, 6], (4, 11))


async def test_where_the_counter_cannot_be_seen_there_is_progress_all_the_same(awx):
    large = {"event_data": {"out": "x" * 100_000}, "counter": 3, "id": 3, "event": "verbose"}
    awx.on(LIST, EventRows([large, row(5)]))
    async with source(awx, page_bytes=20_000) as prod:
        counters, unreadable = await walk(prod)
    assert counters == [5]
    assert 3 in unreadable


async def test_an_event_nested_too_deeply_is_unreadable(awx):
    deep = b'{"results": [{"id": 1, "counter": 2, "event_data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}"

    rest = EventRows([row(3)])

    async def events(request):
        if int(request.query.get("counter__gt", 2)) < 2:
            return web.Response(body=deep, content_type="application/json")
        return await rest(request)

    awx.on(LIST, events)
    async with source(awx) as prod:
        assert await walk(prod) == ([3], [2])


async def endless(request):
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"results": [{"id": 1, "counter": 1, "event_data": {"x": "')
    try:
        for _ in range(1000):
            await response.write(b"x" * 10_000)
            await asyncio.sleep(0.001)
    except ConnectionResetError:
        pass
    return response


async def test_the_rest_of_a_page_too_large_is_not_waited_for(awx):
    rest = EventRows([row(3)])
    awx.on(LIST, lambda request: (rest if request.query["counter__gt"] == "1" else endless)(request))
    async with source(awx, page_bytes=50_000) as prod, asyncio.timeout(5):
        page = await prod.events_after(KEY, 0, limit=2, purpose=LIVE)
    assert (page.unreadable, [event.counter for event in page.rows]) == ((1,), [3])


async def test_an_awx_that_answers_the_same_without_end_is_noticed(awx):
    awx.on(LIST, endless)
    async with source(awx, page_bytes=50_000) as prod, asyncio.timeout(5):
        with pytest.raises(SourceDataError, match="ignores counter__gt"):
            await prod.events_after(KEY, 0, limit=1, purpose=LIVE)


@pytest.mark.parametrize("trouble", ["timeout", 504, 502])
async def test_a_page_too_slow_is_asked_smaller_next_time(awx, trouble):
    rows = EventRows([row(n) for n in range(1, 100)])

    async def slow(request):
        if int(request.query["limit"]) > 50:
            return await hang(request) if trouble == "timeout" else web.Response(status=trouble)
        return await rows(request)

    awx.on(LIST, slow)
    async with source(awx, timeout=0.2) as prod:
        with pytest.raises(AnswerTooSlow):
            await prod.events_after(KEY, 0, limit=100, purpose=LIVE)
        page = await prod.events_after(KEY, 0, limit=100, purpose=LIVE)
        assert (len(page.rows), page.full) == (49, True)
        assert len((await prod.events_after(KEY, 0, limit=40, purpose=LIVE)).rows) == 39
    assert [int(query["limit"]) for query in queries(awx)] == [100, 50, 40]


async def test_rows_without_a_place_are_counted(awx):
    awx.say(LIST, {"results": [row(1), {**row(2), "counter": None}, row(3, stdout=5), "x"]})
    async with source(awx) as prod:
        page = await prod.events_after(KEY, 0, limit=50, purpose=LIVE)
        assert prod.rows_unplaced == 2
    assert [(event.counter, event.malformed) for event in page.rows] == [(1, False), (3, True)]


async def test_a_full_page_of_rows_without_a_place_is_the_end(awx):
    awx.say(LIST, {"results": [{**row(1), "counter": None}] * 10})
    async with source(awx) as prod:
        page = await prod.events_after(KEY, 0, limit=10, purpose=LIVE)
    assert (page.rows, page.full) == ((), False)


async def test_an_awx_that_ignores_the_counter_is_noticed(awx):
    awx.say(LIST, {"results": [row(1), row(2)]})
    async with source(awx) as prod:
        with pytest.raises(SourceDataError, match="ignores counter__gt"):
            await prod.events_after(KEY, 5, limit=2, purpose=LIVE)


@pytest.mark.parametrize(
    ("body", "error"),
    [(b"{", SourceUnavailable), (b"", SourceUnavailable), (b"[]", SourceDataError), (b'{"detail": "x"}', SourceDataError)],
)  # fmt: skip
async def test_answers_that_are_no_list(awx, body, error):
    async def answer(_):
        return web.Response(body=body, content_type="application/json")

    awx.on(LIST, answer)
    async with source(awx) as prod:
        with pytest.raises(error):
            await prod.events_after(KEY, 0, limit=50, purpose=LIVE)
        with pytest.raises(error):
            await prod.events_at(KEY, [1], purpose=LIVE)


async def test_a_deleted_job(awx):
    async with source(awx) as prod:
        for ask in (
            prod.events_after(KEY, 0, limit=5, purpose=LIVE),
            prod.events_at(KEY, [1], purpose=LIVE),
            prod.event_count(KEY),
            prod.hosts(KEY),
            prod.failures(KEY),
        ):
            with pytest.raises(SourceRefused) as caught:
                await ask
            assert caught.value.status == 404


async def test_counters_asked_by_name(awx):
    awx.on(LIST, EventRows([row(n) for n in range(1, 10)] + [row(3, id=9000)]))
    async with source(awx) as prod:
        page = await prod.events_at(KEY, [9, 3, 3, 77], purpose=LIVE)
        assert [event.counter for event in page.rows] == [3, 3, 9]
        assert not page.full
        assert (await prod.events_at(KEY, [], purpose=LIVE)).rows == ()
    assert queries(awx) == [
        {"order_by": "counter", "no_truncate": "1", "counter__in": "3,9,77", "limit": "14"}
    ]


async def test_two_hundred_counters_are_one_request(awx):
    awx.on(LIST, EventRows([row(n) for n in range(1, 300)]))
    async with source(awx) as prod:
        await prod.events_after(KEY, 299, limit=1, purpose=LIVE)
        assert len((await prod.events_at(KEY, range(50, 250), purpose=LIVE)).rows) == 200
    assert len(queries(awx)) == 2


async def test_count_and_highest_counter_are_one_request(awx):
    awx.on(LIST, EventRows([row(n) for n in (1, 2, 9)]))
    async with source(awx) as prod:
        assert await prod.event_count(KEY) == (3, 9)
        awx.on(LIST, EventRows([]))
        assert await prod.event_count(KEY) == (0, 0)
        awx.say(LIST, {"results": []})
        with pytest.raises(SourceDataError, match="counts no events"):
            await prod.event_count(KEY)
    assert queries(awx)[0] == {"order_by": "-counter", "page_size": "1"}


async def test_the_count_is_read_even_where_the_last_event_is_too_large(awx):
    awx.on(LIST, EventRows([row(1), row(2, size=100_000)]))
    async with source(awx, page_bytes=20_000) as prod:
        assert await prod.event_count(KEY) == (2, 2)


async def test_hosts_come_from_the_stats_event(awx):
    stats = {"ok": {"web": 3}, "dark": {"gone": 1}, "failures": 0}
    rows = [row(1), row(2, event="playbook_on_stats", event_data=stats), row(3)]
    awx.on(LIST, EventRows(rows))
    async with source(awx) as prod:
        assert await prod.hosts(KEY) == (HostSummary(host="gone", dark=1), HostSummary(host="web", ok=3))
        awx.on(LIST, EventRows([row(1)]))
        assert await prod.hosts(KEY) == ()
        assert await prod.hosts(JobKey("prod", "inventory_update", 7)) == ()


def failed(counter, **more):
    return row(counter, event="runner_on_failed", failed=True, host_name=f"web{counter}", task="deploy",
               event_data={"res": {"msg": "no space"}}, **more)  # fmt: skip


async def test_failures_come_in_counter_order_at_most_twenty(awx):
    rows = [failed(n) for n in range(1, 60, 2)] + [row(n) for n in range(2, 60, 2)]
    rows.append(row(70, event="runner_on_failed"))  # ignored by the playbook
    awx.on(LIST, EventRows(rows))
    async with source(awx) as prod:
        found = await prod.failures(KEY)
    assert found[0] == Failure(host="web1", task="deploy", message="no space", counter=1)
    assert [failure.counter for failure in found] == list(range(1, 40, 2))
    assert len(queries(awx)) == 2


async def test_a_failure_too_large_to_read_hides_no_other(awx):
    large = failed(2)
    large["event_data"] = {"res": {"msg": "x" * 100_000}}
    awx.on(LIST, EventRows([failed(1), large, failed(3)]))
    async with source(awx, page_bytes=20_000) as prod:
        assert [failure.counter for failure in await prod.failures(KEY)] == [1, 3]


async def test_types_that_only_print_have_no_failures(awx):
    async with source(awx) as prod:
        for job_type in ("inventory_update", "system_job", "workflow_approval"):
            assert await prod.failures(JobKey("prod", job_type, 7)) == ()
    assert not awx.requests
