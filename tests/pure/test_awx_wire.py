import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.awx.wire import (
    HIGHEST_COUNTER,
    NotJson,
    TooDeep,
    WrongShape,
    count_in,
    counter_in,
    decode_events,
    decode_object,
    decode_results,
    id_in,
)
from bridge.model import AwxEvent

DOCUMENTED = (NotJson, TooDeep, WrongShape)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
FIELDS = [field.name for field in msgspec.structs.fields(AwxEvent) if field.name != "malformed"]
ROWS = st.dictionaries(st.sampled_from([*FIELDS, "host", "x"]), JSON) | JSON


def page(*rows, **more):
    return json.dumps({"results": list(rows), **more}).encode()


def test_a_row_as_awx_sends_it():
    row = {"id": 9, "counter": 3, "event": "runner_on_ok", "uuid": "u", "host": 5, "host_name": "web01",
           "event_data": {"res": {"rc": 0}}, "failed": False, "changed": True, "stdout": "ok"}  # fmt: skip
    (event,) = decode_events(page(row)).events
    assert (event.counter, event.event, event.host_name, event.changed) == (3, "runner_on_ok", "web01", True)
    assert json.loads(bytes(event.event_data)) == {"res": {"rc": 0}}
    assert not event.malformed


def test_rows_come_by_counter_then_id():
    rows = decode_events(page({"counter": 2, "id": 8}, {"counter": 1, "id": 9}, {"counter": 2, "id": 7}))
    assert [(event.counter, event.id) for event in rows.events] == [(1, 9), (2, 7), (2, 8)]


def test_a_malformed_row_is_read_as_far_as_it_can_be():
    good = {"counter": 1, "stdout": "fine"}
    bad = {
        "counter": 2,
        "event": 7,
        "stdout": "still here",
        "failed": "yes",
        "event_data": {"a": 1},
        "play": None,
    }
    rows = decode_events(page(good, bad))
    assert [event.malformed for event in rows.events] == [False, True]
    event = rows.events[1]
    assert (event.event, event.stdout, event.failed, event.play) == ("", "still here", False, None)
    assert bytes(event.event_data) == b'{"a": 1}'


@pytest.mark.parametrize(
    "counter", [None, 0, -1, "5", 5.5, True, [], {}, HIGHEST_COUNTER + 1, 10**30], ids=repr
)
def test_a_row_without_a_place_is_counted_and_left_out(counter):
    rows = decode_events(page({"counter": 1}, {"counter": counter, "stdout": "lost"}, {"stdout": "lost"}))
    assert [event.counter for event in rows.events] == [1]
    assert (rows.received, rows.unplaced) == (3, 2)


@pytest.mark.parametrize("row", [None, 1, "row", [], True])
def test_a_row_that_is_no_object_is_counted_and_left_out(row):
    rows = decode_events(page(row, {"counter": 4}))
    assert [event.counter for event in rows.events] == [4]
    assert rows.unplaced == 1


def test_text_that_is_not_unicode_is_repaired():
    body = b'{"results": [{"counter": 1, "stdout": "a\xffb", "event_data": {"x": "\xfe"}}]}'
    (event,) = decode_events(body).events
    assert event.stdout == "a\ufffdb"
    bytes(event.event_data).decode()
    body = b'{"results": [{"counter": 1, "stdout": "a\\ud800b", "event_data": {"x": NaN}}]}'
    (event,) = decode_events(body).events
    assert event.stdout == "a?b"
    assert json.loads(bytes(event.event_data)) == {"x": None}


def test_what_awx_says_of_the_page():
    rows = decode_events(page({"counter": 1}, count=12, next="/api/v2/jobs/7/job_events/?page=2"))
    assert (rows.counted, rows.more) == (12, True)
    rows = decode_events(page({"counter": 1}, next=None))
    assert (rows.counted, rows.more) == (None, False)


@pytest.mark.parametrize("decode", [decode_events, decode_results])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NotJson),
        (b"<html>", NotJson),
        (b'{"results": [{"counter": 1}', NotJson),
        (b"[]", WrongShape),
        (b"{}", WrongShape),
        (b'{"results": {}}', WrongShape),
        (b'{"results": null}', WrongShape),
        (b'{"results": [{"counter": 1, "event_data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", TooDeep),
    ],
    ids=range(8),
)
def test_answers_that_are_no_list(decode, body, error):
    with pytest.raises(error):
        decode(body)


@given(st.lists(ROWS, max_size=5))
def test_arbitrary_json_in_results_never_raises(rows):
    read = decode_events(page(*rows))
    assert (read.received, len(read.events) + read.unplaced) == (len(rows), len(rows))
    assert all(1 <= event.counter <= HIGHEST_COUNTER for event in read.events)
    for event in read.events:
        assert isinstance(event.stdout, str)
        assert isinstance(event.failed, bool)
        msgspec.json.decode(event.event_data)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_an_arbitrary_body_raises_only_what_is_documented(body):
    for decode in (decode_events, decode_results, decode_object):
        with suppress(*DOCUMENTED):
            decode(body)


@given(st.binary(max_size=60))
def test_bad_bytes_inside_a_text_lose_no_row(noise):
    noise = noise.translate(None, b'"\\' + bytes(range(32)))
    body = b'{"results": [{"counter": 1, "stdout": "%s"}, {"counter": 2}]}' % noise
    assert [event.counter for event in decode_events(body).events] == [1, 2]


@pytest.mark.parametrize(
    ("head", "counter"),
    [
        (b'{"results": [{"id": 8, "summary_fields": {"job": {"id": 7}}, "counter": 41, "event_data": {"counter": 9}', 41),
        (b'{"results":[{"id":8,"name":"say \\"counter\\": 5","counter":41,', 41),
        (b'{"results": [{"id": 8, "event_data": {"counter": 9}', None),
        (b'{"results": [{"counter": 99999999999', None),
        (b'{"results": [{"counter": 0, "a', None),
        (b"", None),
    ],
)  # fmt: skip
def test_the_counter_of_a_row_that_is_too_large(head, counter):
    assert counter_in(head) == counter


def test_the_head_of_a_page_tells_its_count_and_the_first_id():
    head = b'{"count": 910, "next": "x", "previous": null, "results": [{"id": 12, "type": "job"'
    assert (count_in(head), id_in(head)) == (910, 12)
    assert (count_in(b'{"results": []}'), id_in(b'{"results": []}')) == (None, None)
