"""The stand-in keeps Slack's rules: what the tests of Slack's sink rely on."""

import asyncio
import json
import os
import sys

import aiohttp
import pytest

from bridge.ports import SinkContext
from bridge.sinks.slack import SlackOptions, open_slack
from tests.support.samples import sample
from tests.support.slack import TOKEN, FakeSlack, running_slack
from tests.support.wallclock import WallClock


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


async def call(slack, method, token=TOKEN, **asked):
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(slack.url + method, json=asked) as r,
    ):
        return r.status, await r.json()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"channel": "#nowhere", "text": "x"}, "channel_not_found"),
        ({"channel": "#ops"}, "no_text"),
        ({"channel": "#ops", "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": "#ops", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"channel": "#ops", "blocks": [{"type": "nonsense"}]}, "invalid_blocks"),
        ({"channel": "#ops", "blocks": [{"type": "section"}]}, "invalid_blocks"),
        (
            {"channel": "#ops", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]},
            "invalid_blocks",
        ),
        ({"channel": "#ops", "text": "x", "metadata": {"event_type": "x"}}, "invalid_metadata_format"),
    ],
)
async def test_it_refuses_what_slack_refuses(slack, asked, error):
    _, answer = await call(slack, "chat.postMessage", **asked)
    assert (answer["ok"], answer["error"]) == (False, error)
    assert slack.messages() == []


async def test_too_much_text_in_all_blocks_together(slack):
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}}
    _, answer = await call(slack, "chat.postMessage", channel="#ops", blocks=[block] * 5)
    assert answer["error"] == "msg_blocks_too_long"


async def test_tokens(slack):
    assert (await call(slack, "auth.test"))[1]["ok"]
    assert (await call(slack, "auth.test", token="x"))[1]["error"] == "invalid_auth"
    assert (await call(slack, "auth.test", token=""))[1]["error"] == "not_authed"


async def test_its_pace_is_a_burst_and_then_one_a_second():
    now = [100.0]
    async with running_slack(FakeSlack(limited=True, clock=lambda: now[0])) as slack:
        said = [(await call(slack, "chat.postMessage", channel="#ops", text="x"))[0] for _ in range(6)]
        assert said == [200] * 4 + [429] * 2
        now[0] += 1
        assert (await call(slack, "chat.postMessage", channel="#ops", text="x"))[0] == 200


async def test_history_pages_newest_first_and_shows_metadata_when_asked(slack):
    metadata = {"event_type": "t", "event_payload": {"id": "1"}}
    for number in range(3):
        await call(slack, "chat.postMessage", channel="#ops", text=str(number), metadata=metadata)
    channel = slack.channel("ops").id
    _, page = await call(slack, "conversations.history", channel=channel, limit=2)
    assert [m["text"] for m in page["messages"]] == ["2", "1"]
    assert "metadata" not in page["messages"][0]
    cursor = page["response_metadata"]["next_cursor"]
    _, rest = await call(
        slack, "conversations.history", channel=channel, cursor=cursor, include_all_metadata=True
    )
    assert [m["metadata"] for m in rest["messages"]] == [metadata]
    oldest = slack.messages()[1]["ts"]
    _, newer = await call(slack, "conversations.history", channel=channel, oldest=oldest)
    assert [m["text"] for m in newer["messages"]] == ["2"]


async def test_threads_and_edits(slack):
    _, top = await call(slack, "chat.postMessage", channel="#ops", text="top")
    where = {"channel": top["channel"], "ts": top["ts"]}
    await call(slack, "chat.postMessage", channel="#ops", text="reply", thread_ts=top["ts"])
    await call(slack, "chat.update", text="new top", **where)
    _, replies = await call(slack, "conversations.replies", **where)
    assert [m["text"] for m in replies["messages"]] == ["new top", "reply"]
    _, history = await call(slack, "conversations.history", channel=top["channel"])
    assert [m["text"] for m in history["messages"]] == ["new top"]


async def test_alone():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.slack", "--port", "0", "--channel", "team",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        options = SlackOptions(type="slack", token=TOKEN, channel="#team", base_url=url)
        context = SinkContext(bridge="b", name="ops", clock=WallClock())
        async with open_slack(options, context) as sink:
            await sink.send([sample()])
        async with (
            aiohttp.ClientSession() as session,
            session.get(url.replace("/api/", "/messages")) as shown,
        ):
            assert len(json.loads(await shown.text())["team"]) == 1
    finally:
        process.terminate()
        await process.wait()
