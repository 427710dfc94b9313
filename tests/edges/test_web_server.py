"""Probes and metrics over a real socket."""

import asyncio
import errno
import socket

import aiohttp
import pytest

from bridge.errors import ListenError
from bridge.observe import Metrics
from bridge.web.server import METRICS_TYPE, Health, NotReady, open_web

ADDRESS = ("127.0.0.1", 0)


class Bridge:
    """What the server asks."""

    def __init__(self):
        self.state = Health()
        self.shown = {"name": "awx-bridge", "sinks": [{"name": "ops", "lag": 1.5}]}
        self.metrics = Metrics()

    def opened(self, address=ADDRESS):
        return open_web(
            address, health=lambda: self.state, metrics=self.metrics.render, status=lambda: self.shown
        )


@pytest.fixture
def bridge():
    return Bridge()


@pytest.fixture
async def web(bridge):
    async with bridge.opened() as url, aiohttp.ClientSession(url) as session:
        yield session


async def test_it_is_live_while_the_loop_turns(web):
    async with web.get("/livez") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_it_is_ready_when_nothing_is_wrong(web):
    async with web.get("/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, [])


async def test_it_says_what_is_not_ready(web, bridge):
    bridge.state = Health(not_ready=(NotReady(what="source prod", why="AWX does not answer"),))
    async with web.get("/readyz") as answer:
        assert answer.status == 503
        assert await answer.json() == [{"what": "source prod", "why": "AWX does not answer"}]
    bridge.state = Health()
    async with web.get("/readyz") as answer:
        assert answer.status == 200


async def test_prometheus_gets_its_format(web, bridge):
    bridge.metrics.add("events_read_total", 3, {"source": "prod"})
    async with web.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == METRICS_TYPE
        assert 'awx_bridge_events_read_total{source="prod"} 3.0\n' in await answer.text()


async def test_status_is_json(web, bridge):
    async with web.get("/api/v1/status") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == bridge.shown


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/api/v1/status", "/", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_answer_can_be_cached_framed_or_run(web, method, path):
    async with web.request(method, path) as answer:
        headers = answer.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Server" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/livez", 200),
        ("POST", "/livez", 405),
        ("DELETE", "/api/v1/status", 405),
        ("GET", "/", 404),
        ("GET", "/metrics/../livez/", 404),
    ],
)
async def test_only_what_is_there_answers(web, method, path, status):
    async with web.request(method, path) as answer:
        assert answer.status == status


async def test_a_port_in_use_is_a_clear_error(bridge):
    async with bridge.opened() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(
            ListenError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*server\.listen"
        ) as caught:
            async with bridge.opened(("127.0.0.1", port)):
                pass
    assert caught.value.__cause__.errno == errno.EADDRINUSE


async def test_an_address_of_another_machine_is_a_clear_error(bridge):
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"):
        async with bridge.opened(("192.0.2.1", 0)):
            pass


async def test_ipv6_is_shown_in_brackets(bridge):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with bridge.opened(("::1", 0)) as url, aiohttp.ClientSession(url) as session:
        assert url.startswith("http://[::1]:")
        async with session.get("/livez") as answer:
            assert answer.status == 200


async def test_the_end_does_not_wait_for_idle_or_silent_clients(bridge):
    loop = asyncio.get_running_loop()
    async with bridge.opened() as url, aiohttp.ClientSession(url) as session:
        async with session.get("/livez") as answer:
            await answer.read()
        port = int(url.rpartition(":")[2])
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        silent.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        await silent.drain()
        began = loop.time()
    assert loop.time() - began < 1
    silent.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_rubbish_does_not_disturb_the_others(web, bridge):
    port = web._base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00rubbish\r\n\r\n")
    async with asyncio.timeout(5):
        assert b" 400 " in await reader.readline()
    writer.close()
    async with web.get("/livez") as answer:
        assert answer.status == 200
