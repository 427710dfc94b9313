import json
import uuid

import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from bridge import encode
from bridge.encode import cloudevents, event_id, iso, message_uuid, shape, status_id, structured, to_event
from bridge.errors import PermanentDeliveryError
from bridge.model import JobKey
from bridge.options import FieldOptions

KEY = JobKey("prod", "project_update", 42)
PLAIN = FieldOptions()


def event(**fields):
    base = {
        "id": event_id(KEY, 3),
        "type": "awx.event.runner_on_ok",
        "time": "2026-01-01T00:00:00.000000Z",
        "source": "prod",
        "schema_version": "1.0",
        "job_id": 42,
        "stdout": "",
    }
    return to_event(base | fields, key=str(KEY), counter=3, extra_vars='{"a": "[redacted]"}')


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (event_id(KEY, 7), "prod/project_update/42/event/7"),
        (event_id(KEY, 7, 1), "prod/project_update/42/event/7"),
        (event_id(KEY, 7, 2), "prod/project_update/42/event/7/2"),
        (status_id(KEY, "pending"), "prod/project_update/42/status/pending"),
        (status_id(KEY, "pending", 3), "prod/project_update/42/status/pending/3"),
        (status_id(KEY, "deleted"), "prod/project_update/42/deleted"),
        (status_id(KEY, "stalled"), "prod/project_update/42/stalled/1"),
        (status_id(KEY, "stalled", 2), "prod/project_update/42/stalled/2"),
    ],
)
def test_ids(made, expected):
    assert made == expected


def test_message_uuid_never_changes():
    assert message_uuid("prod/job/42/event/1") == "0528e6b0-8ec1-5efb-8793-703f8cf52df3"
    assert uuid.UUID(message_uuid("x")).version == 5
    assert message_uuid("\ud800") == message_uuid("?")


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1767225600.25, "2026-01-01T00:00:00.250000Z"),
        (-1, "1969-12-31T23:59:59.000000Z"),
    ],
)
def test_iso(epoch, text):
    assert iso(epoch) == text


@pytest.mark.parametrize("epoch", [1e20, -1e20, float("inf"), float("nan")])
def test_iso_of_no_time(epoch):
    with pytest.raises(ValueError, match=r"time|NaN"):
        iso(epoch)


def test_an_event_carries_its_fields_and_splices_what_is_raw():
    made = event(event_data=msgspec.Raw(b'{ "a" : 1.0 }'), late=True)
    assert made.id == "prod/project_update/42/event/3"
    assert (made.key, made.counter, made.repeat, made.late) == ("prod/project_update/42", 3, 1, True)
    assert b'"event_data":{ "a" : 1.0 }' in made.body
    assert made.read()["event_data"] == {"a": 1.0}


def test_what_utf8_cannot_carry_is_replaced():
    made = event(stdout="a\ud800b", labels=["\udfff"], hosts=[{"host": "\ud801"}])
    assert made.read()["stdout"] == "a?b"
    assert made.read()["labels"] == ["?"]
    assert made.read()["hosts"] == [{"host": "?"}]


def test_an_untouched_body_is_the_same_object():
    made = event()
    assert shape(made, fields=PLAIN) is made.body
    assert shape(made, fields=PLAIN, max_bytes=len(made.body)) is made.body


def test_chosen_fields():
    made = event(task="x", event_data=msgspec.Raw(b'{"b":[1,2]}'))
    options = FieldOptions(include=("extra_vars",), exclude=("task", "id", "source", "time", "type"))
    body = json.loads(shape(made, fields=options))
    assert body.pop("extra_vars") == '{"a": "[redacted]"}'
    assert body == {name: value for name, value in made.read().items() if name != "task"}
    without = to_event(made.read(), key="k")
    assert json.loads(shape(without, fields=FieldOptions(include=("extra_vars",)))) == made.read()


BIG = {
    "event_data": {"res": {"x": "r" * 400}, "play": "p" * 300},
    "stdout": "é" * 300,
    "hosts": [{"host": f"web{n}"} for n in range(40)],
}


@pytest.mark.parametrize(
    ("limit", "truncated"),
    [
        (2400, None),
        (1990, ["event_data.res"]),
        (1600, ["event_data.res", "event_data"]),
        (1000, ["event_data.res", "event_data", "stdout"]),
        (600, ["event_data.res", "event_data", "stdout", "hosts"]),
    ],
)
def test_cut_in_this_order_and_no_more_than_needed(limit, truncated):
    made = event(**BIG)
    body = shape(made, fields=PLAIN, max_bytes=limit)
    cut = json.loads(body)
    assert len(body) <= limit
    assert cut.get("truncated") == truncated
    assert cut["id"] == made.id
    steps = truncated or []
    assert ("res" in cut["event_data"]) == ("event_data.res" not in steps)
    assert bool(cut["event_data"]) == ("event_data" not in steps)
    assert (cut["stdout"] == BIG["stdout"]) == ("stdout" not in steps)
    assert (cut["hosts"] == BIG["hosts"]) == ("hosts" not in steps)
    if steps[-1:] in (["stdout"], ["hosts"]):
        assert len(body) > limit - 20, "what fits is kept"


def test_extra_vars_go_last():
    made = msgspec.structs.replace(event(stdout="x" * 50), extra_vars="v" * 500)
    options = FieldOptions(include=("extra_vars",))
    cut = json.loads(shape(made, fields=options, max_bytes=400))
    assert "extra_vars" not in cut
    assert cut["truncated"] == ["stdout", "extra_vars"]


def test_too_large_even_when_cut():
    with pytest.raises(PermanentDeliveryError, match="the limit is 100"):
        shape(event(**BIG), fields=PLAIN, max_bytes=100)
    with pytest.raises(PermanentDeliveryError, match="the limit is 10"):
        shape(to_event(event().read(), key="k"), fields=FieldOptions(exclude=("stdout",)), max_bytes=10)


@given(
    stdout=st.text(max_size=300),
    res=st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=9),
    hosts=st.integers(0, 20),
    limit=st.integers(150, 1500),
)
def test_a_shaped_body_is_json_within_the_limit(stdout, res, hosts, limit):
    made = event(stdout=stdout, event_data={"res": res, "host": "a"}, hosts=[{"host": "b"}] * hosts)
    try:
        body = shape(made, fields=PLAIN, max_bytes=limit)
    except PermanentDeliveryError:
        return
    cut = json.loads(body)
    assert len(body) <= limit
    assert stdout.startswith(cut["stdout"])
    assert (cut == made.read()) == ("truncated" not in cut)


def test_cloudevents_attributes_pass_the_reference_library():
    made = event()
    attributes = dict(cloudevents(made))
    assert attributes["source"] == "prod"
    assert attributes["subject"] == "project_update/42"
    assert attributes["partitionkey"] == made.key
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in attributes)
    envelope = structured(made, made.body)
    read = JSONFormat().read(CloudEvent, envelope)
    assert read.get_data() == made.read()
    assert read.get_id() == made.id
    assert made.body in envelope


def test_a_key_without_parts_is_its_own_subject():
    made = to_event(event().read(), key="x")
    assert dict(cloudevents(made))["subject"] == "x"


def test_a_replayed_event_says_so():
    made = event()
    again = encode.replayed(made)
    assert again.read() == made.read() | {"replayed": True}
    assert again.id == made.id
