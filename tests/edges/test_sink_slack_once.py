"""Each event is one message in the channel, whatever breaks between the bridge and Slack."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from bridge.encode import replayed
from bridge.errors import PermanentDeliveryError, SinkRefusedError, StateError, TemporaryDeliveryError
from tests.support.fakes import FakeSinkMemory
from tests.support.samples import sample, status_sample
from tests.support.slack import FakeSlack, running_slack
from tests.support.slack_sink import calls, chatter, lose_reply, opened

ID = sample(1).id
EVENT = f"event/{ID}"


class KilledError(Exception):
    """The process ends here."""


class Fragile(FakeSinkMemory):
    """A memory whose process is killed before or after its put number `at`."""

    def __init__(self, values, *, before=0, after=0):
        super().__init__(values)
        self.before, self.after, self.puts = before, after, 0

    async def put(self, key, value, /):
        self.puts += 1
        if self.puts == self.before:
            raise KilledError
        await super().put(key, value)
        if self.puts == self.after:
            raise KilledError


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


@pytest.fixture
def disk():
    return {}


KILLS = {
    "between intent and post": {"after": 1},
    "before the intent is on disk": {"before": 1},
    "between reply and ts": {"before": 2},
    "after ts is on disk": {"after": 2},
}


@pytest.mark.parametrize("when", KILLS)
async def test_killed_at_any_moment_each_message_is_there_once(slack, disk, when):
    async with opened(slack, disk, memory=Fragile(disk, **KILLS[when])) as sink:
        with pytest.raises(KilledError):
            await sink.send([sample(1)])
    chatter(slack, 450)  # far beyond what the look back after a start sees
    async with opened(slack, disk) as sink:
        await sink.send([sample(1), sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]


@pytest.mark.parametrize("posted", [True, False])
async def test_killed_between_post_and_reply_each_message_is_there_once(slack, disk, posted):
    slack.fail("chat.postMessage", hang=True, taken=posted)
    async with opened(slack, disk) as sink:
        sending = asyncio.create_task(sink.send([sample(1)]))
        await asyncio.wait_for(slack.called.wait(), 10)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    chatter(slack, 450)
    async with opened(slack, disk) as sink:
        await sink.send([sample(1), sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]


@pytest.mark.parametrize("point", range(1, 4))
async def test_the_end_of_a_job_is_there_once_and_remembered(slack, disk, point):
    end = status_sample()
    async with opened(slack, disk, memory=Fragile(disk, before=point)) as sink:
        with pytest.raises(KilledError):
            await sink.send([end])
    async with opened(slack, disk) as sink:
        await sink.send([end])
    [message] = slack.messages()
    memory = FakeSinkMemory(disk)
    kept = await memory.get(f"job/{end.key}")
    assert (kept["channel"], kept["ts"]) == (slack.channel("ops").id, message["ts"])
    assert await memory.get(f"event/{end.id}") == kept


async def test_what_is_settled_asks_slack_nothing_at_the_next_start(slack, disk):
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
    asked = len(slack.calls)
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
    assert len(slack.calls) == asked
    assert slack.ids() == [ID]


UNKNOWN = [
    {"drop": True},
    {"status": 500},
    {"status": 503, "retry_after": "9"},
    {"status": 408},
    {"status": 200, "body": "<p>", "content_type": "text/html"},
    {"error": "internal_error"},
    {"error": "fatal_error"},
    {"error": "service_unavailable"},
]


@pytest.mark.parametrize("how", UNKNOWN, ids=str)
@pytest.mark.parametrize("taken", [True, False])
async def test_an_unknown_outcome_is_looked_up_at_once_and_after_a_start(slack, disk, how, taken):
    slack.fail("chat.postMessage", taken=taken, **how)
    async with opened(slack, disk) as sink:
        with pytest.raises(TemporaryDeliveryError) as caught:
            await sink.send([sample(1)])
        assert caught.value.retry_after >= 2
        looks = len(calls(slack, "conversations.history"))
        await sink.send([sample(1)])
        assert len(calls(slack, "conversations.history")) == looks + 1
    slack.fail("chat.postMessage", taken=taken, **how)
    async with opened(slack, disk) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(2)])
    async with opened(slack, disk) as sink:
        await sink.send([sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]


async def test_a_time_out_is_looked_up(slack, disk):
    slack.fail("chat.postMessage", hang=True, taken=True)
    async with opened(slack, disk, timeout=0.3) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        await sink.send([sample(1)])
    assert slack.ids() == [ID]


DEFINITE = [
    ({"error": "ratelimited", "retry_after": "3"}, TemporaryDeliveryError),
    ({"status": 429, "retry_after": "3"}, TemporaryDeliveryError),
    ({"error": "team_added_to_org"}, TemporaryDeliveryError),
    ({"error": "invalid_blocks"}, PermanentDeliveryError),
    ({"error": "is_archived"}, SinkRefusedError),
    ({"status": 302}, SinkRefusedError),
]


@pytest.mark.parametrize(("how", "kind"), DEFINITE, ids=str)
async def test_a_clear_no_is_tried_again_without_a_look(slack, disk, how, kind):
    async with opened(slack, disk) as sink:
        await sink.send([sample(9)])
        looks = len(calls(slack, "conversations.history"))
        slack.fail("chat.postMessage", **how)
        with pytest.raises(kind):
            await sink.send([sample(1)])
        assert EVENT not in disk
        await sink.send([sample(1)])
        assert len(calls(slack, "conversations.history")) == looks
    assert slack.ids() == [sample(9).id, ID]


async def test_a_refused_connection_is_tried_again_without_a_look(disk):
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(running_slack())
        async with opened(slack, disk, on_ambiguous="drop") as sink:
            await sink.send([sample(9)])
            await stack.aclose()
            await asyncio.sleep(0.05)
            with pytest.raises(TemporaryDeliveryError, match="connection failed"):
                await sink.send([sample(1)])
            assert EVENT not in disk
            port = int(slack.url.split(":")[2].split("/")[0])
            async with running_slack(slack, port=port):
                looks = len(calls(slack, "conversations.history"))
                await sink.send([sample(1)])
    assert len(calls(slack, "conversations.history")) == looks
    assert slack.ids() == [sample(9).id, ID]


async def test_two_sinks_in_one_channel_have_a_message_each(slack):
    disks = {"one": {}, "two": {}}
    await lose_reply(slack, disks["one"], name="one")
    slack.fail("chat.postMessage", drop=True)
    async with opened(slack, disks["two"], name="two") as two:
        with pytest.raises(TemporaryDeliveryError):
            await two.send([sample(1)])
    for _ in range(2):
        async with (
            opened(slack, disks["one"], name="one") as one,
            opened(slack, disks["two"], name="two") as two,
        ):
            await asyncio.gather(one.send([sample(1)]), two.send([sample(1)]))
    marks = [message["metadata"]["event_payload"] for message in slack.messages()]
    assert [mark["sink"] for mark in marks] == ["b/one", "b/two"]
    assert slack.ids() == [ID, ID]


async def test_two_channels_side_by_side(slack):
    slack.add_channel("team")
    disks = {"ops": {}, "team": {}}
    for name, disk in disks.items():
        await lose_reply(slack, disk, name=name, channel=f"#{name}")
    for name, disk in disks.items():
        async with opened(slack, disk, name=name, channel=f"#{name}") as sink:
            await sink.send([sample(1)])
    assert slack.ids("ops") == slack.ids("team") == [ID]


async def test_a_replay_with_a_lost_reply_is_one_further_message(slack, disk):
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
    for times in (2, 3):
        await lose_reply(slack, disk, replayed(sample(1)))
        async with opened(slack, disk) as sink:
            await sink.send([replayed(sample(1))])
            await sink.send([sample(1)])
        assert slack.ids() == [ID] * times


async def test_a_replay_whose_request_was_lost_is_not_taken_for_the_first_message(slack, disk):
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
        slack.fail("chat.postMessage", drop=True)
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([replayed(sample(1))])
        await sink.send([replayed(sample(1))])
    assert slack.ids() == [ID, ID]


async def test_a_lost_replay_leaves_what_was_known(slack, disk):
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
        settled = disk[EVENT]
        slack.fail("chat.postMessage", error="ratelimited")
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([replayed(sample(1))])
    assert disk[EVENT] == settled


async def test_whoever_has_lost_the_state_still_finds_the_newest_messages(slack):
    async with opened(slack, {}) as sink:
        await sink.send([sample(1)])
    async with opened(slack, {}) as sink:
        await sink.send([sample(1), sample(2)])
    assert slack.ids() == [sample(1).id, sample(2).id]


async def test_slacks_pace_loses_and_repeats_nothing(disk):
    async with running_slack(FakeSlack(limited=True)) as slack, opened(slack, disk) as sink:
        for number in range(1, 7):
            while True:
                try:
                    await sink.send([sample(number)])
                    break
                except TemporaryDeliveryError as error:
                    await asyncio.sleep(error.retry_after)
    assert slack.ids() == [sample(number).id for number in range(1, 7)]


async def test_a_memory_that_fails_posts_nothing_and_stops_the_bridge(slack, disk):
    class Broken(FakeSinkMemory):
        async def put(self, key, value, /):
            raise StateError("the disk is full")

    async with opened(slack, disk, memory=Broken(disk)) as sink:
        with pytest.raises(StateError):
            await sink.send([sample(1)])
    assert slack.ids() == []


async def test_what_nobody_wrote_is_an_error_of_the_state(slack, disk):
    disk[EVENT] = b'{"ts":5}'
    async with opened(slack, disk) as sink:
        with pytest.raises(StateError, match="is broken"):
            await sink.send([sample(1)])
