"""A message whose post had no clear answer is looked for, by Slack's clock, as far as the token may."""

import pytest

from bridge.encode import replayed
from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from tests.support.samples import sample
from tests.support.slack import TOKEN, running_slack
from tests.support.slack_sink import calls, chatter, lose_reply, older, opened

ID = sample(1).id


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


@pytest.fixture
def disk():
    return {}


@pytest.mark.parametrize("skew", [-600.0, 600.0, -86_400.0, 86_400.0])
async def test_our_own_clock_may_be_wrong(slack, disk, skew):
    await lose_reply(slack, disk, skew=skew)
    async with opened(slack, disk, skew=-skew) as sink:
        await sink.send([sample(1)])
    assert slack.ids() == [ID]
    oldest = float(calls(slack, "conversations.history")[-1]["oldest"])
    assert -65 < oldest - float(slack.messages()[0]["ts"]) < -59


async def test_the_search_begins_at_the_first_attempt(slack, disk):
    await lose_reply(slack, disk)
    older(slack, 55)
    slack.fail("conversations.history", status=500)
    async with opened(slack, disk) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        await sink.send([sample(1)])
    assert slack.ids() == [ID]
    assert len({asked["oldest"] for asked in calls(slack, "conversations.history")[1:]}) == 1


async def test_the_search_goes_through_all_pages(slack, disk):
    await lose_reply(slack, disk)
    chatter(slack, 1300)
    async with opened(slack, disk) as sink:
        before = len(calls(slack, "conversations.history"))
        await sink.send([sample(1)])
    assert slack.ids() == [ID]
    assert len(calls(slack, "conversations.history")) - before == 7


async def test_a_search_that_slack_slows_down_goes_on_where_it_was(slack, disk):
    await lose_reply(slack, disk)
    chatter(slack, 500)
    async with opened(slack, disk) as sink:
        slack.fail("conversations.history")
        slack.fail("conversations.history", status=429, retry_after="30")
        with pytest.raises(TemporaryDeliveryError) as caught:
            await sink.send([sample(1)])
        assert caught.value.retry_after == 30
        before = len(calls(slack, "conversations.history"))
        await sink.send([sample(1)])
        assert len(calls(slack, "conversations.history")) - before == 2
    assert slack.ids() == [ID]


async def test_a_cursor_that_is_no_longer_good_begins_anew(slack, disk):
    await lose_reply(slack, disk)
    chatter(slack, 500)
    async with opened(slack, disk) as sink:
        for how in ({}, {"status": 429, "retry_after": "1"}, {"error": "invalid_cursor"}):
            slack.fail("conversations.history", **how)
        for _ in range(2):
            with pytest.raises(TemporaryDeliveryError):
                await sink.send([sample(1)])
        await sink.send([sample(1)])
    assert slack.ids() == [ID]


async def test_a_clear_no_after_a_doubt_leaves_the_doubt(slack, disk):
    await lose_reply(slack, disk)
    late = slack.messages().pop()
    slack.fail("chat.postMessage", status=429, retry_after="1")
    async with opened(slack, disk) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([sample(1)])
        slack.messages().append(late)
        await sink.send([sample(1)])
    assert slack.ids() == [ID]


async def test_a_doubt_is_looked_up_where_it_was_posted(slack, disk):
    await lose_reply(slack, disk)
    slack.add_channel("team")
    async with opened(slack, disk, channel="#team") as sink:
        await sink.send([sample(1)])
    assert (slack.ids("ops"), slack.ids("team")) == ([ID], [])


async def test_a_message_that_somebody_edited_is_found(slack, disk):
    await lose_reply(slack, disk)
    slack.messages()[0] |= {"text": "edited", "edited": {"ts": slack.messages()[0]["ts"]}}
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
    assert slack.ids() == [ID]


async def test_without_the_scope_a_message_may_come_twice(slack, disk):
    slack.scopes -= {"channels:history", "groups:history"}
    await lose_reply(slack, disk)
    async with opened(slack, disk) as sink:
        await sink.send([sample(1), sample(2)])
    assert slack.ids() == [ID, ID, sample(2).id]


async def test_without_the_scope_a_message_may_be_dropped_instead(slack, disk):
    slack.scopes -= {"channels:history", "groups:history"}
    await lose_reply(slack, disk, on_ambiguous="drop")
    for _ in range(2):
        async with opened(slack, disk, on_ambiguous="drop") as sink:
            with pytest.raises(PermanentDeliveryError, match="on_ambiguous is drop"):
                await sink.send([sample(1)])
            await sink.send([sample(2)])
    assert slack.ids() == [ID, sample(2).id]
    async with opened(slack, disk, on_ambiguous="drop") as sink:
        await sink.send([replayed(sample(1))])
    assert slack.ids() == [ID, sample(2).id, ID]


async def test_the_reason_of_a_drop_names_the_scope(slack, disk):
    slack.scopes -= {"channels:history"}
    await lose_reply(slack, disk)
    async with opened(slack, disk, on_ambiguous="drop") as sink:
        with pytest.raises(PermanentDeliveryError, match=r"missing_scope \(needs channels:history\)"):
            await sink.send([sample(1)])


@pytest.mark.parametrize("choice", ["repost", "drop"])
async def test_a_token_that_is_no_longer_good_decides_nothing(slack, disk, choice):
    await lose_reply(slack, disk, on_ambiguous=choice)
    slack.token = "xoxb-other"
    async with opened(slack, disk, on_ambiguous=choice, channel=slack.channel("ops").id) as sink:
        with pytest.raises(SinkRefusedError, match="invalid_auth"):
            await sink.send([sample(1)])
        slack.token = TOKEN
        await sink.send([sample(1)])
    assert slack.ids() == [ID]


async def test_a_name_that_cannot_be_looked_up_is_learned_from_a_post(slack, disk):
    slack.scopes -= {"channels:read", "groups:read"}
    async with opened(slack, disk) as sink:
        await sink.send([sample(9)])
    await lose_reply(slack, disk)
    async with opened(slack, disk) as sink:
        await sink.send([sample(1)])
    assert slack.ids() == [sample(9).id, ID]


@pytest.mark.parametrize(("choice", "ids"), [("repost", [ID, ID]), ("drop", [ID])])
async def test_a_channel_whose_id_nobody_knows_cannot_be_read(slack, disk, choice, ids):
    slack.scopes -= {"channels:read", "groups:read"}
    await lose_reply(slack, disk, on_ambiguous=choice)
    async with opened(slack, disk, on_ambiguous=choice) as sink:
        if choice == "repost":
            await sink.send([sample(1)])
        else:
            with pytest.raises(PermanentDeliveryError, match="the id of #ops is not known"):
                await sink.send([sample(1)])
    assert slack.ids() == ids
