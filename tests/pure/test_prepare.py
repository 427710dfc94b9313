import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.contract import event_schema
from bridge.model import AwxEvent, Close, Failure, HostSummary, Job, JobKey, StatusSeen
from bridge.prepare import Preparer
from bridge.redact import RedactOptions, Redactor
from bridge.render import slack_message

VALIDATOR = Draft202012Validator(event_schema())
CREATED = "2026-01-01T10:00:05.123456Z"
JOB = Job(
    key=JobKey("prod", "job", 42),
    status="running",
    name="deploy",
    created=CREATED,
    extra_vars='{"password": "hunter2", "a": 1}',
)


class Recording:
    """Rules that say yes, and remember what they were shown."""

    def __init__(self):
        self.seen = []

    def sinks_for(self, fields):
        self.seen.append(dict(fields))
        return ["events", "ops"]


def preparer(**more):
    rules = Recording()
    defaults = {"bridge": "b", "public_urls": {"prod": "https://awx"}, "redactor": Redactor(), "rules": rules}
    return Preparer(**(defaults | more)), rules


def row(data=b"{}", **more):
    return AwxEvent(
        **({"counter": 5, "event": "verbose", "created": CREATED} | more), event_data=msgspec.Raw(data)
    )


def seen(status="failed", number=4, **more):
    return StatusSeen(number=number, status=status, repeat=1, previous="running", time=CREATED, **more)


def check(prepared):
    assert [error.message for error in VALIDATOR.iter_errors(prepared.event.read())] == []
    return prepared


def test_an_event_row():
    made, _ = preparer()
    prepared = check(made.event(row(b'{"host":"web1"}', stdout="hi"), JOB))
    event = prepared.event
    assert prepared.sinks == ("events", "ops")
    assert prepared.redactions == 0
    assert (event.id, event.key, event.counter, event.repeat) == ("prod/job/42/event/5", "prod/job/42", 5, 1)
    assert (event.late, event.status_number) == (False, None)
    assert event.read()["host"] == "web1"
    assert json.loads(event.extra_vars) == {"password": "[redacted]", "a": 1}


def test_a_second_row_of_a_counter_that_comes_late():
    made, _ = preparer()
    event = check(made.event(row(), JOB, repeat=2, late=True)).event
    assert event.id == "prod/job/42/event/5/2"
    assert (event.repeat, event.late, event.read()["late"]) == (2, True, True)


def test_every_text_is_redacted_before_the_rules_see_it():
    made, rules = preparer()
    text = "--password hunter2"
    job = Job(
        key=JOB.key, status="running", name=text, template=text, inventory=text, project=text, organization=text,
        launched_by=text, launch_type=text, labels=(text,), limit=text, explanation=text, extra_vars=text,
    )  # fmt: skip
    data = json.dumps({"res": {"msg": text}, "task_action": text, "db_password": "hunter2"}).encode()
    prepared = made.event(
        row(data, stdout=text, host_name=text, play=text, task=text, role=text, event=text, uuid=text), job
    )
    assert b"hunter2" not in prepared.event.body
    assert prepared.redactions == 11
    assert "hunter2" not in prepared.event.extra_vars
    assert "hunter2" not in repr({**rules.seen[0], "event_data": bytes(rules.seen[0]["event_data"])})
    close = Close(
        complete=True, events_total=1, hosts=(HostSummary(host=text),),
        failures=(Failure(host=text, task=text, message=text, counter=1),),
    )  # fmt: skip
    prepared = check(made.status(seen(), job, close))
    assert b"hunter2" not in prepared.event.body
    assert prepared.redactions > 5
    assert b"hunter2" not in made.own("bridge.sink.parked", at=0, sink="ops", reason=text).event.body


def test_event_data_stays_as_it_came_unless_something_is_taken_out():
    made, _ = preparer()
    assert b'"event_data":{ "a" : 1.00 },' in made.event(row(b'{ "a" : 1.00 }'), JOB).event.body
    assert b'"event_data":{"token":"[redacted]","a":1.0},' in made.event(
        row(b'{ "token": "x", "a" : 1.00 }'), JOB
    ).event.body  # fmt: skip


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
def test_a_number_that_no_float_can_hold_can_be_read_all_the_same(number):
    """It is good JSON, so it leaves as it came; chat reads it, and must not stumble."""
    made, _ = preparer()
    data = f'{{"res":{{"rc":{number}}}}}'.encode()
    event = made.event(row(data), JOB).event
    assert b'"event_data":' + data in event.body
    fields = event.read()
    assert fields["event_data"] == {"res": {"rc": float("inf")}}
    assert fields["counter"] == 5
    assert "deploy" in slack_message(fields).text


def test_a_secret_event_name_is_no_type():
    made, _ = preparer(redactor=Redactor(RedactOptions(patterns=("topsecret",))))
    fields = check(made.event(row(event="topsecret_event"), JOB)).event.read()
    assert (fields["type"], fields["event"]) == ("awx.event.unknown", "[redacted]_event")


def test_a_status_and_its_receipt():
    made, _ = preparer(max_hosts=1)
    hosts = (HostSummary(host="a"), HostSummary(host="b", failures=1))
    event = check(made.status(seen(), JOB, Close(complete=True, events_total=9, hosts=hosts))).event
    assert (event.id, event.status_number, event.counter) == ("prod/job/42/status/failed", 4, None)
    assert [host["host"] for host in event.read()["hosts"]] == ["b"]
    assert event.read()["events_total"] == 9
    assert check(made.status(seen("running"), JOB)).event.type == "awx.job.running"
    assert check(made.status(seen("deleted"), JOB)).event.id == "prod/job/42/deleted"
    assert check(made.status(seen("stalled"), JOB)).event.id == "prod/job/42/stalled/1"


def test_a_changed_job_is_not_taken_for_the_old_one():
    made, _ = preparer()
    for status in ["running", "failed"] * 700:
        job = msgspec.structs.replace(JOB, status=status)
        assert made.event(row(), job).event.read()["job_status"] == status
    assert len(made._known) <= 512


def test_own_events():
    made, rules = preparer()
    down = check(made.own("bridge.source.down", at=60, source="prod", reason="HTTP 502", since=0.5)).event
    assert down.id == "prod/bridge/source.down/1970-01-01T00:01:00.000000Z"
    assert (down.source, down.key, down.counter, down.status_number) == ("prod", "prod/bridge", None, None)
    assert down.read()["since"] == "1970-01-01T00:00:00.500000Z"
    assert rules.seen[0]["reason"] == "HTTP 502"
    parked = check(made.own("bridge.sink.parked", at=60, sink="ops", reason=None)).event
    assert parked.source == "b"
    assert parked.id != made.own("bridge.sink.parked", at=60, sink="other").event.id
    assert "reason" not in parked.read()


def test_missing_events_of_a_job():
    made, _ = preparer()
    event = check(made.missing(JOB, [(3, 5), (9, 9)], at=60, reason="given up")).event
    assert (event.id, event.key) == ("prod/job/42/missing/4", "prod/job/42")
    assert event.read()["events_missing"] == [3, 4, 5, 9]
    assert event.read()["job_name"] == "deploy"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
ODD = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["password=x", "https://a:b@c", "\ud800 token: y"]
)


@given(data=ANYTHING | st.binary(max_size=30), text=ODD, number=st.integers())
def test_nothing_that_awx_could_send_trips(data, text, number):
    made, _ = preparer()
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    job = msgspec.structs.replace(
        JOB,
        name=text,
        status=text,
        labels=(text,),
        started=text,
        finished=text,
        explanation=text,
        extra_vars=text,
    )
    odd = row(
        raw, counter=number, event=text, created=text, stdout=text, host_name=text, task=text, uuid=text
    )
    check(made.event(odd, job))
    close = Close(
        complete=False, events_total=0, missing=((1, 2),), hosts=(HostSummary(host=text),),
        failures=(Failure(host=text, task=None, message=text, counter=None),),
    )  # fmt: skip
    for status in ("failed", "deleted", text):
        check(
            made.status(StatusSeen(number=1, status=status, repeat=1, previous=text, time=text), job, close)
        )


@pytest.mark.parametrize("at", [0, 1767225600.5])
def test_a_heartbeat(at):
    made, _ = preparer()
    assert check(made.own("bridge.heartbeat", at=at)).event.type == "bridge.heartbeat"
