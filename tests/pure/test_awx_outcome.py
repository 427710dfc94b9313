import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.awx.outcome import failed_nodes_in, failures_in, has_hosts, hosts_in
from bridge.model import JOB_TYPES, AwxEvent, Failure, HostSummary

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def event(data, **more):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return AwxEvent(counter=7, event_data=msgspec.Raw(raw), **more)


def message(res, stdout=""):
    (failure,) = failures_in([event({"res": res}, stdout=stdout)])
    return failure.message


def test_hosts_are_the_union_of_all_numbers():
    stats = {"ok": {"b": 3, "a": 1}, "failures": {"b": 1}, "dark": {"c": 1}, "changed": 0, "skipped": None,
             "rescued": {"a": "x"}, "processed": {"d": 1}}  # fmt: skip
    assert hosts_in(event(stats)) == (
        HostSummary(host="a", ok=1),
        HostSummary(host="b", ok=3, failures=1),
        HostSummary(host="c", dark=1),
    )


def test_only_some_types_have_hosts():
    assert {kind for kind in JOB_TYPES if has_hosts(kind)} == {"job", "ad_hoc_command", "project_update"}


@pytest.mark.parametrize(
    ("res", "said"),
    [
        ({"msg": "disk full"}, "disk full"),
        ({"msg": "", "stderr": "oh no", "stdout": "x"}, "oh no"),
        ({"stdout": "only this"}, "only this"),
        ({"msg": "non-zero return code", "stderr": "cat: x: No such file"}, "non-zero return code: cat: x: No such file"),
        ({"msg": "non-zero return code", "rc": 1}, "non-zero return code"),
        ({"msg": {"a": 1}}, '{"a": 1}'),
        ({"msg": ["a", "b"]}, '["a", "b"]'),
        ({"censored": "hidden by no_log", "msg": "s3cret"}, "hidden by no_log"),
        ({"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "third disk"}]}, "third disk"),
        ({"msg": "One or more items failed", "results": [{"failed": True, "censored": "hidden"}]}, "hidden"),
        ({"msg": "One or more items failed", "results": []}, "One or more items failed"),
        ({"msg": "\x1b[0;31mred\x1b[0m"}, "red"),
        ({}, "what was printed"),
        (None, "what was printed"),
        ("text", "what was printed"),
    ],
)  # fmt: skip
def test_messages(res, said):
    assert message(res, stdout="\x1b[0;31mwhat was printed\x1b[0m\r\n") == said


def test_messages_are_cut():
    assert len(message({"msg": "x" * 50000})) == 8000


def test_host_and_task():
    (failure,) = failures_in([event({"host": "h", "task": "t", "res": {"msg": "m"}})])
    assert failure == Failure(host="h", task="t", message="m", counter=7)
    (failure,) = failures_in([event({"host": 5, "task": []}, host_name="web", task="named")])
    assert (failure.host, failure.task) == ("web", "named")


def node(status, **more):
    return {
        "id": 1,
        "summary_fields": {"job": {"id": 30, "type": "job", "name": "deploy", "status": status, **more}},
    }


def test_failed_nodes():
    rows = [node("successful"), node("failed"), node("error", job_explanation="no project"), node("canceled", name=""),
            {"id": 2, "summary_fields": {}, "identifier": "never-runs"}, None, node(["failed"]), node({})]  # fmt: skip
    assert [(f.task, f.message) for f in failed_nodes_in(rows)] == [
        ("deploy", "job 30 failed"),
        ("deploy", "job 30 error: no project"),
        (None, "job 30 canceled"),
    ]


@given(JSON | st.dictionaries(st.sampled_from(["res", "host", "task", "ok", "dark"]), JSON), JSON)
def test_arbitrary_json_is_no_error(data, row):
    made = event(data)
    hosts_in(made)
    (failure,) = failures_in([made])
    assert len(failure.message) <= 1000
    failed_nodes_in([row, {"summary_fields": row}, {"summary_fields": {"job": row}}])


@pytest.mark.parametrize("data", [b"[" * 100_000 + b"]" * 100_000, b"{", b""])
def test_bytes_that_are_no_json_are_no_error(data):
    assert hosts_in(event(data)) == ()
    assert failures_in([event(data)])[0].message == ""
