"""Dead letters tried again or dropped, through the whole bridge in virtual time: which, and what sinks say."""

import asyncio

import msgspec
import pytest

from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.model import DeadLetter
from tests.support.jobs import simple
from tests.support.post import EVENT, Post, results

pytestmark = pytest.mark.looptime


async def test_all_are_those_that_were_there_when_the_order_was_given():
    names = [f"prod/job/1/event/{n}" for n in (2, 3, 4)]
    post = Post(*names)
    async with post.dead():
        later = msgspec.structs.replace(post.state.letters["ops", EVENT], at=post.clock.now() + 60)
        post.state.letters["ops", EVENT] = later
        post.accept()
        outcome = await post.order("retry")
        assert outcome.sentence == "of 2 dead letters: 2 sent, out of their jobs' order"
    assert post.sink.ids == [names[0], names[2]]
    assert post.letters() == [("ops", EVENT)]


async def test_each_sink_has_its_own_letters():
    post = Post(EVENT, sinks=("ops", "cmdb"))
    async with post.dead():
        post.accept()
        assert (await post.order("retry", EVENT, sink="cmdb")).done
        assert post.letters() == [("ops", EVENT)]
        assert (await post.order("retry", EVENT)).done
    assert [sink.ids for sink in post.sinks.values()] == [[EVENT], [EVENT]]
    assert post.letters() == []


async def test_a_sink_that_has_left_the_configuration_gets_nothing():
    post = Post()
    letter = DeadLetter(sink="gone", event_id=EVENT, type="t", reason="r", at=1.0, copy=b"{}", whole=True)
    post.state.letters["gone", EVENT] = letter
    async with post.dead():
        outcome = await post.order("retry", EVENT)
        assert "sink gone is not in the configuration" in outcome.sentence
        assert (await post.order("drop", EVENT)).done
    assert post.letters() == []


async def test_no_letters_is_nothing_to_do():
    post = Post()
    async with post.dead():
        outcome = await post.order("retry")
        assert (outcome.done, outcome.sentence) == (True, "there are no dead letters to try again")
        outcome = await post.order("retry", "prod/job/1/event/99", EVENT, sink="ops")
        assert (outcome.done, outcome.sentence) == (False, "of 2 dead letters: 2 not found")
        outcome = await post.order("drop", EVENT)
        assert (outcome.done, outcome.sentence) == (False, f"there is no dead letter {EVENT}")


async def test_a_sink_that_asks_for_a_pause_gets_it():
    post = Post(EVENT)
    async with post.dead():
        moment = asyncio.get_running_loop().time()
        post.picky["ops"].errors = {EVENT: TemporaryDeliveryError("429", retry_after=20.0)}
        asyncio.get_running_loop().call_later(5, post.accept)
        outcome = await post.order("retry", EVENT, wait=30)
        assert outcome.done
        assert len(post.sink.batches) == 2
        assert asyncio.get_running_loop().time() - moment == pytest.approx(30, abs=1)


async def test_a_sink_that_asks_for_a_long_pause_is_left_alone():
    names = [f"prod/job/1/event/{n}" for n in (2, 3)]
    post = Post(*names)
    async with post.dead():
        errors = {name: TemporaryDeliveryError("429", retry_after=300.0) for name in names}
        post.picky["ops"].errors = errors
        outcome = await post.order("retry")
        assert results(outcome) == ["left", "left"]
        assert "left alone for 300 seconds" in outcome.details["letters"][0]["reason"]
    assert len(post.letters()) == 2
    assert len(post.sink.batches) == 1


async def test_after_three_failures_the_rest_is_left():
    names = [f"prod/job/1/event/{n}" for n in range(1, 6)]
    post = Post(*names)
    async with post.dead():
        post.picky["ops"].errors = dict.fromkeys(names, TemporaryDeliveryError("HTTP 503"))
        outcome = await post.order("retry")
        assert results(outcome) == ["refused"] * 3 + ["left"] * 2
        post.picky["ops"].errors = dict.fromkeys(names, SinkRefusedError("HTTP 401"))
        outcome = await post.order("retry")
        assert results(outcome) == ["refused"] + ["left"] * 4
    assert len(post.letters()) == 5
    assert len(post.sink.batches) == 4


async def test_a_sink_that_does_not_answer_does_not_hold_the_order_for_ever():
    post = Post(EVENT)
    async with post.dead():
        post.accept()
        post.sink.delay = 1e6
        outcome = await post.order("retry", EVENT, wait=65)
        assert "no answer within 60 seconds" in outcome.sentence
    assert post.letters() == [("ops", EVENT)]


async def test_a_parked_sink_is_not_tried():
    post = Post(EVENT)
    async with post.dead():
        post.picky["ops"].errors = {"prod/job/2/event/1": SinkRefusedError("HTTP 401")}
        post.source.jobs[2] = simple(2)
        await asyncio.sleep(10)
        post.sink.batches.clear()
        outcome = await post.order("retry", EVENT)
        assert outcome.sentence.endswith("sink ops is parked: HTTP 401")
        assert post.sink.batches == []


async def test_dropped_is_dropped_and_said_by_whom_and_why():
    names = [f"prod/job/1/event/{n}" for n in (2, 3)]
    post = Post(*names)
    async with post.dead():
        outcome = await post.order("drop", EVENT, why="not\nneeded\x1b[0m")
        assert (outcome.done, outcome.sentence) == (True, f"dropped {EVENT} for ops")
        assert post.letters() == [("ops", names[0])]
        assert (await post.order("drop")).sentence == f"dropped {names[0]} for ops"
        assert (await post.order("drop")).sentence == "there are no dead letters to drop"
    first, _ = post.observer.noted("dead_letter.dropped")
    assert first == {"sink": "ops", "who": "ada", "why": "not needed", "ids": [EVENT]}
    assert post.observer.counted("dead_letters_dropped_total", sink="ops") == 2
    assert post.sink.ids == []


async def test_arguments_that_nobody_understands_are_no_reason_to_end():
    post = Post(EVENT)
    async with post.dead():
        outcome = await post.order("retry", EVENT, sink=["ops"])
        assert "cannot be understood" in outcome.sentence
        assert (await post.order("retry", EVENT)).details["letters"]
