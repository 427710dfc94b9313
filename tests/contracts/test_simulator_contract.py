"""The simulator and the real AWX: the same request gets the same answer.

Every recorded read is asked of a simulator that holds the recorded jobs. What must differ (clocks,
ids of rows that the simulator makes up) is listed here, with the reason.
"""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import aiohttp
import pytest
from yarl import URL

from simulator.access import PASSWORD, TOKEN
from simulator.server import serve
from tests.support.awx_recordings import AFTER_THE_LIST, early_world, late_world, needs_recordings, requests

pytestmark = needs_recordings

OTHER_STATE = {
    74: "another recording of this job is loaded; its inventory changed meanwhile",
    76: "job 37 still ran",
    89: "job 37 was being cancelled",
    237: "the late world has the jobs that came after",
    239: "a project update ran",
    264: "the inventory's summary changed",
    288: "job 64 still ran",
    290: "job 66 was pending",
    52: "no events of four of the jobs were recorded",
}
"""Recorded in a state that the loaded worlds do not have: status and shape are compared, values not."""

OTHER_JOBS = {238}
"""Recorded while jobs of other types were active than those that the late world has left."""

MADE_UP = {
    "heartbeat",
    "install_uuid",
    "instances",
    "created",
    "modified",
    "elapsed",
    "summary_fields",
    "last_login",
}
"""Fields whose values depend on the clock, the installation or on what is around the job."""

NO_ROOM = {
    2: "the root lists the whole API",
    4: "config in short",
    6: "settings are not simulated",
    174: "children of one event are not simulated",
    175: "children of one event are not simulated",
    187: "job 23 was deleted later; its events were not recorded",
    193: "details of host summaries are not simulated",
}
OUTSIDE = (
    "/tokens/",
    "/activity_stream/",
    "/credentials/",
    "notification_templates",
    "/launch/",
    "/relaunch/",
    "/cancel/",
    "create_schedule",
    "survey_spec",
    "unified_job_templates",
    "/job_templates/",
    "/schedules/",
    "/hosts/",
    "/instances/",
    "/metrics/",
)
"""Parts of the API that the simulator does not have."""


def simulated() -> list[int]:
    """The numbers of the recorded requests that the simulator must answer."""
    chosen = []
    for number, exchange in requests().items():
        request, response = exchange["request"], exchange["response"]
        reads = request["method"] in {"GET", "HEAD"} or response["status"] == 405
        outage = 309 <= number <= 314
        if (
            reads
            and not outage
            and number not in NO_ROOM
            and not any(part in request["path"] for part in OUTSIDE)
        ):
            chosen.append(number)
    return chosen


@pytest.fixture(scope="module")
def worlds():
    return early_world(time.time), late_world(time.time)


async def ask(world, number: int) -> tuple[aiohttp.ClientResponse, str]:
    request = requests()[number]["request"]
    query = f"?{request['query']}" if request["query"] else ""
    async with serve(world) as awx, aiohttp.ClientSession() as session:
        awx.access.tokens["no-role"] = "nobody"
        url = URL(f"{awx.url}{request['path']}{query}")
        call = session.request(request["method"], url, headers=headers(number), allow_redirects=False)
        async with call as response:
            return response, await response.text()


def headers(number: int) -> dict[str, str]:
    recorded = requests()[number]["request"]["headers"]
    sent = {name: value for name, value in recorded.items() if name != "Authorization"}
    scheme, _, credentials = recorded.get("Authorization", "").partition(" ")
    if number in {11, 12, 13}:
        sent["Authorization"] = "Bearer no-role"
    elif scheme == "Basic":
        secret = "wrong" if number == 9 else PASSWORD
        sent["Authorization"] = f"Basic {base64.b64encode(f'admin:{secret}'.encode()).decode()}"
    elif number == 302:
        sent["Authorization"] = "Bearer revoked"
    elif "REDACTED" in credentials:
        sent["Authorization"] = f"Bearer {TOKEN}"
    elif credentials:
        sent["Authorization"] = f"{scheme} {credentials}"
    return sent


@pytest.mark.parametrize("number", simulated(), ids=lambda number: requests()[number]["name"])
async def test_a_recorded_read_gets_the_recorded_answer(worlds, number):
    recorded = requests()[number]["response"]
    response, text = await ask(worlds[number > AFTER_THE_LIST], number)
    assert response.status == recorded["status"]
    assert response.headers.get("Content-Type") == recorded["headers"].get("Content-Type")
    for name in ("WWW-Authenticate", "Location", "Content-Disposition", "Server"):
        assert response.headers.get(name) == recorded["headers"].get(name)
    if recorded.get("json") is not None:
        compare(json.loads(text), recorded["json"], number)
    elif recorded["headers"].get("Content-Type", "").startswith("text/plain"):
        assert text == recorded["text"]


def compare(ours: Any, theirs: Any, number: int) -> None:
    if number in OTHER_JOBS:
        assert set(ours) == set(theirs)
        return
    assert keys(ours) == keys(theirs)
    if number in OTHER_STATE:
        return
    if "results" not in theirs:
        assert values(ours) == values(theirs)
        return
    for name in ("count", "next", "previous"):
        assert ours.get(name) == theirs.get(name)
    assert len(ours["results"]) == len(theirs["results"])
    path = requests()[number]["request"]["path"]
    query = requests()[number]["request"]["query"]
    if "job_host_summaries" in path:
        return  # the rows' ids are made up, and order follows them
    if "/job_events/" in path and "order_by" not in query:
        # start_line is not unique: which of several rows comes first is up to PostgreSQL
        lines = [row["start_line"] for row in theirs["results"]]
        assert [row["start_line"] for row in ours["results"]] == lines
        return
    for our, their in zip(ours["results"], theirs["results"], strict=True):
        assert keys(our) == keys(their)
        assert values(our) == values(their)


def keys(body: dict[str, Any]) -> set[str]:
    if body.get("results"):
        return {*body, *(f"row {name}" for name in body["results"][0])}
    return set(body)


def values(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in MADE_UP}


async def test_host_summaries_have_the_recorded_numbers(worlds):
    _, text = await ask(worlds[1], 188)
    names = ("changed", "dark", "failures", "ok", "skipped", "ignored", "rescued", "failed", "processed")
    ours = {row["host_name"]: [row[name] for name in names] for row in json.loads(text)["results"]}
    theirs = {
        row["host_name"]: [row[name] for name in names]
        for row in requests()[188]["response"]["json"]["results"]
    }
    assert ours == theirs


async def test_the_hidden_count_can_be_asked_for_as_of_the_real_awx(worlds):
    async with (
        serve(worlds[1]) as awx,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        counts = []
        for query in (
            "emitted_events=108",
            "emitted_events=109",
            "emitted_events__gt=107",
            "emitted_events__gt=108",
        ):
            async with session.get(f"{awx.url}/api/v2/jobs/?id=16&{query}") as response:
                counts.append((await response.json())["count"])
    assert counts == [1, 0, 1, 0]


@pytest.mark.parametrize(("kind", "number"), [("502_html", 309), ("500_html", 311)])
async def test_an_outage_looks_as_recorded(worlds, kind, number):
    recorded = requests()[number]["response"]
    async with serve(worlds[0]) as awx, aiohttp.ClientSession() as session:
        awx.faults.add(kind)
        async with session.get(f"{awx.url}/api/v2/jobs/") as response:
            assert response.status == recorded["status"]
            assert response.headers["Content-Type"] == recorded["headers"]["Content-Type"]
            assert (await response.text()).split() == recorded["text"].split()
