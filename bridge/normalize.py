"""Turn what AWX says into flat fields: one dict per event, by the list in `contract.py`.

Total: whatever a row holds, fields come out, `malformed` where it could be read only in part. Ids
come from the caller. `event_data` stays the bytes that AWX sent; only what rules need is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import msgspec

from bridge.model import SCHEMA_VERSION, TERMINAL_STATUSES, AwxEvent, Close, HostSummary, Job, StatusSeen

MAX_MISSING: Final = 1000
MAX_FAILURES: Final = 20
MAX_MESSAGE: Final = 4000

Fields = dict[str, Any]

_UI_SEGMENTS: Final = {
    "job": "playbook",
    "project_update": "project",
    "inventory_update": "inventory",
    "ad_hoc_command": "command",
    "system_job": "management",
    "workflow_job": "workflow",
}
"""awx/ui/src/constants.js; the newer UI of ansible-ui uses the same words."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOMENT: Final = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)"
    r"(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_NO_TIME: Final = "1970-01-01T00:00:00Z"
_HEADROOM: Final = 200
"""Levels of nesting that whoever decodes a body later needs to spare."""


class _Data(msgspec.Struct):
    """What rules and readers need of `event_data`."""

    task_action: str | None = None
    duration: float | None = None
    ignore_errors: bool | None = None
    host: str | None = None
    play: str | None = None
    task: str | None = None
    role: str | None = None


class _LooseData(msgspec.Struct):
    """The same fields, whatever their values are."""

    task_action: Any = None
    duration: Any = None
    ignore_errors: Any = None
    host: Any = None
    play: Any = None
    task: Any = None
    role: Any = None


_KINDS: Final[dict[str, tuple[type, ...]]] = {"duration": (float, int), "ignore_errors": (bool,)}
_data: Final = msgspec.json.Decoder(_Data)
_loose_data: Final = msgspec.json.Decoder(_LooseData)
_skip: Final = msgspec.json.Decoder(msgspec.Raw)
_EMPTY: Final = msgspec.Raw(b"{}")


def job_url(job: Job, public_url: str) -> str:
    """Return the link to the job in AWX's web interface.

    AWX's paths begin with `/#/`. A `public_url` that ends in `/execution` is the newer interface of
    Ansible Automation Platform 2.5 and later, whose paths have no `#`.
    """
    base = public_url.rstrip("/")
    newer = base.endswith("/execution")
    kind, number = job.key.job_type, job.key.job_id
    if kind == "workflow_approval":
        approvals = "/administration/workflow-approvals/{}/details" if newer else "/#/workflow_approvals/{}"
        return base + approvals.format(number)
    return f"{base}{'' if newer else '/#'}/jobs/{_UI_SEGMENTS.get(kind, 'playbook')}/{number}/output"


def job_fields(job: Job, *, public_url: str) -> Fields:
    """Return the fields that every event of a job has, without `id`, `type` and `time`."""
    return {
        "source": job.key.source,
        "schema_version": SCHEMA_VERSION,
        "job_id": job.key.job_id,
        "job_type": job.key.job_type,
        "job_name": job.name,
        "job_status": job.status,
        "job_url": job_url(job, public_url),
        "template": job.template,
        "template_id": job.template_id,
        "inventory": job.inventory,
        "project": job.project,
        "organization": job.organization,
        "launch_type": job.launch_type,
        "launched_by": job.launched_by,
        "labels": list(job.labels),
        "job_limit": job.limit,
        "workflow_job_id": job.workflow_job_id,
    }


def from_row(
    row: AwxEvent, job: Job, *, base: Mapping[str, Any], event_id: str, late: bool = False
) -> Fields:
    """Return the fields of a job event; `base` are the job's fields."""
    raw, data, malformed = _read(row.event_data)
    time = _moment(row.created)
    fields: Fields = {
        "id": event_id,
        "type": f"awx.event.{_name(row.event)}",
        "time": time or _moment(job.started) or _moment(job.created) or _NO_TIME,
        **base,
        "counter": row.counter,
        "event": row.event,
        "play": row.play or data.play or None,
        "task": row.task or data.task or None,
        "task_action": data.task_action or None,
        "role": row.role or data.role or None,
        "host": row.host_name or data.host or None,
        "failed": row.failed,
        "changed": row.changed,
        "ignore_errors": data.ignore_errors,
        "duration": data.duration,
        "stdout": row.stdout,
        "event_data": raw,
        "created": row.created,
        "uuid": row.uuid or None,
        "parent_uuid": row.parent_uuid or None,
        "start_line": row.start_line,
        "end_line": row.end_line,
        "verbosity": row.verbosity,
    }
    if late:
        fields["late"] = True
    if malformed or row.malformed or time is None:
        fields["malformed"] = True
    return fields


def from_status(
    seen: StatusSeen,
    job: Job,
    *,
    base: Mapping[str, Any],
    event_id: str,
    close: Close | None = None,
    max_hosts: int = 200,
) -> Fields:
    """Return the fields of one entry of a job's status log; `base` are the job's fields.

    The receipt belongs to a terminal status, and to the end of a job that was deleted unfinished;
    it is built from `close` alone. A terminal status without one gets an empty, incomplete receipt.
    """
    terminal = seen.status in TERMINAL_STATUSES
    own = seen.status in {"deleted", "stalled"}
    current = terminal or own or job.status == seen.status
    time = _moment(seen.time)
    fields: Fields = {
        "id": event_id,
        "type": f"awx.job.{_name(seen.status)}",
        "time": time or _moment(job.finished) or _moment(job.created) or _NO_TIME,
        **base,
        "job_status": job.status if own else seen.status,
        "status": seen.status,
        "previous_status": seen.previous,
        "terminal": terminal,
        "started": _moment(job.started) if current or seen.status == "running" else None,
        "finished": _moment(job.finished) if current else None,
        "elapsed": job.elapsed if current else None,
        "job_explanation": job.explanation if current else "",
    }
    cut_short = seen.status == "deleted" and close is not None and seen.previous not in TERMINAL_STATUSES
    if terminal or cut_short:
        fields |= _receipt(close or Close(complete=False, events_total=0), max_hosts)
        fields["corrects"] = seen.corrects
    if time is None:
        fields["malformed"] = True
    return fields


def from_bridge(
    kind: str, *, bridge: str, event_id: str, time: str, base: Mapping[str, Any], facts: Mapping[str, Any]
) -> Fields:
    """Return the fields of one of the bridge's own events.

    `base` has `source` and `schema_version`, or all fields of the job it is about. `facts` are
    further fields; those that are None are left out.
    """
    return {
        "id": event_id,
        "type": kind,
        "time": time,
        **base,
        "bridge": bridge,
        **{name: value for name, value in facts.items() if value is not None},
    }


def missing_fields(ranges: Sequence[tuple[int, int]]) -> Fields:
    """Return `events_missing` (at most 1,000 counters) and its total, from inclusive ranges."""
    counters = chain.from_iterable(range(first, last + 1) for first, last in ranges)
    return {
        "events_missing": list(islice(counters, MAX_MISSING)),
        "events_missing_total": sum(max(0, last - first + 1) for first, last in ranges),
    }


def _receipt(close: Close, max_hosts: int) -> Fields:
    hosts = close.hosts
    return {
        "complete": close.complete,
        "events_total": close.events_total,
        **missing_fields(close.missing),
        "hosts": [msgspec.structs.asdict(host) for host in _worst_first(hosts)[:max_hosts]],
        "hosts_total": len(hosts),
        "hosts_failed": sum(host.failures > 0 for host in hosts),
        "hosts_unreachable": sum(host.dark > 0 for host in hosts),
        "hosts_changed": sum(host.changed > 0 for host in hosts),
        "failures": [
            {**msgspec.structs.asdict(failure), "message": failure.message[:MAX_MESSAGE]}
            for failure in close.failures[:MAX_FAILURES]
        ],
    }


def _worst_first(hosts: Iterable[HostSummary]) -> list[HostSummary]:
    def badness(host: HostSummary) -> tuple[int, int, int, str]:
        return -(host.failures + host.dark), -(host.rescued + host.ignored), -host.changed, host.host

    return sorted(hosts, key=badness)


def _name(text: str) -> str:
    """Return what follows `awx.event.` or `awx.job.`: AWX's name, unless it has none or an odd one."""
    return text if _NAME.fullmatch(text) else "unknown"


def _moment(text: str | None) -> str | None:
    """Return `text` when it is an RFC 3339 time."""
    return text if text is not None and _MOMENT.fullmatch(text) else None


def _read(raw: msgspec.Raw) -> tuple[msgspec.Raw, _Data, bool]:
    """Return `event_data` as it may leave, what was decoded of it, and whether it was malformed."""
    text = bytes(raw)
    malformed = False
    try:
        text.decode()
    except UnicodeDecodeError:
        # msgspec does not look at the encoding of what it skips.
        text, malformed = text.decode("utf-8", "replace").encode(), True
        raw = msgspec.Raw(text)
    try:
        if text.count(b"{") + text.count(b"[") > _HEADROOM:
            _skip.decode(b"[" * _HEADROOM + text + b"]" * _HEADROOM)
        return raw, _data.decode(text), malformed
    except msgspec.ValidationError:
        return _read_loosely(raw, text)
    except (msgspec.DecodeError, RecursionError):
        return _EMPTY, _Data(), True


def _read_loosely(raw: msgspec.Raw, text: bytes) -> tuple[msgspec.Raw, _Data, bool]:
    try:
        loose = _loose_data.decode(text)
    except (msgspec.DecodeError, RecursionError):
        # No object, or a number that no float can hold under one of the names.
        return (raw if _is_object(text) else _EMPTY), _Data(), True
    data = _Data()
    for name in _Data.__struct_fields__:
        value = getattr(loose, name)
        if type(value) in _KINDS.get(name, (str,)):
            setattr(data, name, value)
    return raw, data, True


def _is_object(text: bytes) -> bool:
    """Whether `text` is an object to its end: a wrong value may come before what is no JSON at all."""
    try:
        _skip.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return text.lstrip()[:1] == b"{"
