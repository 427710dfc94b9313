"""`send-test` against a webhook that accepts, refuses, fails, hangs, or is not there."""

import asyncio
import json
import sys
from types import SimpleNamespace

import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.contract import event_schema

CONFIG = """
sources: {{prod: {{url: "https://awx.example.com", token: t}}}}
sinks:
  hook: {{type: webhook, url: "{url}"}}
  lines: {{type: file, path: "{folder}/events.jsonl"}}
routes: [{{to: [hook, lines]}}]
"""


@pytest.fixture
async def receiver():
    """A server; `receiver.status` is what it answers (0: nothing), `receiver.bodies` what it got."""

    async def answer(request):
        app.bodies.append(await request.json())
        if app.status == 0:
            await asyncio.sleep(30)
        return web.Response(status=app.status)

    app = SimpleNamespace(status=204, bodies=[])
    served = web.Application()
    served.router.add_post("/hook", answer)
    async with TestServer(served) as server:
        app.url = str(server.make_url("/hook"))
        yield app


@pytest.fixture
def send(receiver, tmp_path):
    """Run `send-test` as a process; return its exit code and all that it wrote."""
    path = tmp_path / "bridge.yaml"
    path.write_text(CONFIG.format(url=receiver.url, folder=tmp_path))

    async def run(*words):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "send-test", path, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    return run


async def test_a_sink_that_works(send, receiver):
    code, said = await send("hook")
    assert code == 0, said
    assert said.startswith("sink hook (http://127.0.0.1:")
    assert said.endswith(") accepted the test event\n")
    (body,) = receiver.bodies
    assert body["type"] == "bridge.heartbeat"
    assert "test" in body["reason"]


async def test_the_test_event_is_of_the_schema(send, tmp_path):
    assert (await send("lines"))[0] == 0
    body = json.loads((tmp_path / "events.jsonl").read_text())
    jsonschema.Draft202012Validator(event_schema()).validate(body)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (403, (1, "refused the test event: HTTP 403")),
        (422, (1, "refused the test event: HTTP 422")),
        (503, (69, "is not available: HTTP 503")),
    ],
)
async def test_a_sink_that_does_not(send, receiver, status, outcome):
    receiver.status = status
    code, said = await send("hook")
    assert code == outcome[0]
    assert outcome[1] in said
    assert said.count("\n") == 1


async def test_a_sink_that_hangs(send, receiver):
    receiver.status = 0
    code, said = await send("hook", "--timeout", "1")
    assert code == 69
    assert said.endswith("did not answer within 1 seconds\n")


async def test_a_sink_that_is_not_in_the_configuration(send):
    code, said = await send("hok")
    assert (code, said) == (2, "no sink is called 'hok'; did you mean 'hook'?\n")
