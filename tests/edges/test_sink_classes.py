"""Each answer of a receiver or of Slack, from the wire to what becomes of the event, its job and the sink."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bridge.carry import Plain
from bridge.deliver import Delivery, Health
from bridge.lane import Lane
from bridge.model import Place
from bridge.ports import SinkContext
from bridge.sinks.slack import SlackOptions, open_slack
from bridge.sinks.webhook import WebhookOptions, open_webhook
from tests.support.fakes import FakeObserver
from tests.support.process import until
from tests.support.samples import KEY, sample
from tests.support.slack import TOKEN, running_slack
from tests.support.wallclock import WallClock
from tests.support.webhook import Reply, running_receiver

FIRST, SECOND = sample(1), sample(2)
TEMPORARY = [408, 409, 425, 429, 500, 502, 503, 504]
PERMANENT = [400, 413, 415, 422]
REFUSED = [301, 302, 307, 308, 401, 403, 404, 410]
SLACK_PERMANENT = ["msg_too_long", "invalid_blocks"]
SLACK_REFUSED = [
    *("invalid_auth", "token_revoked", "account_inactive", "missing_scope"),
    *("channel_not_found", "not_in_channel", "is_archived"),
]


class Line:
    """One sink behind its lane and its delivery, and what they said."""

    def __init__(self, sink, options):
        self.observer, self.buried, self.places = FakeObserver(), [], {}
        self.lane = Lane("ops", batching=options.batching, moved=self.places.__setitem__)
        self.delivery = Delivery(
            self.lane,
            Plain(sink),
            backoff=lambda _attempt: 0.01,
            retry_for=3600.0,
            bury=self.buried.append,
            changed=lambda *_: None,
            clock=WallClock(),
            observer=self.observer,
        )
        self.lane.open(KEY, Place())
        for event in (FIRST, SECOND):
            self.lane.offer(event)

    @property
    def notes(self):
        return [name for name, _ in self.observer.notes]

    async def drained(self):
        async with asyncio.timeout(20):
            await self.lane.drained()

    async def parked(self):
        await until(lambda: self.delivery.health is Health.PARKED, within=20)
        [note] = self.observer.noted("sink.parked")
        assert self.buried == []
        assert self.places == {}
        assert not self.observer.counted("events_delivered_total")
        return note["reason"]


@asynccontextmanager
async def at_work(opener, options):
    async with opener(options, SinkContext(bridge="b", name="ops", clock=WallClock())) as sink:
        line = Line(sink, options)
        task = asyncio.create_task(line.delivery.run())
        try:
            yield line
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
async def receiver():
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


def to_receiver(receiver, **more):
    return at_work(open_webhook, WebhookOptions(type="webhook", url=receiver.url, **more))


def to_slack(slack):
    return at_work(open_slack, SlackOptions(type="slack", token=TOKEN, channel="#ops", base_url=slack.url))


def got(receiver):
    return [request.headers["webhook-id"] for request in receiver.received]


def assert_one_letter(line, reason):
    assert [(letter.event_id, letter.sink) for letter in line.buried] == [(FIRST.id, "ops")]
    assert reason in line.buried[0].reason
    [note] = line.observer.noted("event.dead_lettered")
    assert note["id"] == FIRST.id
    assert line.places == {KEY: Place(through=2)}
    assert "sink.parked" not in line.notes


@pytest.mark.parametrize("status", TEMPORARY)
async def test_a_receiver_that_cannot_now_gets_it_again_in_order(receiver, status):
    for _ in range(2):
        receiver.reply(status)
    async with to_receiver(receiver) as line:
        await line.drained()
    assert got(receiver) == [FIRST.id, SECOND.id]
    assert len(receiver.attempts) == 4
    assert line.buried == []
    assert line.places == {KEY: Place(through=2)}


@pytest.mark.parametrize("how", [{"drop": True}, {"hang": True}])
async def test_a_network_that_breaks_is_tried_again_in_order(receiver, how):
    receiver.replies.append(Reply(**how))
    async with to_receiver(receiver, timeout=0.2) as line:
        await line.drained()
    assert got(receiver) == [FIRST.id, SECOND.id]
    assert line.buried == []


async def test_a_receiver_that_says_when_is_asked_then(receiver):
    receiver.reply(503, headers={"Retry-After": "1"})
    began = asyncio.get_running_loop().time()
    async with to_receiver(receiver) as line:
        await line.drained()
    assert asyncio.get_running_loop().time() - began >= 1.0
    assert got(receiver) == [FIRST.id, SECOND.id]


@pytest.mark.parametrize("status", PERMANENT)
async def test_an_event_that_a_receiver_refuses_is_a_dead_letter_and_the_next_goes_on(receiver, status):
    receiver.reply(status, body=b"no such host")
    async with to_receiver(receiver) as line:
        await line.drained()
    assert got(receiver) == [SECOND.id]
    assert_one_letter(line, f"HTTP {status}: no such host")


@pytest.mark.parametrize("status", REFUSED)
async def test_a_receiver_that_refuses_the_sink_parks_it(receiver, status):
    receiver.always = Reply(status, headers={"Location": "/elsewhere"})
    async with to_receiver(receiver) as line:
        assert f"HTTP {status}" in await line.parked()
    assert receiver.received == []
    assert {request.path for request in receiver.attempts} == {"/hook"}


@pytest.mark.parametrize(
    "how", [{"error": "ratelimited", "status": 429, "retry_after": "0"}, {"status": 503}]
)
async def test_a_slack_that_cannot_now_gets_it_again_in_order(slack, how):
    slack.fail("chat.postMessage", **how)
    async with to_slack(slack) as line:
        await line.drained()
    assert slack.ids() == [FIRST.id, SECOND.id]
    assert line.buried == []


@pytest.mark.parametrize("error", SLACK_PERMANENT)
async def test_an_event_that_slack_refuses_is_a_dead_letter_and_the_next_goes_on(slack, error):
    slack.fail("chat.postMessage", error=error)
    async with to_slack(slack) as line:
        await line.drained()
    assert slack.ids() == [SECOND.id]
    assert_one_letter(line, error)


@pytest.mark.parametrize("error", SLACK_REFUSED)
async def test_a_slack_that_refuses_the_sink_parks_it(slack, error):
    for _ in range(5):
        slack.fail("chat.postMessage", error=error)
    async with to_slack(slack) as line:
        assert error in await line.parked()
    assert slack.ids() == []
