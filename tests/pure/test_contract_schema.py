import re

import pytest
from jsonschema import Draft202012Validator

from bridge import contract
from bridge.contract import EVENT_TYPES, FIELDS, JOB_FIXED, event_schema, names
from bridge.examples import golden_examples
from bridge.model import JOB_TYPES, SCHEMA_VERSION, TERMINAL_STATUSES
from tests.support.schema_files import SCHEMA, rendered

GOLDEN = golden_examples()
VALIDATOR = Draft202012Validator(event_schema())

HOW = "run `python -m tests.support.schema_files`, and look at what changed: it is an interface"


def problems(event):
    return [error.message for error in VALIDATOR.iter_errors(event)]


def without(event, name):
    return {key: value for key, value in event.items() if key != name}


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(event_schema())
    assert event_schema()["$id"] == f"urn:awx-event-bridge:event:{SCHEMA_VERSION}"


def test_every_field_is_described_once():
    listed = [field.name for field in contract.ALL_FIELDS]
    assert len(listed) == len(set(listed))
    assert set(event_schema()["properties"]) == FIELDS
    for field in contract.ALL_FIELDS:
        assert field.description[0].isupper(), field.name
        assert field.description.endswith("."), field.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)


def test_the_published_files_are_what_the_code_says():
    published = {
        path.relative_to(SCHEMA): path.read_text(encoding="utf-8") for path in SCHEMA.rglob("*.json")
    }
    assert published == rendered(), HOW


def test_the_page_on_events_names_every_field_and_type():
    page = (SCHEMA.parent / "docs" / "events.md").read_text(encoding="utf-8")
    assert [name for name in FIELDS if f"| `{name}` |" not in page] == []
    assert [kind for kind in contract.BRIDGE_TYPES if f"`{kind}`" not in page] == []
    assert [status for status in contract.JOB_STATUSES if status not in page] == []


def test_there_is_an_example_of_every_type():
    assert set(GOLDEN) == set(EVENT_TYPES)
    assert len(EVENT_TYPES) == len(set(EVENT_TYPES))


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_examples_are_valid_and_nothing_listed_for_them_can_be_missing(kind):
    event = GOLDEN[kind]
    assert problems(event) == []
    assert problems({**event, "surprise": 1})
    required = {
        "awx.event": names("always", "job", "event"),
        "awx.job": names("always", "job", "status"),
    }.get(kind.rpartition(".")[0], [*names("always"), "bridge"])
    if kind.removeprefix("awx.job.") in TERMINAL_STATUSES:
        required = [*required, *names("receipt")]
    for name in required:
        assert problems(without(event, name)), name


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("awx.event.runner_on_ok", "events_total", 1),
        ("awx.event.runner_on_ok", "sink", "ops"),
        ("awx.event.runner_on_ok", "labels", None),
        ("awx.event.runner_on_ok", "counter", "1"),
        ("awx.event.runner_on_ok", "late", False),
        ("awx.event.runner_on_ok", "schema_version", "0.9"),
        ("awx.job.failed", "counter", 1),
        ("awx.job.failed", "hosts", [{"host": "a"}]),
        ("awx.job.failed", "events_missing", list(range(1001))),
        ("bridge.heartbeat", "stdout", "x"),
        ("bridge.heartbeat", "type", "bridge.Heartbeat"),
    ],
)
def test_the_schema_refuses(kind, name, value):
    assert problems({**GOLDEN[kind], name: value})


def test_a_newer_awx_may_have_further_names():
    assert problems({**GOLDEN["awx.event.runner_on_ok"], "type": "awx.event.runner_on_moon"}) == []
    assert problems({**GOLDEN["awx.job.running"], "type": "awx.job.sleeping", "status": "sleeping"}) == []


def test_fields_that_a_topic_may_use_are_fixed_per_job():
    assert {"source", "job_type", "job_id", "template"} <= JOB_FIXED <= FIELDS
    assert not JOB_FIXED & {"job_status", "type", "id", "time", "host", "labels", "job_url"}


def test_the_schema_knows_every_job_type():
    assert event_schema()["properties"]["job_type"]["enum"] == list(JOB_TYPES)


def test_no_field_has_a_name_that_redaction_takes_for_a_secret():
    from bridge.redact.names import SecretNames  # noqa: PLC0415 - only this test knows that room

    assert [name for name in FIELDS if name in SecretNames()] == []
