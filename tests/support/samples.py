"""Events as sinks get them: true in shape, small, easy to tell apart."""

from __future__ import annotations

from bridge.encode import event_id, status_id, to_event
from bridge.model import JobKey

KEY = JobKey("prod", "job", 42)
JOB = {
    "source": "prod",
    "schema_version": "1.0",
    "job_id": 42,
    "job_type": "job",
    "job_name": "deploy-web",
    "job_status": "running",
    "job_url": "https://awx.example.com/#/jobs/playbook/42",
    "template": "deploy-web",
    "template_id": 7,
    "inventory": "production",
    "project": "web",
    "organization": "Ops",
    "launch_type": "manual",
    "launched_by": "alice",
    "labels": ["blue"],
    "job_limit": "web*",
    "workflow_job_id": None,
}


def event_fields(counter=1, **more):
    """Return the fields of one failed task."""
    return {
        "id": event_id(KEY, counter),
        "type": "awx.event.runner_on_failed",
        "time": "2026-11-20T10:00:00.000000Z",
        **JOB,
        "counter": counter,
        "event": "runner_on_failed",
        "play": "Deploy",
        "task": "Install nginx",
        "host": "web1",
        "failed": True,
        "changed": False,
        "stdout": "fatal: [web1]: FAILED!",
        "event_data": {"res": {"msg": "No package nginx available", "rc": 1}},
        **more,
    }


def status_fields(status="failed", **more):
    """Return the fields of a terminal status with its receipt."""
    return {
        "id": status_id(KEY, status),
        "type": f"awx.job.{status}",
        "time": "2026-11-20T10:03:12.000000Z",
        **JOB,
        "job_status": status,
        "status": status,
        "previous_status": "running",
        "terminal": True,
        "elapsed": 192.4,
        "job_explanation": "",
        "complete": True,
        "events_total": 120,
        "events_missing": [],
        "events_missing_total": 0,
        "hosts_total": 12,
        "hosts_failed": 2,
        "hosts_unreachable": 1,
        "hosts_changed": 4,
        "failures": [
            {"host": "web1", "task": "Install nginx", "message": "No package nginx available", "counter": 57}
        ],
        **more,
    }


def sample(counter=1, **more):
    """Return one job event, ready for a sink."""
    return to_event(event_fields(counter, **more), key=str(KEY), counter=counter)


def status_sample(status="failed", **more):
    """Return one status, ready for a sink."""
    return to_event(status_fields(status, **more), key=str(KEY), status_number=1)
