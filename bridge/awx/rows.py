"""Rows of AWX's job lists as `Job`s. Pure: arbitrary JSON gives a job or None, never an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from bridge.model import JOB_TYPES, Job, JobKey

_HIGHEST_ID: Final = 2**63 - 1
_WORKFLOW_PATH: Final = re.compile(r"/workflow_jobs/(\d{1,18})/")
_TEMPLATE_KEYS: Final = {
    "job": ("job_template",),
    "workflow_job": ("workflow_job_template", "job_template"),
    "project_update": ("project",),
    "inventory_update": ("inventory_source",),
    "system_job": ("system_job_template",),
    "workflow_approval": ("workflow_approval_template",),
}
"""Where an AWX that does not name the unified job template keeps it, by job type."""


def job_from(row: object, source: str) -> Job | None:
    """Read one row of a list, or a detail; None when it has no usable id, type or status."""
    if not isinstance(row, dict):
        return None
    job_id, job_type, status = id_of(row), row.get("type"), _text(row.get("status"))
    if job_id is None or job_type not in JOB_TYPES or not status:
        return None
    summary = _object(row, "summary_fields")
    template, template_id = _template(row, summary, job_type)
    return Job(
        key=JobKey(source, job_type, job_id),
        status=status,
        name=_text(row.get("name")) or "",
        template=template,
        template_id=template_id,
        inventory=_name(summary, "inventory"),
        project=_name(summary, "project") or _name(summary, "source_project"),
        organization=_name(summary, "organization"),
        launch_type=_text(row.get("launch_type")),
        launched_by=_launched_by(row, summary),
        labels=_labels(summary),
        limit=_text(row.get("limit")),
        workflow_job_id=_workflow_job_id(row, summary),
        created=_text(row.get("created")),
        started=_text(row.get("started")),
        finished=_text(row.get("finished")),
        elapsed=_number(row.get("elapsed")),
        explanation=_text(row.get("job_explanation")) or "",
        extra_vars=_extra_vars(row.get("extra_vars")),
    )


def id_of(row: object) -> int | None:
    """Return the row's id, a whole number from 1 on, or None."""
    return _id(row.get("id")) if isinstance(row, dict) else None


def _template(
    row: Mapping[str, Any], summary: Mapping[str, Any], job_type: str
) -> tuple[str | None, int | None]:
    for key in ("unified_job_template", *_TEMPLATE_KEYS.get(job_type, ())):
        of_summary = _object(summary, key)
        template_id = _id(row.get(key)) or id_of(of_summary)
        name = _text(of_summary.get("name"))
        if name or template_id:
            return name, template_id
    return None, None


def _launched_by(row: Mapping[str, Any], summary: Mapping[str, Any]) -> str | None:
    # launched_by came with AWX 19.0
    name = _text(_object(row, "launched_by").get("name"))
    return name or _text(_object(summary, "created_by").get("username"))


def _labels(summary: Mapping[str, Any]) -> tuple[str, ...]:
    labels = _object(summary, "labels").get("results")
    names = (
        [_text(label.get("name")) for label in labels if isinstance(label, dict)]
        if isinstance(labels, list)
        else []
    )
    return tuple(name for name in names if name)


def _workflow_job_id(row: Mapping[str, Any], summary: Mapping[str, Any]) -> int | None:
    found = id_of(_object(summary, "source_workflow_job"))
    if found is not None:
        return found
    path = _text(_object(row, "related").get("source_workflow_job"))
    match = _WORKFLOW_PATH.search(path) if path else None
    return int(match[1]) if match else None


def _extra_vars(value: object) -> str | None:
    # AWX sends text; a JSON object would be its plain reading
    if not isinstance(value, dict):
        return _text(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return None


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _name(summary: Mapping[str, Any], key: str) -> str | None:
    return _text(_object(summary, key).get("name"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _id(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 1 <= value <= _HIGHEST_ID else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
