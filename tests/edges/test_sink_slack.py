import asyncio
import ssl

import pytest
import trustme
from pydantic import ValidationError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from bridge.encode import replayed
from bridge.errors import (
    ConfigError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.ports import SinkContext
from bridge.sinks.slack import SlackOptions, open_slack
from tests.support.samples import sample, status_sample
from tests.support.slack import TOKEN, FakeSlack, running_slack
from tests.support.wallclock import WallClock


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


def opened(slack, **more):
    given = {"type": "slack", "token": TOKEN, "channel": "#ops", "base_url": slack.url} | more
    return open_slack(SlackOptions(**given), SinkContext(bridge="b", name="ops", clock=WallClock()))


async def failure_of(slack, kind, **more):
    async with opened(slack, **more) as sink:
        with pytest.raises(kind) as caught:
            await sink.send([sample()])
    return caught.value


def calls(slack, method="chat.postMessage"):
    return [asked for name, asked in slack.calls if name == method]


async def test_a_message_carries_the_event_id_and_unfurls_nothing(slack):
    async with opened(slack) as sink:
        await sink.send([status_sample()])
    [message] = slack.messages()
    assert message["metadata"] == {
        "event_type": "awxbridge_delivery",
        "event_payload": {"id": "prod/job/42/status/failed", "sink": "b/ops", "repeat": 0},
    }
    assert message["text"].startswith("❌ deploy-web failed")
    assert message["unfurl_links"] is message["unfurl_media"] is False
    assert message["blocks"]
    assert message["attachments"][0]["color"]


async def test_a_name_is_looked_up_once_and_messages_go_to_the_id(slack):
    async with opened(slack) as sink:
        await sink.send([sample(1)])
        slack.channel("ops").name = "renamed"
        await sink.send([sample(2)])
    assert len(calls(slack, "conversations.list")) == 1
    assert {asked["channel"] for asked in calls(slack)} == {slack.channel("renamed").id}


async def test_a_name_on_a_later_page_is_found(slack):
    for number in range(1200):
        slack.add_channel(f"other-{number}")
    last = slack.add_channel("team")
    async with opened(slack, channel="team") as sink:
        await sink.send([sample()])
    assert len(last.messages) == 1
    assert len(calls(slack, "conversations.list")) == 2


async def test_an_id_needs_no_look_up(slack):
    async with opened(slack, channel=slack.channel("ops").id) as sink:
        await sink.send([sample()])
    assert not calls(slack, "conversations.list")
    assert len(slack.messages()) == 1


async def test_without_the_scope_to_list_the_name_does(slack):
    slack.scopes = {"chat:write"}
    async with opened(slack) as sink:
        await sink.send([sample(1), sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]
    assert {asked["channel"] for asked in calls(slack)} == {"#ops"}


async def test_a_lost_reply_is_not_posted_again(slack):
    slack.fail("chat.postMessage", drop=True, taken=True)
    async with opened(slack) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        await sink.send([sample(1)])
        await sink.send([sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]


async def test_a_lost_request_is_posted_again(slack):
    slack.fail("chat.postMessage", drop=True)
    slack.fail("chat.postMessage", status=500)
    async with opened(slack) as sink:
        for _ in range(2):
            with pytest.raises(TemporaryDeliveryError):
                await sink.send([sample(1)])
        await sink.send([sample(1)])
    assert slack.ids() == [sample(1).id]


async def test_a_cancelled_post_is_looked_for(slack):
    slack.fail("chat.postMessage", hang=True, taken=True)
    async with opened(slack) as sink:
        sending = asyncio.create_task(sink.send([sample(1)]))
        await asyncio.wait_for(slack.posted.wait(), 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await sink.send([sample(1)])
    assert slack.ids() == [sample(1).id]


async def test_what_was_posted_before_a_crash_is_not_posted_again(slack):
    for _ in range(2):
        async with opened(slack) as sink:
            await sink.send([sample(1)])
    assert slack.ids() == [sample(1).id]


async def test_a_replay_is_posted_although_it_is_there(slack):
    for event in (sample(1), replayed(sample(1))):
        async with opened(slack) as sink:
            await sink.send([event])
    assert slack.ids() == [sample(1).id, sample(1).id]


async def test_without_the_scope_to_look_a_lost_reply_is_repeated(slack):
    slack.scopes -= {"channels:history"}
    slack.fail("chat.postMessage", drop=True, taken=True)
    async with opened(slack) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        await sink.send([sample(1)])
    assert slack.ids() == [sample(1).id, sample(1).id]


async def test_a_look_back_that_fails_is_temporary_and_posts_nothing(slack):
    slack.fail("chat.postMessage", drop=True, taken=True)
    async with opened(slack) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        slack.fail("conversations.history", status=429, retry_after="30")
        with pytest.raises(TemporaryDeliveryError) as caught:
            await sink.send([sample(1)])
        assert caught.value.retry_after == 30
        await sink.send([sample(1)])
    assert slack.ids() == [sample(1).id]


async def test_slacks_pace_gives_the_wait_and_no_look_back():
    async with running_slack(FakeSlack(limited=True)) as slack, opened(slack) as sink:
        for number in range(1, 5):
            await sink.send([sample(number)])
        with pytest.raises(TemporaryDeliveryError) as caught:
            await sink.send([sample(5)])
        assert caught.value.retry_after == 1
        looks = len(calls(slack, "conversations.history"))
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(5)])
        assert len(calls(slack, "conversations.history")) == looks
        await asyncio.sleep(1.05)
        await sink.send([sample(5)])
    assert len(slack.ids()) == 5


ERRORS = [
    *(
        (code, TemporaryDeliveryError)
        for code in ("ratelimited", "rate_limited", "internal_error", "fatal_error")
    ),
    *((code, TemporaryDeliveryError) for code in ("message_limit_exceeded", "something_new")),
    *((code, PermanentDeliveryError) for code in ("msg_too_long", "invalid_blocks", "msg_blocks_too_long")),
    *((code, PermanentDeliveryError) for code in ("no_text", "invalid_arguments", "metadata_too_large")),
    *(
        (code, SinkRefusedError)
        for code in ("invalid_auth", "not_authed", "token_revoked", "account_inactive")
    ),
    *((code, SinkRefusedError) for code in ("missing_scope", "not_in_channel", "channel_not_found")),
    *(
        (code, SinkRefusedError)
        for code in ("is_archived", "restricted_action", "restricted_action_read_only_channel")
    ),
]


@pytest.mark.parametrize(("code", "kind"), ERRORS)
async def test_every_error_of_slack_has_a_decision(slack, code, kind):
    slack.fail("chat.postMessage", error=code, retry_after="5")
    failure = await failure_of(slack, kind)
    assert failure.reason == f"Slack: {code}"
    assert slack.messages() == []
    if code.startswith("rate"):
        assert failure.retry_after == 5


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ({"status": 500}, TemporaryDeliveryError, "HTTP 500"),
        ({"status": 503, "body": "later", "retry_after": "9"}, TemporaryDeliveryError, "HTTP 503: later"),
        ({"status": 429, "retry_after": "9"}, TemporaryDeliveryError, "HTTP 429"),
        ({"status": 200, "body": "hello"}, TemporaryDeliveryError, "an answer that is not Slack's"),
        ({"status": 200, "body": "<p>", "content_type": "text/html"}, TemporaryDeliveryError, "not Slack's"),
        (
            {"status": 200, "body": "{", "content_type": "application/json"},
            TemporaryDeliveryError,
            "not Slack's",
        ),
        (
            {"status": 200, "body": "[1]", "content_type": "application/json"},
            TemporaryDeliveryError,
            "not Slack's",
        ),
        (
            {"status": 200, "body": "{}", "content_type": "application/json"},
            TemporaryDeliveryError,
            "not Slack's",
        ),
        ({"status": 204}, TemporaryDeliveryError, "HTTP 204"),
        ({"status": 302}, SinkRefusedError, "HTTP 302"),
        ({"status": 404}, SinkRefusedError, "HTTP 404"),
        ({"status": 403, "body": TOKEN}, SinkRefusedError, r"HTTP 403: \*\*\*"),
    ],
)
async def test_every_answer_has_a_decision(slack, how, kind, reason):
    slack.fail("chat.postMessage", **how)
    failure = await failure_of(slack, kind)
    with pytest.raises(kind, match=reason):
        raise failure
    if "retry_after" in how:
        assert failure.retry_after == 9


async def test_the_reason_says_what_is_missing(slack):
    slack.scopes = {"channels:read", "groups:read"}
    failure = await failure_of(slack, SinkRefusedError)
    assert failure.reason == "Slack: missing_scope (needs chat:write)"


async def test_slack_says_which_block_is_wrong(slack):
    extra = {"response_metadata": {"messages": ["[ERROR] must be less than 3001 characters"]}}
    slack.fail("chat.postMessage", error="invalid_blocks", extra=extra)
    failure = await failure_of(slack, PermanentDeliveryError)
    assert failure.reason == "Slack: invalid_blocks ([ERROR] must be less than 3001 characters)"


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        ({"is_archived": True}, "is_archived"),
        ({"is_member": False}, "not_in_channel"),
        ({"is_member": False, "is_private": True}, "channel_not_found"),
    ],
)
async def test_a_channel_that_cannot_be_used(slack, setup, reason):
    slack.add_channel("odd", **setup)
    failure = await failure_of(slack, SinkRefusedError, channel="#odd")
    assert failure.reason == f"Slack: {reason}"


async def test_after_a_refusal_token_and_channel_are_looked_up_again(slack, tmp_path):
    file = tmp_path / "token"
    file.write_text("xoxb-old")
    async with opened(slack, token=None, token_file=file, channel="#new") as sink:
        with pytest.raises(SinkRefusedError, match="invalid_auth"):
            await sink.send([sample()])
        file.write_text(TOKEN + "\n")
        with pytest.raises(SinkRefusedError, match="channel_not_found"):
            await sink.send([sample()])
        slack.add_channel("new")
        await sink.send([sample()])
    assert len(slack.messages("new")) == 1


async def test_a_slack_that_hangs_is_given_up(slack):
    slack.fail("chat.postMessage", hang=True)
    failure = await failure_of(slack, TemporaryDeliveryError, timeout=0.2)
    assert failure.reason == "no answer in time"


async def test_the_environment_names_no_proxy(slack, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with opened(slack) as sink:
        await sink.send([sample()])
    assert len(slack.messages()) == 1


async def test_nothing_of_a_message_is_logged(slack, caplog):
    caplog.set_level(1)
    async with opened(slack) as sink:
        await sink.send([status_sample()])
    assert not [r for r in caplog.records if "deploy-web" in r.getMessage() or TOKEN in r.getMessage()]


async def test_tls_trusts_the_given_authority(tmp_path):
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with running_slack(ssl=server) as slack:
        async with opened(slack, tls={"ca_file": tmp_path / "ca.pem"}) as sink:
            await sink.send([sample()])
        failure = await failure_of(slack, TemporaryDeliveryError)
    assert failure.reason == "the server's certificate is not trusted"
    assert len(slack.messages()) == 1


@pytest.mark.parametrize("kind", SlackClientError.__subclasses__())
async def test_every_error_of_the_client_is_translated(slack, kind, monkeypatch):
    async def fail(self, **asked):
        error = kind.__new__(kind)
        if isinstance(error, SlackApiError):
            error.response = {}
        raise error

    monkeypatch.setattr(AsyncWebClient, "chat_postMessage", fail)
    await failure_of(slack, TemporaryDeliveryError)


@pytest.mark.parametrize(
    "more", [{"token": ""}, {"token": "xoxb-\n"}, {"token": None, "token_file": "/no/such"}]
)
async def test_a_token_that_cannot_be_used_is_a_configuration_error(slack, more):
    with pytest.raises(ConfigError) as caught:
        async with opened(slack, **more):
            pass
    assert caught.value.problems[0].path == "sinks.ops.token"


@pytest.mark.parametrize("more", [{"token": None}, {"channel": ""}, {"base_url": "slack.com"}, {"icon": "x"}])
def test_bad_options_are_refused(more):
    with pytest.raises(ValidationError):
        SlackOptions(**{"type": "slack", "token": "x", "channel": "#ops", **more})


def test_the_destination_is_server_and_channel():
    options = SlackOptions(type="slack", token="x", channel="#ops", base_url="http://u:p@localhost:1/api")
    assert options.destination == "http://localhost:1/api/ #ops"
    assert options.base_url.endswith("/")
