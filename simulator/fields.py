"""Which fields AWX's models have and of what kind they are: what can be filtered and ordered by.

Pure. Serializer fields that are no model fields (`type`, `url`, `event_level`…) are left out: AWX
answers 400 to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How a field's value is read from a query."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TIME = "time"
    KEY = "key"
    JSON = "json"
    MANY = "many"


@dataclass(frozen=True, slots=True)
class Model:
    """A Django model by its name in AWX's error sentences, with its fields."""

    name: str
    fields: dict[str, Kind]


FORBIDDEN: Final = frozenset(
    {"job_args", "job_env", "start_args", "extra_vars", "survey_passwords", "passwords"}
)
"""Fields that answer 403 to a filter (AWX's PASSWORD_FIELDS and encrypted ones)."""


def _fields(**names: str) -> dict[str, Kind]:
    return {name: Kind(kind) for kind, listed in names.items() for name in listed.split()}


_UNIFIED: Final = _fields(
    text=(
        "name description launch_type status job_explanation execution_node controller_node work_unit_id "
        "result_traceback job_cwd job_args start_args"
    ),
    integer="id emitted_events",
    number="elapsed",
    boolean="failed cancel_flag",
    time="created modified started finished canceled_on",
    key=(
        "unified_job_template execution_environment organization instance_group created_by modified_by "
        "schedule unified_job_node"
    ),
    json="job_env host_status_counts",
    many="labels credentials notifications dependent_jobs",
)
_OWN: Final = {
    "job": _fields(
        text=(
            "job_type playbook scm_branch limit extra_vars job_tags skip_tags start_at_task scm_revision "
            "webhook_service webhook_guid survey_passwords"
        ),
        integer="forks verbosity timeout job_slice_number job_slice_count",
        boolean="force_handlers use_fact_cache allow_simultaneous diff_mode",
        key="inventory project job_template webhook_credential project_update",
        json="artifacts",
        many="hosts job_host_summaries job_events",
    ),
    "workflow_job": _fields(
        text="extra_vars webhook_service webhook_guid survey_passwords",
        boolean="allow_simultaneous is_sliced_job",
        key="workflow_job_template job_template inventory webhook_credential",
        many="workflow_job_nodes",
    ),
    "project_update": _fields(
        text="local_path scm_type scm_url scm_branch scm_refspec job_type job_tags scm_revision",
        integer="timeout",
        boolean="scm_clean scm_track_submodules scm_delete_on_update",
        key="project credential",
    ),
    "inventory_update": _fields(
        text=(
            "source source_path source_vars scm_branch enabled_var enabled_value host_filter limit "
            "scm_revision"
        ),
        integer="timeout verbosity",
        boolean="overwrite overwrite_vars license_error org_host_limit_error",
        key="inventory inventory_source source_project_update",
    ),
    "ad_hoc_command": _fields(
        text="job_type limit module_name module_args extra_vars",
        integer="forks verbosity",
        boolean="become_enabled diff_mode",
        key="inventory credential",
    ),
    "system_job": _fields(text="job_type extra_vars", key="system_job_template"),
    "workflow_approval": _fields(
        integer="timeout",
        boolean="timed_out",
        time="expires",
        key="workflow_approval_template approved_or_denied_by",
    ),
}
_NAMES: Final = {
    "job": "Job",
    "workflow_job": "WorkflowJob",
    "project_update": "ProjectUpdate",
    "inventory_update": "InventoryUpdate",
    "ad_hoc_command": "AdHocCommand",
    "system_job": "SystemJob",
    "workflow_approval": "WorkflowApproval",
}

JOB_MODELS: Final = {kind: Model(_NAMES[kind], _UNIFIED | own) for kind, own in _OWN.items()}
UNIFIED_MODEL: Final = Model(
    "UnifiedJob",
    _UNIFIED | _fields(key="job projectupdate inventoryupdate adhoccommand systemjob workflowjob"),
)

_EVENT: Final = _fields(
    text="event uuid stdout",
    integer="id counter verbosity start_line end_line",
    boolean="failed changed",
    time="created modified job_created",
    json="event_data",
)
_PLAYS: Final = _fields(text="playbook play role task")
EVENT_MODELS: Final = {
    "job": Model("JobEvent", _EVENT | _PLAYS | _fields(text="host_name parent_uuid", key="job host")),
    "project_update": Model("ProjectUpdateEvent", _EVENT | _PLAYS | _fields(key="project_update")),
    "ad_hoc_command": Model(
        "AdHocCommandEvent", _EVENT | _fields(text="host_name", key="ad_hoc_command host")
    ),
    "inventory_update": Model("InventoryUpdateEvent", _EVENT | _fields(key="inventory_update")),
    "system_job": Model("SystemJobEvent", _EVENT | _fields(key="system_job")),
}
SUMMARY_MODEL: Final = Model(
    "JobHostSummary",
    _fields(
        text="host_name",
        integer="id changed dark failures ignored ok processed rescued skipped",
        boolean="failed",
        time="created modified",
        key="job host constructed_host",
    ),
)
NODE_MODEL: Final = Model(
    "WorkflowJobNode",
    _fields(
        text="identifier",
        integer="id",
        boolean="do_not_run all_parents_must_converge",
        time="created modified",
        key="job workflow_job unified_job_template",
    ),
)
LABEL_MODEL: Final = Model(
    "Label", _fields(text="name", integer="id", time="created modified", key="organization")
)
NOTIFICATION_MODEL: Final = Model(
    "Notification",
    _fields(
        text="status error notification_type recipients subject",
        integer="id notifications_sent",
        time="created modified",
        key="notification_template",
    ),
)
