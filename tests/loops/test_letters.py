"""Dead letters tried again, through the whole bridge in virtual time: where the event comes from."""

import asyncio

import msgspec
import pytest

from bridge.errors import PermanentDeliveryError, SourceUnavailable
from bridge.model import AwxEvent, Place
from bridge.prepare import Preparer
from tests.support.jobs import key, simple
from tests.support.post import EVENT, Post, results

pytestmark = pytest.mark.looptime

STATUS = "prod/job/1/status/successful"


async def test_an_event_is_read_again_and_sent_out_of_order():
    post = Post(EVENT)
    async with post.dead():
        place = post.state.places[key(1), "ops"]
        post.accept()
        outcome = await post.order("retry", EVENT)
        assert outcome.done
        assert outcome.sentence == f"sent {EVENT} to ops again, out of its job's order"
        assert results(outcome) == ["sent"]
        assert post.sink.ids == [EVENT]
        assert post.sink.events[0].read()["replayed"] is True
        assert post.sink.events[0].key == "prod/job/1"
        assert post.letters() == []
        assert post.state.places[key(1), "ops"] == place == Place(through=5, status_number=2)
        assert not (await post.order("retry", EVENT)).done
        await asyncio.sleep(60)
    assert post.sink.ids == [EVENT]
    assert post.observer.noted("dead_letter.retried") == [{"sink": "ops", "who": "ada", "sent": 1}]
    assert post.observer.counted("dead_letters_retried_total", sink="ops", result="sent") == 1


async def test_the_id_and_all_else_is_as_when_it_died():
    post = Post(EVENT)
    async with post.dead():
        copy = msgspec.json.decode(post.state.letters["ops", EVENT].copy)
        post.accept()
        await post.order("retry", EVENT)
    sent = post.sink.events[0].read()
    assert {**copy, "replayed": True, "job_status": sent["job_status"]} == sent


async def test_an_event_of_a_running_job_disturbs_neither_its_place_nor_its_order():
    rows = {counter: 1.0 + counter for counter in range(1, 61)}
    job = simple(rows=rows, statuses=((0.0, "running"), (90.0, "successful")))
    post = Post(EVENT, job=job)
    post.sink.delay = 0.3
    async with post.run():
        await asyncio.sleep(20)
        post.accept()
        assert (await post.order("retry", EVENT)).done
        await asyncio.sleep(100)
    counters = [event.counter for event in post.sink.events if event.counter]
    assert sorted(counters) == list(range(1, 61))
    assert [counter for counter in counters if counter != 3] == [n for n in range(1, 61) if n != 3]
    assert post.state.places[key(1), "ops"] == Place(through=60, status_number=2)


async def test_what_is_refused_again_stays_with_the_new_reason():
    post = Post(EVENT)
    async with post.dead():
        post.picky["ops"].errors = {EVENT: PermanentDeliveryError("HTTP 413: too large")}
        outcome = await post.order("retry", EVENT)
    assert not outcome.done
    assert results(outcome) == ["refused"]
    assert outcome.sentence.endswith("HTTP 413: too large")
    letter = post.state.letters["ops", EVENT]
    assert letter.reason == "HTTP 413: too large"
    assert letter.whole
    assert "replayed" not in msgspec.json.decode(letter.copy)
    assert letter.at == pytest.approx(post.clock.base + 60, abs=3)


async def test_a_status_is_made_anew_from_what_state_remembers():
    post = Post(STATUS)
    async with post.dead():
        post.accept()
        post.source.failure = SourceUnavailable("down")
        assert results(await post.order("retry", STATUS)) == ["sent"]
    sent = post.sink.events[0].read()
    assert (sent["id"], sent["complete"], sent["events_total"]) == (STATUS, True, 5)
    assert post.letters() == []


async def test_a_status_of_a_forgotten_job_is_sent_as_it_was_kept():
    post = Post(STATUS)
    async with post.dead():
        post.accept()
        post.state.jobs.clear()
        outcome = await post.order("retry", STATUS)
    assert results(outcome) == ["sent_copy"]
    assert post.sink.events[0].read()["events_total"] == 5


async def test_what_awx_no_longer_has_is_sent_as_it_was_kept():
    post = Post(EVENT)
    async with post.dead():
        post.accept()
        post.job.deleted = 0.0
        outcome = await post.order("retry", EVENT)
        assert outcome.done
        assert outcome.sentence == f"sent the kept copy of {EVENT} to ops, out of its job's order"
    event = post.sink.events[0]
    assert (event.id, event.key, event.counter) == (EVENT, "prod/job/1", 3)
    assert event.read()["stdout"] == "line 3"
    assert event.read()["replayed"] is True


async def test_a_single_row_that_is_gone_is_sent_as_it_was_kept():
    post = Post(EVENT)
    async with post.dead():
        post.accept()
        del post.job.rows[3]
        assert results(await post.order("retry", EVENT)) == ["sent_copy"]


@pytest.mark.parametrize(("copy", "why"), [(b'{"id": "prod', "cut at 16 KB"), (b"", "no copy of it")])
async def test_what_awx_no_longer_has_and_was_cut_stays(copy, why):
    post = Post(EVENT)
    async with post.dead():
        post.accept()
        post.job.deleted = 0.0
        letter = post.state.letters["ops", EVENT]
        post.state.letters["ops", EVENT] = msgspec.structs.replace(letter, copy=copy, whole=False)
        outcome = await post.order("retry", EVENT)
        assert results(outcome) == ["left"]
        assert why in outcome.sentence
    assert post.state.letters["ops", EVENT].reason == "HTTP 400: no"
    assert post.sink.ids == []


async def test_the_kept_copy_is_redacted_as_the_configuration_wants_it_today():
    post = Post(EVENT)
    async with post.dead():
        post.accept()
        post.job.deleted = 0.0
        letter = post.state.letters["ops", EVENT]
        body = letter.copy.replace(b'"line 3"', b'"password=hunter2"')
        post.state.letters["ops", EVENT] = msgspec.structs.replace(letter, copy=body)
        await post.order("retry", EVENT)
    assert b"hunter2" not in post.sink.events[0].body


async def test_while_awx_does_not_answer_nothing_is_sent_and_it_is_asked_once():
    refused = [f"prod/job/{n}/event/3" for n in (1, 2)]
    post = Post(*refused)
    post.source.jobs[2] = simple(2)
    async with post.dead():
        post.accept()
        post.source.failing["job"] = SourceUnavailable("HTTP 502")
        outcome = await post.order("retry")
        assert results(outcome) == ["left", "left"]
        assert "could not be asked: HTTP 502" in outcome.details["letters"][1]["reason"]
        assert sum(call[0] == "job" for call in post.source.calls) == 1
        assert len(post.letters()) == 2
        del post.source.failing["job"]
        assert (await post.order("retry")).done
    assert post.sink.ids == refused


async def test_a_source_behind_which_another_awx_answers_is_not_asked():
    post = Post(EVENT)
    async with post.dead() as bridge:
        post.accept()
        bridge.parked["prod"] = "another AWX answers"
        outcome = await post.order("retry", EVENT)
    assert "source prod is parked: another AWX answers" in outcome.sentence
    assert post.sink.ids == []


async def test_further_rows_of_a_counter_are_told_apart():
    second = AwxEvent(counter=3, id=900, uuid="u3b", event="verbose", stdout="second")
    job = simple(further=(second,))
    names = [EVENT, f"{EVENT}/2"]
    post = Post(*names, job=job)
    async with post.dead():
        post.accept()
        assert (await post.order("retry", *names)).done
    assert [event.read()["stdout"] for event in post.sink.events] == ["line 3", "second"]


async def test_a_late_event_is_still_late():
    job = simple(statuses=((0.0, "running"), (50.0, "successful")))
    job.rows[3] = 30.0
    post = Post(EVENT, job=job)
    async with post.run():
        await asyncio.sleep(100)
        assert post.state.letters["ops", EVENT].late
        post.accept()
        post.sink.events.clear()
        assert (await post.order("retry", EVENT)).done
    assert post.sink.events[0].read()["late"] is True


async def test_an_event_that_tripped_our_own_code_can_be_tried_after_an_upgrade(monkeypatch):
    whole = Preparer.event

    def trip(self, row, *words, **more):
        if row.counter == 3:
            raise ZeroDivisionError("hunter2")
        return whole(self, row, *words, **more)

    post = Post()
    monkeypatch.setattr(Preparer, "event", trip)
    async with post.dead():
        assert post.state.letters["ops", EVENT].reason == "bug"
        outcome = await post.order("retry", EVENT)
        assert results(outcome) == ["left"]
        assert "ZeroDivisionError in trip" in outcome.sentence
        assert "hunter2" not in outcome.sentence
        monkeypatch.setattr(Preparer, "event", whole)
        assert (await post.order("retry", EVENT)).done
    assert post.sink.ids == [EVENT]
    assert post.letters() == []


async def test_the_bridges_own_events_are_sent_as_they_were_kept():
    post = Post(routes=[{"match": {"type": "bridge.source.*"}, "to": ["ops"]}])
    async with post.run():
        await asyncio.sleep(20)
        post.sink.script = lambda events: (_ for _ in ()).throw(PermanentDeliveryError("HTTP 400"))
        post.source.failure = SourceUnavailable("down")
        await asyncio.sleep(60)
        (letter,) = post.state.letters.values()
        post.sink.script = None
        outcome = await post.order("retry", letter.event_id)
        assert results(outcome) == ["sent_copy"]
    sent = post.sink.events[-1]
    assert (sent.id, sent.key, sent.type) == (letter.event_id, "prod/bridge", "bridge.source.down")
