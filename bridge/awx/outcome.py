"""What a job did to its hosts, and why it failed, read from AWX's events. Pure.

Arbitrary JSON inside the events gives fewer facts, never an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from bridge.awx.rows import id_of
from bridge.model import AwxEvent, Failure, HostSummary

MOST_FAILURES: Final = 20
"""Failures that a receipt lists."""

FAILED_EVENTS: Final = ("runner_on_failed", "runner_on_error", "runner_on_unreachable")
"""One of these ends each failed task of a host, loops and async tasks included. With `failed=true`
none is a failure that the playbook ignores; a rescued one still counts (AWX does not tell)."""

_FAILED_STATUSES: Final = ("failed", "error", "canceled")  # a set would take no list for a value
_TYPES_WITH_HOSTS: Final = frozenset({"job", "ad_hoc_command", "project_update"})
_LONGEST_MESSAGE: Final = 8000  # more than an event carries: secrets go before it is cut for that
_NUMBERS: Final = ("ok", "changed", "failures", "dark", "skipped", "rescued", "ignored")
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SAYS_NOTHING: Final = frozenset({"non-zero return code", "All items completed", "One or more items failed"})
"""Messages of Ansible that only point to where the reason is."""


def has_hosts(job_type: str) -> bool:
    """Whether jobs of this type run tasks on hosts; the others only print."""
    return job_type in _TYPES_WITH_HOSTS


def hosts_in(event: AwxEvent) -> tuple[HostSummary, ...]:
    """Read a `playbook_on_stats` event, by host name; a number that is none counts as 0."""
    stats = _data(event)
    hosts: dict[str, dict[str, int]] = {}
    for number in _NUMBERS:
        by_host = stats.get(number)
        for host, count in by_host.items() if isinstance(by_host, dict) else ():
            if isinstance(count, int):
                hosts.setdefault(host, {})[number] = int(count)
    return tuple(HostSummary(host=host, **hosts[host]) for host in sorted(hosts))


def failures_in(events: Iterable[AwxEvent]) -> list[Failure]:
    """Read failed events into one failure each."""
    return [_failure(event) for event in events]


def failed_nodes_in(rows: Iterable[object]) -> list[Failure]:
    """Read rows of a workflow job's nodes; only those whose job failed give a failure."""
    return [failure for row in rows if (failure := _failed_node(row)) is not None]


def _failure(event: AwxEvent) -> Failure:
    data = _data(event)
    host = event.host_name or data.get("host")
    task = event.task or data.get("task")
    return Failure(
        host=host if isinstance(host, str) else None,
        task=task if isinstance(task, str) and task else None,
        message=(_message(data.get("res")) or _plain(event.stdout))[:_LONGEST_MESSAGE],
        counter=event.counter,
    )


def _failed_node(row: object) -> Failure | None:
    if not isinstance(row, dict):
        return None
    summary = row.get("summary_fields")
    job = summary.get("job") if isinstance(summary, dict) else None
    if not isinstance(job, dict) or job.get("status") not in _FAILED_STATUSES:
        return None
    explanation = job.get("job_explanation")
    kind = str(job.get("type") or "job").replace("_", " ")
    message = f"{kind} {id_of(job) or ''}".rstrip() + f" {job['status']}"
    if isinstance(explanation, str) and explanation:
        message += f": {explanation}"
    names = (job.get("name"), row.get("identifier"))
    task = next((name for name in names if isinstance(name, str) and name), None)
    return Failure(host=None, task=task, message=message[:_LONGEST_MESSAGE], counter=None)


def _message(result: object, *, of_item: bool = False) -> str:
    if not isinstance(result, dict):
        return ""
    if "censored" in result:
        return _said(result["censored"])
    items = result.get("results")
    if isinstance(items, list) and not of_item:
        failed = next((item for item in items if isinstance(item, dict) and item.get("failed")), None)
        if failed is not None and (message := _message(failed, of_item=True)):
            return message
    said = _said(result.get("msg"))
    if said and said not in _SAYS_NOTHING:
        return said
    output = _said(result.get("stderr")) or _said(result.get("stdout"))
    return f"{said}: {output}" if said and output else said or output


def _said(value: object) -> str:
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""
    return _plain(text)


def _plain(text: str) -> str:
    return _ESCAPES.sub("", text[: 4 * _LONGEST_MESSAGE]).strip()


def _data(event: AwxEvent) -> Mapping[str, Any]:
    try:
        data = msgspec.json.decode(event.event_data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
