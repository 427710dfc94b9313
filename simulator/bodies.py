"""The detail bodies of the seven unified job types, field by field as AWX 24.6.1 shows them.

Pure. Only what does not change while a job lives; `world` lays status, times and counts over it.
"""

from __future__ import annotations

from typing import Any, Final

from simulator.plan import Plan
from simulator.script import COLLECTIONS

ORGANIZATION: Final = {"id": 2, "name": "Platform", "description": ""}
INVENTORY: Final = {
    "id": 2,
    "name": "Web and databases",
    "description": "",
    "has_active_failures": False,
    "total_hosts": 20,
    "hosts_with_active_failures": 0,
    "total_groups": 2,
    "has_inventory_sources": False,
    "total_inventory_sources": 0,
    "inventory_sources_with_failures": 0,
    "organization_id": 2,
    "kind": "",
}
PROJECT: Final = {
    "id": 8,
    "name": "Platform playbooks",
    "description": "",
    "status": "successful",
    "scm_type": "git",
    "allow_override": False,
}
ENVIRONMENT: Final = {
    "id": 1,
    "name": "AWX EE (latest)",
    "description": "",
    "image": "registry.example.com/ansible/awx-ee:latest",
}
GROUP: Final = {"id": 2, "name": "default", "is_container_group": False}
USER: Final = {"id": 1, "username": "admin", "first_name": "", "last_name": ""}

DETAIL_ONLY: Final = frozenset(
    {
        "job_args",
        "job_cwd",
        "job_env",
        "result_traceback",
        "event_processing_finished",
        "host_status_counts",
        "playbook_counts",
        "source_project",
    }
)
"""Fields that list rows leave out (UnifiedJobListSerializer); of a job also `custom_virtualenv`."""

_TEMPLATES: Final = {
    "job": "job_templates",
    "workflow_job": "workflow_job_templates",
    "project_update": "projects",
    "inventory_update": "inventory_sources",
    "system_job": "system_job_templates",
    "workflow_approval": "workflow_approval_templates",
}
_RELATED: Final = {
    "job": (
        "labels credentials stdout job_events job_host_summaries activity_stream notifications "
        "create_schedule cancel relaunch"
    ),
    "workflow_job": "workflow_nodes labels notifications activity_stream cancel relaunch",
    "project_update": "stdout cancel scm_inventory_updates notifications events",
    "inventory_update": "stdout cancel notifications events credentials",
    "ad_hoc_command": "stdout events activity_stream notifications cancel relaunch",
    "system_job": "notifications cancel events",
    "workflow_approval": "approve deny",
}


def detail(job_id: int, plan: Plan) -> dict[str, Any]:
    """Return the unchanging part of a job's detail body."""
    own = _OWN[plan.kind](plan)
    body = {
        "id": job_id,
        "type": plan.kind,
        "url": f"/api/v2/{COLLECTIONS[plan.kind]}/{job_id}/",
        "related": _related(job_id, plan, own),
        "summary_fields": _summary(plan, own),
        "created": "",
        "modified": "",
        "name": plan.name,
        **({} if plan.kind == "ad_hoc_command" else _template_fields(plan)),
        "launch_type": "manual",
        "status": "new",
        "failed": False,
        "started": None,
        "finished": None,
        "canceled_on": None,
        "elapsed": 0.0,
        "job_args": "",
        "job_cwd": "",
        "job_env": {},
        "job_explanation": "",
        "result_traceback": "",
        "launched_by": {"id": 1, "name": "admin", "type": "user", "url": "/api/v2/users/1/"},
        "work_unit_id": None,
    }
    if plan.kind != "workflow_job":
        body |= {"execution_environment": None, "event_processing_finished": False}
    if plan.kind not in {"workflow_job", "workflow_approval"}:
        body["execution_node"] = ""
    if plan.kind in {"job", "ad_hoc_command", "inventory_update"}:
        body["controller_node"] = ""
    return body | own | dict(plan.body)


def _template_fields(plan: Plan) -> dict[str, Any]:
    return {"description": "", "unified_job_template": plan.template_id}


def _related(job_id: int, plan: Plan, own: dict[str, Any]) -> dict[str, str]:
    base = f"/api/v2/{COLLECTIONS[plan.kind]}/{job_id}/"
    related = {name: f"{base}{name}/" for name in _RELATED[plan.kind].split()}
    related["created_by"] = "/api/v2/users/1/"
    if plan.kind in _TEMPLATES:
        path = f"/api/v2/{_TEMPLATES[plan.kind]}/{plan.template_id}/"
        related |= {"unified_job_template": path, _template_key(plan.kind): path}
    for name, plural in (("inventory", "inventories"), ("project", "projects")):
        if own.get(name):
            related[name] = f"/api/v2/{plural}/{own[name]}/"
    if plan.kind not in {"workflow_job", "workflow_approval"}:
        related["execution_environment"] = "/api/v2/execution_environments/1/"
    if own.get("organization"):
        related["organization"] = f"/api/v2/organizations/{own['organization']}/"
    return related


def _template_key(kind: str) -> str:
    return {"project_update": "project", "inventory_update": "inventory_source"}.get(kind, f"{kind}_template")


def _summary(plan: Plan, own: dict[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {"created_by": USER, "user_capabilities": {"delete": True, "start": True}}
    if plan.kind not in {"workflow_job", "workflow_approval"}:
        summary |= {"execution_environment": ENVIRONMENT, "instance_group": GROUP}
    if plan.kind not in {"ad_hoc_command", "system_job"}:
        summary["organization"] = ORGANIZATION
    if own.get("inventory"):
        summary["inventory"] = INVENTORY
    template = {"id": plan.template_id, "name": plan.name, "description": ""}
    if plan.kind in _TEMPLATES:
        summary["unified_job_template"] = template | {"unified_job_type": plan.kind}
        summary[_template_key(plan.kind)] = template
    if plan.kind == "project_update":
        summary["project"] = PROJECT | {"id": plan.template_id, "name": plan.name}
    if plan.kind == "inventory_update":
        summary["inventory_source"] = {"id": plan.template_id, "name": plan.name, "source": "scm"}
        summary["credentials"] = []
    if plan.kind == "job":
        summary |= {"project": PROJECT, "credentials": []}
    if plan.kind in {"job", "workflow_job"}:
        found = [{"id": at, "name": label} for at, label in enumerate(plan.labels, 1)]
        summary["labels"] = {"count": len(found), "results": found}
    return summary


def _of_job(plan: Plan) -> dict[str, Any]:
    return {
        "job_type": "run",
        "inventory": 2,
        "project": 8,
        "playbook": f"{plan.name}.yml",
        "scm_branch": "",
        "forks": 0,
        "limit": "",
        "verbosity": 0,
        "extra_vars": "{}",
        "job_tags": "",
        "force_handlers": False,
        "skip_tags": "",
        "start_at_task": "",
        "timeout": 0,
        "use_fact_cache": False,
        "organization": 2,
        "job_template": plan.template_id,
        "passwords_needed_to_start": [],
        "allow_simultaneous": True,
        "artifacts": {},
        "scm_revision": "",
        "instance_group": None,
        "diff_mode": False,
        "job_slice_number": 0,
        "job_slice_count": 1,
        "webhook_service": "",
        "webhook_credential": None,
        "webhook_guid": "",
        "host_status_counts": None,
        "playbook_counts": {"play_count": 0, "task_count": 0},
        "custom_virtualenv": None,
    }


def _of_workflow(plan: Plan) -> dict[str, Any]:
    return {
        "workflow_job_template": plan.template_id,
        "extra_vars": "{}",
        "allow_simultaneous": False,
        "job_template": None,
        "is_sliced_job": False,
        "inventory": None,
        "limit": None,
        "scm_branch": None,
        "webhook_service": "",
        "webhook_credential": None,
        "webhook_guid": "",
        "skip_tags": None,
        "job_tags": None,
    }


def _of_project(plan: Plan) -> dict[str, Any]:
    return {
        "local_path": f"_{plan.template_id}__playbooks",
        "scm_type": "git",
        "scm_url": "https://git.example.com/platform/playbooks.git",
        "scm_branch": "",
        "scm_refspec": "",
        "scm_clean": False,
        "scm_track_submodules": False,
        "scm_delete_on_update": False,
        "credential": None,
        "timeout": 0,
        "scm_revision": "20a3efc4933e4754c1b967038d2b0816d8aa9de8",
        "project": plan.template_id,
        "job_type": "check",
        "job_tags": "update_git,install_roles,install_collections",
        "host_status_counts": None,
        "playbook_counts": {"play_count": 0, "task_count": 0},
    }


def _of_inventory(plan: Plan) -> dict[str, Any]:
    return {
        "source": "scm",
        "source_path": "inventory.ini",
        "source_vars": "",
        "scm_branch": "",
        "credential": None,
        "enabled_var": "",
        "enabled_value": "",
        "host_filter": "",
        "overwrite": True,
        "overwrite_vars": False,
        "custom_virtualenv": None,
        "timeout": 0,
        "verbosity": 1,
        "limit": "",
        "inventory": 2,
        "inventory_source": plan.template_id,
        "license_error": False,
        "org_host_limit_error": False,
        "source_project_update": None,
        "source_project": None,
        "instance_group": None,
    }


def _of_ad_hoc(plan: Plan) -> dict[str, Any]:
    return {
        "job_type": "run",
        "inventory": 2,
        "limit": "web",
        "credential": None,
        "module_name": plan.name,
        "module_args": "",
        "forks": 0,
        "verbosity": 0,
        "extra_vars": "",
        "become_enabled": False,
        "diff_mode": False,
        "host_status_counts": None,
    }


def _of_system(plan: Plan) -> dict[str, Any]:
    return {
        "system_job_template": plan.template_id,
        "job_type": "cleanup_sessions",
        "extra_vars": "{}",
        "result_stdout": "",
    }


def _of_approval(plan: Plan) -> dict[str, Any]:
    return {
        "workflow_approval_template": plan.template_id,
        "timeout": 0,
        "can_approve_or_deny": True,
        "approval_expiration": None,
        "timed_out": False,
    }


_OWN: Final = {
    "job": _of_job,
    "workflow_job": _of_workflow,
    "project_update": _of_project,
    "inventory_update": _of_inventory,
    "ad_hoc_command": _of_ad_hoc,
    "system_job": _of_system,
    "workflow_approval": _of_approval,
}
