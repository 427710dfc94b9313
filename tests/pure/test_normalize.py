import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import names
from bridge.encode import dump
from bridge.model import TERMINAL_STATUSES, AwxEvent, Close, Failure, HostSummary, Job, JobKey, StatusSeen
from bridge.normalize import from_bridge, from_row, from_status, job_fields, job_url, missing_fields

JOB = Job(
    key=JobKey("prod", "job", 42),
    status="running",
    name="deploy",
    template="deploy",
    template_id=7,
    labels=("a", "b"),
    created="2026-01-01T10:00:00.000000Z",
    started="2026-01-01T10:00:01.000000Z",
)
BASE = job_fields(JOB, public_url="https://awx.example.com")
CREATED = "2026-01-01T10:00:05.123456Z"


def row(data=b"{}", **more):
    return AwxEvent(
        **({"counter": 5, "event": "runner_on_ok", "created": CREATED} | more), event_data=msgspec.Raw(data)
    )


def normalized(data=b"{}", job=JOB, late=False, **more):
    return from_row(row(data, **more), job, base=BASE, event_id="the-id", late=late)


def status(name, job=JOB, close=None, max_hosts=200, **more):
    seen = StatusSeen(
        **({"number": 1, "status": name, "repeat": 1, "previous": "running", "time": CREATED} | more)
    )
    return from_status(seen, job, base=BASE, event_id="the-id", close=close, max_hosts=max_hosts)


@pytest.mark.parametrize(
    ("kind", "public_url", "expected"),
    [
        ("job", "https://awx.example.com", "https://awx.example.com/#/jobs/playbook/42/output"),
        ("job", "https://awx.example.com/", "https://awx.example.com/#/jobs/playbook/42/output"),
        ("project_update", "http://a/awx", "http://a/awx/#/jobs/project/42/output"),
        ("inventory_update", "http://a", "http://a/#/jobs/inventory/42/output"),
        ("ad_hoc_command", "http://a", "http://a/#/jobs/command/42/output"),
        ("system_job", "http://a", "http://a/#/jobs/management/42/output"),
        ("workflow_job", "http://a", "http://a/#/jobs/workflow/42/output"),
        ("workflow_approval", "http://a", "http://a/#/workflow_approvals/42"),
        ("job", "http://a/execution/", "http://a/execution/jobs/playbook/42/output"),
        (
            "workflow_approval",
            "http://a/execution",
            "http://a/execution/administration/workflow-approvals/42/details",
        ),
    ],
)
def test_links(kind, public_url, expected):
    job = msgspec.structs.replace(JOB, key=JobKey("prod", kind, 42))
    assert job_url(job, public_url) == expected


def test_job_fields_are_those_of_the_contract():
    assert list(BASE) == [name for name in names("always", "job") if name not in {"id", "type", "time"}]
    assert BASE["labels"] == ["a", "b"]


def test_a_row_with_everything():
    data = {
        "play": "other",
        "task_action": "ansible.builtin.ping",
        "duration": 0.48,
        "ignore_errors": True,
        "host": "other",
        "res": {"a": [1, 2.50]},
    }
    raw = json.dumps(data).encode()
    fields = normalized(
        raw, host_name="web1", play="P", task="T", role="R", failed=True, changed=True, stdout="out",
        uuid="u", parent_uuid="p", start_line=1, end_line=2, verbosity=3,
    )  # fmt: skip
    assert bytes(fields.pop("event_data")) == raw
    assert fields == {
        "id": "the-id", "type": "awx.event.runner_on_ok", "time": CREATED, **BASE, "counter": 5,
        "event": "runner_on_ok", "play": "P", "task": "T", "task_action": "ansible.builtin.ping", "role": "R",
        "host": "web1", "failed": True, "changed": True, "ignore_errors": True, "duration": 0.48,
        "stdout": "out", "created": CREATED, "uuid": "u", "parent_uuid": "p", "start_line": 1, "end_line": 2,
        "verbosity": 3,
    }  # fmt: skip


def test_rows_of_other_lists_take_what_event_data_has():
    fields = normalized(b'{"host":"web1","play":"P","task":"T","role":"R"}', host_name="")
    assert [fields[name] for name in ("host", "play", "task", "role")] == ["web1", "P", "T", "R"]


def test_what_awx_does_not_have_is_null():
    fields = normalized(event="", host_name="", play="", task="")
    assert set(names("always", "job", "event")) == set(fields)
    assert fields["type"] == "awx.event.unknown"
    assert fields["event"] == ""
    null = {"play", "task", "task_action", "role", "host", "ignore_errors", "duration", "uuid"}
    assert all(fields[name] is None for name in null)
    assert fields["stdout"] == ""


@pytest.mark.parametrize("name", ["Odd", "runner on ok", "a/b", "x" * 80, "password=hunter2", "é"])
def test_odd_event_names_do_not_make_types(name):
    fields = normalized(event=name)
    assert fields["type"] == "awx.event.unknown"
    assert fields["event"] == name


@pytest.mark.parametrize(
    ("data", "kept", "read"),
    [
        (b"null", b"{}", {}),
        (b"[1]", b"{}", {}),
        (b'"x"', b"{}", {}),
        (b'{"duration":"long","host":"web1"}', b'{"duration":"long","host":"web1"}', {"host": "web1"}),
        (b'{"task_action":1,"duration":2}', b'{"task_action":1,"duration":2}', {"duration": 2}),
        (b'{"ignore_errors":1}', b'{"ignore_errors":1}', {"ignore_errors": None}),
        (b'{"duration":true}', b'{"duration":true}', {"duration": None}),
        (b'{"duration":1e999,"host":"w"}', b'{"duration":1e999,"host":"w"}', {"duration": None}),
        (b'{"host":"\xff"}', '{"host":"\ufffd"}'.encode(), {"host": "\ufffd"}),
        (b'{"a":', b"{}", {}),
        (b'{"duration":"long","host":Infinity}', b"{}", {}),
        (b'{"a":"\\ud800"}', b"{}", {}),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"{}", {}),
    ],
)
def test_malformed_event_data(data, kept, read):
    fields = normalized(data)
    assert bytes(fields["event_data"]) == kept
    assert fields["malformed"] is True
    assert {name: fields[name] for name in read} == read


def test_deep_but_readable_event_data_stays():
    data = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    fields = normalized(data)
    assert bytes(fields["event_data"]) == data
    assert "malformed" not in fields


def test_marks():
    assert "late" not in normalized()
    assert normalized(late=True)["late"] is True
    assert normalized(malformed=True)["malformed"] is True


@pytest.mark.parametrize("created", [None, "", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"])
def test_without_a_readable_time_the_job_says_when(created):
    fields = normalized(created=created)
    assert fields["time"] == JOB.started
    assert fields["created"] == created
    assert fields["malformed"] is True
    nothing_known = msgspec.structs.replace(JOB, started=None, created="?")
    assert normalized(created=created, job=nothing_known)["time"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("created", ["2026-01-01T10:00:05Z", "2026-01-01T10:00:05.1+02:00"])
def test_other_spellings_of_a_time_stay(created):
    fields = normalized(created=created)
    assert fields["time"] == created
    assert "malformed" not in fields


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["task_action", "duration", "ignore_errors", "host", "play", "res"]) | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@given(data=JSON | st.binary(), text=st.text(st.characters()), number=st.integers())
def test_normalize_is_total(data, text, number):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    fields = normalized(
        raw, counter=number, event=text, created=text, host_name=text, stdout=text, start_line=number
    )
    read = json.loads(dump(fields))
    assert set(names("always", "job", "event")) <= set(read)
    assert isinstance(read["event_data"], dict)
    if isinstance(data, dict) and not any(
        "\ud800" <= c <= "\udfff" for c in json.dumps(data, ensure_ascii=False)
    ):
        assert read["event_data"] == data


CLOSE = Close(
    complete=False,
    events_total=5000,
    missing=((3, 4), (10, 1500)),
    hosts=(
        HostSummary(host="fine", ok=5),
        HostSummary(host="changed", ok=5, changed=2),
        HostSummary(host="dark", dark=1),
        HostSummary(host="bad", failures=3),
        HostSummary(host="rescued", rescued=1, ok=9),
    ),
    failures=tuple(Failure(host="bad", task="T", message="m" * 9000, counter=n) for n in range(30)),
)


def test_a_status_on_the_way():
    fields = status("running", previous="waiting")
    assert set(fields) == set(names("always", "job", "status"))
    assert fields["type"] == "awx.job.running"
    assert (fields["status"], fields["previous_status"], fields["terminal"]) == ("running", "waiting", False)
    assert fields["time"] == CREATED
    assert fields["started"] == JOB.started


def test_an_earlier_status_says_nothing_that_came_later():
    done = msgspec.structs.replace(
        JOB, status="failed", finished="2026-01-01T10:05:00Z", elapsed=9.0, explanation="because"
    )
    fields = status("pending", job=done, close=CLOSE)
    assert fields["job_status"] == "pending"
    assert (fields["started"], fields["finished"], fields["elapsed"]) == (None, None, None)
    assert fields["job_explanation"] == ""
    assert "complete" not in fields
    last = status("failed", job=done, close=CLOSE)
    assert (last["finished"], last["elapsed"], last["job_explanation"]) == (done.finished, 9.0, "because")


def test_the_receipt():
    fields = status("failed", close=CLOSE, max_hosts=3)
    assert set(fields) == set(names("always", "job", "status", "receipt"))
    assert fields["complete"] is False
    assert fields["events_total"] == 5000
    assert fields["events_missing"][:4] == [3, 4, 10, 11]
    assert len(fields["events_missing"]) == 1000
    assert fields["events_missing_total"] == 2 + 1491
    assert [host["host"] for host in fields["hosts"]] == ["bad", "dark", "rescued"]
    assert [fields[f"hosts_{name}"] for name in ("total", "failed", "unreachable", "changed")] == [5, 1, 1, 1]
    assert len(fields["failures"]) == 20
    assert len(fields["failures"][0]["message"]) == 4000
    assert fields["corrects"] is None


def test_a_correction_names_what_it_replaces():
    assert status("successful", close=CLOSE, corrects="failed")["corrects"] == "failed"


@pytest.mark.parametrize("name", sorted(TERMINAL_STATUSES))
def test_a_terminal_status_always_has_a_receipt(name):
    fields = status(name)
    assert fields["terminal"] is True
    assert (fields["complete"], fields["events_total"], fields["hosts"]) == (False, 0, [])


def test_deleted_and_stalled_are_no_statuses_of_awx():
    fields = status("stalled", repeat=2)
    assert (fields["type"], fields["status"], fields["job_status"]) == (
        "awx.job.stalled",
        "stalled",
        "running",
    )
    assert "complete" not in fields
    assert status("deleted", close=CLOSE)["events_total"] == 5000
    assert "complete" not in status("deleted", close=CLOSE, previous="failed")
    assert "complete" not in status("deleted")


def test_a_status_that_makes_no_sense():
    fields = status("Never Heard", time="soon")
    assert fields["type"] == "awx.job.unknown"
    assert fields["time"] == JOB.created
    assert fields["malformed"] is True


def test_endless_gaps_cost_nothing():
    assert missing_fields([(1, 10**12)])["events_missing_total"] == 10**12
    assert missing_fields([]) == {"events_missing": [], "events_missing_total": 0}
    assert missing_fields([(5, 4)]) == {"events_missing": [], "events_missing_total": 0}


def test_an_own_event():
    fields = from_bridge(
        "bridge.sink.parked", bridge="b", event_id="i", time=CREATED, base={"source": "b"},
        facts={"sink": "ops", "reason": None},
    )  # fmt: skip
    assert fields == {
        "id": "i", "type": "bridge.sink.parked", "time": CREATED, "source": "b", "bridge": "b", "sink": "ops"
    }  # fmt: skip
