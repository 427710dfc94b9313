import asyncio
import base64
import hashlib
import hmac
import json
import socket
import ssl

import aiohttp
import pytest
import trustme
from pydantic import ValidationError
from standardwebhooks import Webhook

from bridge.encode import message_uuid
from bridge.errors import (
    ConfigError,
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.ports import SinkContext
from bridge.sinks.over_http import (
    TRANSPORT_ERRORS,
    excerpt_of,
    failure_of_status,
    failure_of_transport,
    shown_address,
)
from bridge.sinks.webhook import WebhookOptions, open_webhook, webhook_id
from tests.support.samples import sample, status_sample
from tests.support.wallclock import WallClock
from tests.support.webhook import running_receiver

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"an older secret of 24 b.").decode()


@pytest.fixture
async def receiver():
    async with running_receiver() as receiver:
        yield receiver


def context(name="cmdb"):
    return SinkContext(bridge="b", name=name, clock=WallClock())


def opened(receiver, **more):
    return open_webhook(WebhookOptions(type="webhook", url=receiver.url, **more), context())


async def failure_of(receiver, kind, *, event=None, **more):
    async with opened(receiver, **more) as sink:
        with pytest.raises(kind) as caught:
            await sink.send([event or sample()])
    return caught.value


async def test_a_request_is_a_signed_binary_cloudevent(receiver):
    event = sample(7, job_name='déploy 100% "now"')
    async with opened(receiver, secret=SECRET) as sink:
        await sink.send([event])
    receiver.verify(SECRET)
    [request] = receiver.received
    assert json.loads(request.body) == event.read()
    assert request.headers["webhook-id"] == request.headers["ce-id"] == "prod/job/42/event/7"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["ce-specversion"] == "1.0"
    assert request.headers["ce-type"] == "awx.event.runner_on_failed"
    assert request.headers["ce-partitionkey"] == "prod/job/42"
    assert "ce-datacontenttype" not in request.headers
    assert request.headers["user-agent"] == "awx-event-bridge"


async def test_structured_mode_is_one_envelope(receiver):
    event = sample(7)
    async with opened(receiver, secret=SECRET, content_mode="structured") as sink:
        await sink.send([event])
    receiver.verify(SECRET)
    [request] = receiver.received
    envelope = json.loads(request.body)
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert envelope["data"] == event.read()
    assert envelope["id"] == event.id
    assert not [name for name in request.headers if name.startswith("ce-")]


async def test_both_secrets_sign_while_receivers_change_over(receiver):
    async with opened(receiver, secret=SECRET, previous_secret=OLD_SECRET) as sink:
        await sink.send([sample()])
    receiver.verify(SECRET)
    receiver.verify(OLD_SECRET)
    with pytest.raises(Exception, match="No matching signature"):
        receiver.verify("whsec_" + base64.b64encode(b"somebody else's secret..").decode())


async def test_a_plain_secret_is_used_as_it_is(receiver):
    async with opened(receiver, secret="correct horse") as sink:
        await sink.send([sample()])
    [request] = receiver.received
    Webhook(b"correct horse").verify(request.body, request.headers)


async def test_the_hub_signature_covers_the_body(receiver):
    async with opened(receiver, secret="s3cret", hub_signature=True, hub_signature_header="X-Sig") as sink:
        await sink.send([sample()])
    [request] = receiver.received
    digest = hmac.new(b"s3cret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-sig"] == f"sha256={digest}"


async def test_without_a_secret_nothing_is_signed(receiver):
    async with opened(receiver) as sink:
        await sink.send([sample()])
    assert "webhook-signature" not in receiver.received[0].headers
    assert receiver.received[0].headers["webhook-id"] == sample().id


async def test_the_id_stays_and_the_timestamp_is_of_the_attempt(receiver):
    receiver.reply(503)
    clock = WallClock()
    options = WebhookOptions(type="webhook", url=receiver.url, secret=SECRET)
    async with open_webhook(options, SinkContext(bridge="b", name="cmdb", clock=clock)) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample()])
        clock.skew = 60
        await sink.send([sample()])
    first, second = (attempt.headers for attempt in receiver.attempts)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) >= 60
    receiver.verify(SECRET)


async def test_attributes_are_encoded_as_the_http_binding_says(receiver):
    event = sample(id="prod/job/42/event/1", source="prod")
    strange = type(event)(
        **{**{f: getattr(event, f) for f in event.__struct_fields__}, "type": 'a "b" 100% é'}
    )
    async with opened(receiver) as sink:
        await sink.send([strange])
    assert receiver.received[0].headers["ce-type"] == "a%20%22b%22%20100%25%20%C3%A9"


@pytest.mark.parametrize("event_id", ["bridge.heartbeat/1", "prod/job/1\nx: y", "é", ""])
def test_an_id_that_cannot_be_signed_becomes_its_uuid(event_id):
    assert webhook_id(event_id) == message_uuid(event_id)


def test_an_ordinary_id_stays_itself():
    assert webhook_id("prod-1_x/project_update/42/event/7/2") == "prod-1_x/project_update/42/event/7/2"


TEMPORARY = {408, 409, 425, 429, *range(500, 600), *range(100, 200)}
PERMANENT = {400, 413, 415, 422, 431}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_decision(status):
    failure = failure_of_status(status, now=0, retry_after="7", excerpt="why")
    if 200 <= status < 300:
        assert failure is None
        return
    expected = (
        TemporaryDeliveryError
        if status in TEMPORARY
        else PermanentDeliveryError
        if status in PERMANENT
        else SinkRefusedError
    )
    assert type(failure) is expected
    assert failure.reason == f"HTTP {status}: why"
    assert getattr(failure, "retry_after", 7) == 7


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, TemporaryDeliveryError) for status in (408, 409, 425, 429, 500, 502, 503, 504)),
        *((status, PermanentDeliveryError) for status in (400, 413, 415, 422)),
        *((status, SinkRefusedError) for status in (301, 302, 307, 308, 401, 403, 404, 410)),
    ],
)
async def test_statuses_on_the_wire(receiver, status, kind):
    receiver.reply(status, headers={"Location": receiver.url, "Retry-After": "3"})
    failure = await failure_of(receiver, kind)
    assert failure.reason == f"HTTP {status}"
    assert len(receiver.attempts) == 1
    if kind is TemporaryDeliveryError:
        assert failure.retry_after == 3


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_success(receiver, status):
    receiver.reply(status)
    async with opened(receiver) as sink:
        await sink.send([sample()])
    assert len(receiver.received) == 1


def all_client_errors(kind=aiohttp.ClientError):
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("aiohttp"):
            yield sub
            yield from all_client_errors(sub)


@pytest.mark.parametrize("kind", sorted({*all_client_errors()}, key=lambda kind: kind.__name__))
def test_every_exception_of_aiohttp_has_a_decision(kind):
    error = kind.__new__(kind)
    error.status = 502
    failure = failure_of_transport(error)
    assert issubclass(kind, TRANSPORT_ERRORS)
    address = issubclass(kind, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError)
    assert type(failure) is (SinkRefusedError if address else TemporaryDeliveryError)


async def test_a_dropped_connection_is_temporary(receiver):
    receiver.reply(drop=True)
    failure = await failure_of(receiver, TemporaryDeliveryError)
    assert "connection failed" in failure.reason


async def test_a_receiver_that_hangs_is_given_up(receiver):
    receiver.reply(hang=True)
    failure = await failure_of(receiver, TemporaryDeliveryError, timeout=0.2)
    assert failure.reason == "no answer in time"


async def test_nobody_there_is_temporary(receiver):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        receiver.url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    failure = await failure_of(receiver, TemporaryDeliveryError)
    assert "connection failed" in failure.reason


async def test_the_reason_shows_a_short_safe_excerpt(receiver):
    body = b"<h1>no</h1>\x1b[31m\r\n bad token hunter2222 " + b"x" * 9_000_000
    receiver.reply(422, body=body)
    failure = await failure_of(
        receiver, PermanentDeliveryError, headers={"Authorization": "Bearer hunter2222"}
    )
    assert failure.reason.startswith("HTTP 422: <h1>no</h1> [31m bad token *** xxx")
    assert len(failure.reason) < 250


def test_a_secret_cut_off_by_the_limit_does_not_show():
    raw = b" " * 4090 + b"hunter2222"
    assert "hunter" not in excerpt_of(raw, secrets=["hunter2222"])


async def test_a_broken_answer_still_has_its_status(receiver):
    receiver.reply(503, body=b"not gzip", headers={"Content-Encoding": "gzip"})
    failure = await failure_of(receiver, TemporaryDeliveryError)
    assert failure.reason.startswith("HTTP 503")


async def test_an_event_too_large_is_cut_and_beyond_that_refused(receiver):
    async with opened(receiver, max_event_bytes=3000) as sink:
        await sink.send([sample(stdout="x" * 10_000)])
        with pytest.raises(PermanentDeliveryError):
            await sink.send([sample(play="x" * 10_000)])
    [request] = receiver.attempts
    assert len(request.body) <= 3000
    assert "stdout" in json.loads(request.body)["truncated"]


async def test_a_batch_stops_at_the_first_failure(receiver):
    receiver.reply(200)
    receiver.reply(422)
    async with opened(receiver) as sink:
        with pytest.raises(PartialDeliveryError) as caught:
            await sink.send([sample(1), sample(2), sample(3)])
    assert {n: type(err) for n, err in caught.value.errors.items()} == {
        1: PermanentDeliveryError,
        2: TemporaryDeliveryError,
    }
    assert len(receiver.attempts) == 2


async def test_cookies_are_not_kept(receiver):
    receiver.always.headers["Set-Cookie"] = "a=b"
    async with opened(receiver) as sink:
        await sink.send([sample(1)])
        await sink.send([sample(2)])
    assert "cookie" not in receiver.received[1].headers


async def test_the_secrets_file_is_read_again_after_a_refusal(receiver, tmp_path):
    file = tmp_path / "secret"
    file.write_text(OLD_SECRET + "\n")
    async with opened(receiver, secret_file=file) as sink:
        file.write_text(SECRET)
        receiver.reply(401)
        with pytest.raises(SinkRefusedError):
            await sink.send([sample()])
        await sink.send([sample()])
        receiver.verify(SECRET)
        receiver.reply(401)
        file.unlink()
        for reason in ("HTTP 401", "the signing secret cannot be read or used"):
            with pytest.raises(SinkRefusedError, match=reason):
                await sink.send([sample()])


async def test_tls_trusts_the_given_authority_only(tmp_path):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with running_receiver(ssl=server) as receiver:
        async with opened(receiver, tls={"ca_file": tmp_path / "ca.pem"}) as sink:
            await sink.send([sample()])
        failure = await failure_of(receiver, TemporaryDeliveryError)
        assert failure.reason == "the server's certificate is not trusted"
    assert len(receiver.received) == 1


async def test_a_proxy_is_used(receiver):
    options = WebhookOptions(
        type="webhook", url="http://cmdb.invalid/hook", proxy=receiver.url.removesuffix("/hook")
    )
    async with open_webhook(options, context()) as sink:
        await sink.send([sample()])
    assert receiver.received[0].headers["host"] == "cmdb.invalid"


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"tls": {"ca_file": "/no/such.pem"}}, "sinks.cmdb.tls"),
        ({"secret": "whsec_!!!"}, "sinks.cmdb.secret"),
        ({"secret": ""}, "sinks.cmdb.secret"),
        ({"secret_file": "/no/such"}, "sinks.cmdb.secret"),
    ],
)
async def test_what_cannot_be_opened_is_a_configuration_error(more, path):
    options = WebhookOptions(type="webhook", url="http://x/", **more)
    with pytest.raises(ConfigError) as caught:
        async with open_webhook(options, context()):
            pass
    assert caught.value.problems[0].path == path


@pytest.mark.parametrize(
    "more",
    [
        {"url": "cmdb.example.com"},
        {"url": "ftp://cmdb.example.com"},
        {"url": "http://"},
        {"previous_secret": "x"},
        {"hub_signature": True},
        {"secret": "x", "hub_signature_header": "a b"},
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"Webhook-Id": "x"}},
        {"headers": {"CE-id": "x"}},
        {"headers": {"content-type": "x"}},
        {"in_flight": 0},
        {"timeout": 0},
        {"content_mode": "batch"},
    ],
)
def test_bad_options_are_refused(more):
    with pytest.raises(ValidationError):
        WebhookOptions(**{"type": "webhook", "url": "https://x.example.com/", **more})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@cmdb.example.com:8443/a/b#f", "https://cmdb.example.com:8443/a/b"),
        ("https://cmdb.example.com/a?token=secret", "https://cmdb.example.com/a?"),
    ],
)
def test_the_destination_shows_no_secret(url, shown):
    destination = WebhookOptions(type="webhook", url=url).destination
    assert destination.startswith(shown)
    assert "secret" not in destination
    assert "u:p" not in destination


def test_another_query_is_another_destination():
    assert shown_address("https://x/?a=1") != shown_address("https://x/?a=2")


async def test_many_at_once(receiver):
    async with opened(receiver) as sink:
        await asyncio.gather(*(sink.send([sample(n)]) for n in range(1, 30)))
        await sink.send([status_sample()])
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 30
