import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.awx.rows import id_of, job_from
from bridge.model import JOB_TYPES, Job, JobKey

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
SUMMARY = st.dictionaries(
    st.sampled_from(["unified_job_template", "inventory", "labels", "created_by", "source_workflow_job"]),
    JSON | st.dictionaries(st.sampled_from(["id", "name", "username", "results"]), JSON),
)
ROWS = st.fixed_dictionaries(
    {"id": st.integers(1, 99), "type": st.sampled_from(JOB_TYPES), "status": st.text(min_size=1)},
    optional={
        "summary_fields": SUMMARY | JSON,
        "related": st.dictionaries(st.just("source_workflow_job"), JSON) | JSON,
        **dict.fromkeys(
            ["name", "launched_by", "labels", "limit", "elapsed", "extra_vars", "job_explanation", "created"],
            JSON,
        ),
    },
)


def row(**more):
    return {"id": 29, "type": "job", "status": "running", **more}


@given(JSON | ROWS)
def test_arbitrary_json_gives_a_job_or_nothing(value):
    job = job_from(value, "prod")
    if job is not None:
        assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job


@given(ROWS)
def test_a_row_with_id_type_and_status_is_always_a_job(value):
    job = job_from(value, "prod")
    assert job.key == JobKey("prod", value["type"], value["id"])
    assert job.status == value["status"]


@pytest.mark.parametrize(
    "value",
    [None, [], "job", {}, row(id=None), row(id="29"), row(id=True), row(id=0), row(type="task"), row(type=[]), row(status=None), row(status="")],
)  # fmt: skip
def test_a_row_that_is_no_job(value):
    assert job_from(value, "prod") is None


def test_the_names_come_from_the_summary():
    summary = {
        "unified_job_template": {"id": 9, "name": "deploy"},
        "inventory": {"id": 2, "name": "hosts"},
        "project": {"id": 8, "name": "books"},
        "organization": {"id": 1, "name": "org"},
        "labels": {"count": 2, "results": [{"id": 1, "name": "prod"}, {"id": 2}, "x", {"name": "team-a"}]},
        "source_workflow_job": {"id": 28, "name": "wf"},
    }
    job = job_from(row(summary_fields=summary, unified_job_template=9, launched_by={"name": "admin"}), "prod")
    assert (job.template, job.template_id, job.inventory, job.project) == ("deploy", 9, "hosts", "books")
    assert (job.organization, job.labels, job.workflow_job_id) == ("org", ("prod", "team-a"), 28)
    assert job.launched_by == "admin"


@pytest.mark.parametrize(
    ("job_type", "key"),
    [
        ("job", "job_template"),
        ("workflow_job", "workflow_job_template"),
        ("project_update", "project"),
        ("inventory_update", "inventory_source"),
    ],
)
def test_without_a_unified_job_template_the_types_own(job_type, key):
    job = job_from(row(type=job_type, summary_fields={key: {"id": 5, "name": "t"}}, **{key: 5}), "prod")
    assert (job.template, job.template_id) == ("t", 5)


def test_before_awx_19_the_launcher_is_who_created_it():
    assert job_from(row(summary_fields={"created_by": {"username": "ann"}}), "prod").launched_by == "ann"


def test_the_workflow_is_read_from_the_link_where_the_summary_has_none():
    job = job_from(row(related={"source_workflow_job": "/api/v2/workflow_jobs/28/"}), "prod")
    assert job.workflow_job_id == 28


def test_extra_vars_are_text():
    assert job_from(row(extra_vars='{"a": 1}'), "prod").extra_vars == '{"a": 1}'
    assert json.loads(job_from(row(extra_vars={"a": 1}), "prod").extra_vars) == {"a": 1}
    assert job_from(row(extra_vars=None), "prod").extra_vars is None


def test_ids():
    assert id_of({"id": 3}) == 3
    assert id_of({"id": 2**63}) is None
    assert id_of([]) is None
