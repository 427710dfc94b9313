"""One golden example of every event type, made by the code that makes the real ones.

What is published under `schema/examples/` is this, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bridge.contract import AWX_EVENTS, JOB_STATUSES
from bridge.model import (
    TERMINAL_STATUSES,
    AwxEvent,
    Close,
    Failure,
    HostSummary,
    Job,
    JobKey,
    StatusSeen,
)
from bridge.prepare import Prepared, Preparer
from bridge.redact import Redactor

_AT: Final = 1_767_273_134.25
_TASK: Final = "Restart the service"

_JOB: Final = Job(
    key=JobKey("prod", "job", 42),
    status="running",
    name="deploy-shop",
    template="deploy-shop",
    template_id=7,
    inventory="production",
    project="playbooks",
    organization="Shop",
    launch_type="workflow",
    launched_by="alice",
    labels=("shop", "weekly"),
    limit="web*",
    workflow_job_id=41,
    created="2026-01-01T13:12:05.104310Z",
    started="2026-01-01T13:12:06.481027Z",
    finished="2026-01-01T13:12:14.250000Z",
    elapsed=7.769,
    extra_vars='{"version": "1.4.2", "db_password": "example"}',
)

_CLOSE: Final = Close(
    complete=False,
    events_total=120,
    missing=((57, 58),),
    hosts=(HostSummary(host="web1", ok=12, changed=3), HostSummary(host="web2", ok=9, failures=1)),
    failures=(Failure(host="web2", task=_TASK, message="Unable to restart service shop", counter=113),),
)

_RESULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "runner_on_ok": {"changed": True, "invocation": {"module_args": {"name": "shop", "password": "example"}}},
    "runner_on_failed": {"changed": False, "msg": "Unable to restart service shop", "rc": 1},
    "runner_on_unreachable": {"unreachable": True, "msg": "Failed to connect to the host via ssh"},
    "runner_retry": {"attempts": 1, "retries": 4, "changed": False},
    "runner_on_async_poll": {"ansible_job_id": "j4815.162342", "finished": 0, "started": 1},
    "runner_on_async_ok": {"ansible_job_id": "j4815.162342", "finished": 1, "changed": True},
    "runner_on_async_failed": {"ansible_job_id": "j4815.162342", "finished": 1, "msg": "timed out"},
    "runner_item_on_ok": {"item": "nginx", "changed": False},
    "runner_item_on_failed": {"item": "nginx", "msg": "No package matching 'nginx' found"},
    "runner_item_on_skipped": {"item": "nginx", "skipped": True},
}
_FAILED: Final = frozenset(
    {"runner_on_failed", "runner_on_unreachable", "runner_on_error", "runner_on_async_failed"}
    | {"runner_item_on_failed"}
)
_TIMED: Final = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_skipped", "runner_on_unreachable"})


class _NoRules:
    def sinks_for(self, _fields: Mapping[str, object], /) -> tuple[str, ...]:
        return ()


def golden_examples() -> dict[str, dict[str, Any]]:
    """Return one example per event type: its fields as a sink gets them. Always the same."""
    preparer = Preparer(
        bridge="awx-bridge",
        public_urls={"prod": "https://awx.example.com"},
        redactor=Redactor(),
        rules=_NoRules(),
    )
    made = [
        *(_status(preparer, status) for status in JOB_STATUSES),
        *(preparer.event(_row(number, name), _JOB) for number, name in enumerate(AWX_EVENTS, start=1)),
        preparer.own("bridge.source.down", at=_AT, source="prod", reason="HTTP 502", since=_AT - 30),
        preparer.own("bridge.source.up", at=_AT, source="prod", since=_AT - 30),
        preparer.own("bridge.sink.parked", at=_AT, sink="ops", reason="channel_not_found"),
        preparer.own("bridge.sink.resumed", at=_AT, sink="ops", since=_AT - 60),
        preparer.missing(_JOB, _CLOSE.missing, at=_AT, reason="never became readable"),
        preparer.own("bridge.heartbeat", at=_AT),
    ]
    return {prepared.event.type: prepared.event.read() for prepared in made}


def _status(preparer: Preparer, status: str) -> Prepared:
    final = status in TERMINAL_STATUSES
    job = msgspec.structs.replace(
        _JOB,
        status="running" if status in {"deleted", "stalled"} else status,
        finished=_JOB.finished if final else None,
        elapsed=_JOB.elapsed if final else None,
    )
    number = JOB_STATUSES.index(status) + 1
    previous = {"pending": None, "waiting": "pending", "running": "waiting"}.get(status, "running")
    times = {"pending": _JOB.created, "waiting": _JOB.created, "running": _JOB.started}
    time = times.get(status) or _JOB.finished or ""
    seen = StatusSeen(number=number, status=status, repeat=1, previous=previous, time=time)
    return preparer.status(seen, job, _CLOSE if final or status == "deleted" else None)


def _row(counter: int, name: str) -> AwxEvent:
    event = "" if name == "unknown" else name
    on_host = name.startswith(("runner_", "playbook_on_import", "playbook_on_not_import"))
    in_task = on_host or name in {"playbook_on_task_start", "playbook_on_notify"}
    data: dict[str, Any] = {"playbook": "deploy.yml", "play": "Deploy the shop"}
    if in_task:
        data |= {"task": _TASK, "task_action": "ansible.builtin.service", "role": "shop"}
    if on_host:
        data["host"] = "web2" if name in _FAILED else "web1"
    if name in _RESULTS:
        data["res"] = _RESULTS[name]
    if name in _TIMED:
        data["duration"] = 0.482
    if name == "runner_on_failed":
        data["ignore_errors"] = False
    if name == "playbook_on_stats":
        data |= {"ok": {"web1": 12, "web2": 9}, "failures": {"web2": 1}, "changed": {"web1": 3}}
    return AwxEvent(
        counter=counter,
        event=event,
        uuid=f"5f3c1f9e-0000-4000-8000-{counter:012d}",
        parent_uuid="5f3c1f9e-0000-4000-8000-000000000000" if in_task else None,
        created="2026-01-01T13:12:10.120045Z",
        host_name=data.get("host"),
        play=data["play"],
        task=data.get("task"),
        role=data.get("role"),
        failed=name in _FAILED,
        changed=name == "runner_on_ok",
        stdout=f"{name}: [{data['host']}]" if on_host else "",
        start_line=counter,
        end_line=counter + 1 if on_host else counter,
        verbosity=0,
        event_data=msgspec.Raw(msgspec.json.encode(data)),
    )
