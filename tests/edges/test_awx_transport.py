"""The client against a real server on loopback: what goes over the wire, and what comes back."""

import asyncio
import base64
import socket
import ssl
from contextlib import asynccontextmanager, closing, suppress

import pytest
import trustme
from aiohttp import web

from bridge import __version__
from bridge.awx import SourceOptions, open_source
from bridge.awx.answers import AnswerTooSlow
from bridge.errors import ConfigError, SourceDataError, SourceRefused, SourceUnavailable
from bridge.model import JobKey, SourceIdentity
from tests.support.awx_server import hang, scripted_awx
from tests.support.fakes import FakeClock

KEY = JobKey("prod", "job", 7)
ROW = {"id": 7, "type": "job", "status": "running"}


@pytest.fixture
async def awx():
    async with scripted_awx() as awx:
        awx.say("/api/v2/jobs/7/", ROW)
        awx.say("/api/v2/ping/", {"version": "24.6.1", "install_uuid": "u-1"})
        awx.say("/api/v2/me/", {"count": 1, "results": [{"id": 1}]})
        yield awx


def source(url, **given):
    if not given.keys() & {"token", "token_file", "username"}:
        given["token"] = "t0ken-s3cret"
    options = SourceOptions.model_validate({"url": url, "max_requests": 1000, **given})
    return open_source("prod", options, clock=FakeClock())


async def test_a_request_as_awx_sees_it(awx):
    async with source(awx.url) as prod:
        assert (await prod.job(KEY)).status == "running"
    request = awx.requests[-1]
    assert request.path == "/api/v2/jobs/7/"
    assert request.headers["Authorization"] == "Bearer t0ken-s3cret"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"] == f"awx-event-bridge/{__version__}"
    assert "Cookie" not in request.headers


async def test_basic_authentication_is_sent_without_being_asked(awx):
    async with source(awx.url, username="ann", password="pässword") as prod:
        await prod.job(KEY)
    pair = base64.b64encode("ann:pässword".encode()).decode()
    assert awx.requests[0].headers["Authorization"] == f"Basic {pair}"


async def test_identity(awx):
    async with source(awx.url) as prod:
        assert await prod.identify() == SourceIdentity(version="24.6.1", install_uuid="u-1")
        assert prod.name == "prod"
    assert [path for path, _ in awx.asked] == ["/api/v2/ping/", "/api/v2/me/"]


async def test_identity_needs_accepted_credentials(awx):
    awx.say("/api/v2/me/", {"detail": "Authentication credentials were not provided."}, status=401)
    async with source(awx.url) as prod:
        with pytest.raises(SourceRefused, match="credentials were not provided") as caught:
            await prod.identify()
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("versions", "path", "at", "asked"),
    [
        ({"/api/": "/api/v2/"}, "", "/api/v2/", ["/api/"]),
        (
            {"/api/controller/": "/api/controller/v2/"},
            "",
            "/api/controller/v2/",
            ["/api/", "/api/controller/"],
        ),
        ({"/awx/api/": "/awx/api/v2/"}, "/awx", "/awx/api/v2/", ["/awx/api/"]),
        ({"/awx/api/": "/api/v2/"}, "/awx/", "/awx/api/v2/", ["/awx/api/"]),
    ],
)
async def test_the_root_is_discovered_once(versions, path, at, asked):
    async with scripted_awx() as awx:
        awx.say("/api/", {"detail": "Not found."}, status=404)
        for place, root in versions.items():
            awx.say(place, {"available_versions": {"v2": root}})
        awx.say(at + "jobs/7/", ROW)
        async with source(awx.url + path) as prod:
            await asyncio.gather(*(prod.job(KEY) for _ in range(3)))
    assert [r.path for r in awx.requests] == [*asked, *[at + "jobs/7/"] * 3]


@pytest.mark.parametrize(
    "gateway", [{"description": "AAP gateway", "apis": {}}, [], {"available_versions": "x"}]
)
async def test_a_gateway_in_front_names_no_versions(gateway):
    async with scripted_awx() as awx:
        awx.say("/api/", gateway)
        awx.say("/api/controller/", {"current_version": "/api/controller/v2/"})
        awx.say("/api/controller/v2/jobs/7/", ROW)
        async with source(awx.url) as prod:
            await prod.job(KEY)


@pytest.mark.parametrize(
    "root", ["//evil.example.com/", "https://evil.example.com/", "api/v2", "/api/v2/?a=", 7, ""]
)
async def test_a_root_elsewhere_is_none(root):
    async with scripted_awx() as awx:
        awx.say("/api/", {"available_versions": {"v2": root}})
        async with source(awx.url) as prod:
            with pytest.raises(SourceUnavailable, match="no AWX API v2 below url"):
                await prod.job(KEY)


async def test_after_a_404_the_root_is_looked_for_again(awx):
    async with source(awx.url) as prod:
        await prod.job(KEY)
        awx.handlers.clear()
        with pytest.raises(SourceRefused) as caught:
            await prod.job(KEY)
        assert caught.value.status == 404
        awx.say("/api/", {"available_versions": {"v2": "/api/controller/v2/"}})
        awx.say("/api/controller/v2/jobs/7/", ROW)
        await prod.job(KEY)


async def test_a_renewed_token_is_read_after_a_401(awx, tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")

    async def job(request):
        good = request.headers["Authorization"] == "Bearer new"
        return web.json_response(ROW if good else {"detail": "no"}, status=200 if good else 401)

    awx.on("/api/v2/jobs/7/", job)
    async with source(awx.url, token_file=file) as prod:
        with pytest.raises(SourceRefused):
            await prod.job(KEY)
        assert len(awx.asked) == 1
        file.write_text("new\n")
        assert (await prod.job(KEY)).key == KEY


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff"])
async def test_a_token_file_that_holds_no_token(awx, tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    async with source(awx.url, token_file=file) as prod:
        with pytest.raises(SourceUnavailable, match="token_file"):
            await prod.job(KEY)
    assert not awx.requests


async def raw(answer):
    """Serve each connection `answer` as raw bytes, and close it."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed before the answer"),
        (HEAD + b'Content-Length: 900\r\n\r\n{"id": 7', "cut off"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "cut off"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", "cut off|no proper answer"),
        (b"nonsense\r\n\r\n", "no proper answer|cut off"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "no proper answer|cut off"),
    ],
)
async def test_answers_that_break(answer, said):
    server, url = await raw(answer)
    async with server, source(url) as prod:
        with pytest.raises(SourceUnavailable, match=said):
            await prod.job(KEY)


async def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with source(url) as prod:
        with pytest.raises(SourceUnavailable, match=r"(?i)refused|connect"):
            await prod.job(KEY)


@pytest.mark.parametrize("slow", ["headers", "body"])
async def test_a_hanging_answer_has_a_deadline(awx, slow):
    async def drip(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for _ in range(600):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    awx.on("/api/v2/jobs/7/", hang if slow == "headers" else drip)
    async with source(awx.url, timeout=0.3) as prod, asyncio.timeout(5):
        with pytest.raises(AnswerTooSlow, match="no answer in time"):
            await prod.job(KEY)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain"])
async def test_a_page_for_people_is_no_answer(awx, kind):
    async def html(_):
        return web.Response(text="<html>", headers={"Content-Type": kind})

    awx.on("/api/v2/jobs/7/", html)
    async with source(awx.url) as prod:
        with pytest.raises(SourceUnavailable, match=f"{kind.partition(';')[0]} instead of JSON"):
            await prod.job(KEY)


async def test_redirects_are_not_followed(awx):
    async def move(request):
        raise web.HTTPFound(awx.url + "/api/v2/jobs/8/")

    awx.on("/api/v2/jobs/7/", move)
    async with source(awx.url) as prod:
        with pytest.raises(SourceUnavailable, match="redirects are not followed"):
            await prod.job(KEY)
    assert "/api/v2/jobs/8/" not in [path for path, _ in awx.asked]


async def test_migrating(awx):
    async def migrations(_):
        raise web.HTTPFound("/migrations_notran/")

    awx.on("/api/", migrations)
    async with source(awx.url) as prod:
        with pytest.raises(SourceUnavailable, match="AWX is migrating"):
            await prod.identify()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, SourceDataError), (403, SourceRefused), (404, SourceRefused), (429, SourceUnavailable), (500, SourceUnavailable), (503, SourceUnavailable)],
)  # fmt: skip
async def test_error_statuses(awx, status, error):
    awx.say("/api/v2/jobs/7/", {"detail": "As AWX says."}, status=status, headers={"Retry-After": "12"})
    async with source(awx.url) as prod:
        with pytest.raises(error, match=f"HTTP {status}: As AWX says.") as caught:
            await prod.job(KEY)
    assert getattr(caught.value, "retry_after", None) in {None, 12.0}


async def test_a_kept_connection_that_was_closed_is_replaced_at_once():
    asked = []

    async def connection(reader, writer):
        with closing(writer), suppress(asyncio.IncompleteReadError):  # the client leaves at the end
            while True:
                await reader.readuntil(b"\r\n\r\n")
                asked.append(writer)
                if len(asked) == 3:  # a worker that is recycled takes its connections along
                    break
                body = b'{"current_version": "/api/v2/", "id": 7, "type": "job", "status": "running"}'
                writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    async with server, source(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as prod:
        await prod.job(KEY)
        await prod.job(KEY)
    assert len(asked) == 4


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@asynccontextmanager
async def tls_awx(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with scripted_awx(tls=context) as awx:
        awx.say("/api/v2/jobs/7/", ROW)
        yield awx.url


async def test_a_certificate_of_an_own_authority(authority, tmp_path):
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with tls_awx(authority) as url:
        async with source(url, tls={"ca_file": file}) as prod:
            await prod.job(KEY)
        async with source(url, tls={"verify": False}) as prod:
            await prod.job(KEY)
        async with source(url) as prod:
            with pytest.raises(SourceUnavailable, match="the certificate is not trusted"):
                await prod.job(KEY)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"sources\.prod\.tls"):
        async with source("https://awx.example.com", tls={"ca_file": file}):
            pass


async def test_a_proxy_is_used_and_its_password_never_shows(awx):
    async with source(
        "http://awx.invalid", proxy=awx.url.replace("http://", "http://me:pr0xy-s3cret@")
    ) as prod:
        await prod.job(KEY)
    assert awx.requests[0].headers["Host"] == "awx.invalid"
    assert awx.requests[0].headers["Proxy-Authorization"].startswith("Basic ")
    async with source("http://awx.invalid", proxy="http://me:pr0xy-s3cret@127.0.0.1:9") as prod:
        with pytest.raises(SourceUnavailable) as caught:
            await prod.job(KEY)
    assert "s3cret" not in f"{caught.value} {caught.value!r}"


async def test_no_secret_in_any_message(awx):
    for status in (301, 400, 401, 403, 404, 418, 500):
        awx.say("/api/v2/jobs/7/", {"detail": "no"}, status=status)
        async with source(awx.url) as prod:
            with pytest.raises((SourceUnavailable, SourceRefused, SourceDataError)) as caught:
                await prod.job(KEY)
            assert "s3cret" not in f"{caught.value} {caught.value!r} {prod!r}"
