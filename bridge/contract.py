"""The one place that lists every field of the flat event, and the JSON Schema made from that list.

Nothing here reads or writes an event; rooms that name fields (rules, topic patterns, docs) ask here.
A field is added in one row; `schema/` and its test follow.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from bridge.model import JOB_TYPES, SCHEMA_VERSION

Schema = dict[str, Any]

JOB_STATUSES: Final = (
    "pending",
    "waiting",
    "running",
    "successful",
    "failed",
    "error",
    "canceled",
    "deleted",
    "stalled",
)
"""What can follow `awx.job.`: AWX's statuses without `new`, and what the bridge says of a job."""

AWX_EVENTS: Final = (
    "runner_on_failed",
    "runner_on_start",
    "runner_on_ok",
    "runner_on_error",
    "runner_on_skipped",
    "runner_on_unreachable",
    "runner_on_no_hosts",
    "runner_on_async_poll",
    "runner_on_async_ok",
    "runner_on_async_failed",
    "runner_on_file_diff",
    "runner_retry",
    "runner_item_on_ok",
    "runner_item_on_failed",
    "runner_item_on_skipped",
    "playbook_on_start",
    "playbook_on_notify",
    "playbook_on_include",
    "playbook_on_no_hosts_matched",
    "playbook_on_no_hosts_remaining",
    "playbook_on_task_start",
    "playbook_on_vars_prompt",
    "playbook_on_setup",
    "playbook_on_import_for_host",
    "playbook_on_not_import_for_host",
    "playbook_on_play_start",
    "playbook_on_stats",
    "debug",
    "verbose",
    "deprecated",
    "warning",
    "system_warning",
    "error",
    "unknown",
)
"""AWX's event names (awx/main/models/events.py, EVENT_TYPES) and `unknown` for an event without one.

AWX does not enforce them, so other names are passed on too.
"""

BRIDGE_TYPES: Final = (
    "bridge.source.down",
    "bridge.source.up",
    "bridge.sink.parked",
    "bridge.sink.resumed",
    "bridge.events.missing",
    "bridge.heartbeat",
)

EVENT_TYPES: Final = (
    *(f"awx.job.{status}" for status in JOB_STATUSES),
    *(f"awx.event.{event}" for event in AWX_EVENTS),
    *BRIDGE_TYPES,
)
"""Every type that the bridge is known to send. A newer AWX may add `awx.job.*` and `awx.event.*`."""

ALWAYS: Final = "always"
JOB: Final = "job"
EVENT: Final = "event"
STATUS: Final = "status"
RECEIPT: Final = "receipt"
OPTIONAL: Final = "optional"
BRIDGE: Final = "bridge"


class Field(NamedTuple):
    """One field: its JSON Schema, and the kinds of events that have it.

    `kinds`: `always` (every event), `job` (every event of a job), `event` (`awx.event.*`), `status`
    (`awx.job.*`), `receipt` (terminal statuses), `optional` (where it applies), `bridge`
    (`bridge.*`, where it applies). `fixed`: the same in every event of one job, so that a topic
    pattern may use it.
    """

    name: str
    schema: Schema
    description: str
    kinds: tuple[str, ...]
    fixed: bool = False


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _record(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_BOOL: Final[Schema] = {"type": "boolean"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_INT_OR_NULL: Final[Schema] = {"type": ["integer", "null"]}
_NUMBER_OR_NULL: Final[Schema] = {"type": ["number", "null"]}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}

_HOST: Final = _record(
    host=_TEXT,
    ok=_COUNT,
    changed=_COUNT,
    failures=_COUNT,
    dark=_COUNT,
    skipped=_COUNT,
    rescued=_COUNT,
    ignored=_COUNT,
)
_FAILURE: Final = _record(host=_TEXT_OR_NULL, task=_TEXT_OR_NULL, message=_TEXT, counter=_INT_OR_NULL)
_TYPE_PATTERN: Final = r"^(awx\.(job|event)\.[a-z][a-z0-9_]*|bridge\.[a-z]+(\.[a-z]+)?)$"

_ALWAYS_FIELDS: Final = (
    Field(
        "id",
        {"type": "string", "minLength": 1},
        "The same in every run and on every replica: whoever must not act twice keeps this. "
        "<source>/<job_type>/<job_id>/ and event/<counter>, status/<status>, deleted or stalled/<k>; "
        "a repeat has /2, /3 … at its end.",
        (ALWAYS,),
    ),
    Field("type", {"type": "string", "pattern": _TYPE_PATTERN}, "What happened.", (ALWAYS,)),
    Field(
        "time",
        _TIME,
        "When it happened: AWX's `created` of an event; created, started or finished of a status, else "
        "when the bridge saw it.",
        (ALWAYS,),
    ),
    Field(
        "source",
        {"type": "string", "minLength": 1},
        "The AWX controller, as the bridge's configuration names it; the bridge's own name where an "
        "event concerns none.",
        (ALWAYS,),
        fixed=True,
    ),
    Field("schema_version", {"const": SCHEMA_VERSION}, "Version of this schema.", (ALWAYS,), fixed=True),
)

_JOB_FIELDS: Final = (
    Field("job_id", {"type": "integer"}, "AWX's id of the unified job.", (JOB,), fixed=True),
    Field("job_type", {"enum": list(JOB_TYPES)}, "AWX's type of the unified job.", (JOB,), fixed=True),
    Field("job_name", _TEXT, "The job's name.", (JOB,), fixed=True),
    Field("job_status", _TEXT, "The job's status when this was read.", (JOB,)),
    Field("job_url", _TEXT, "Link to the job in AWX's web interface.", (JOB,), fixed=True),
    Field("template", _TEXT_OR_NULL, "Name of the unified job template it came from.", (JOB,), fixed=True),
    Field("template_id", _INT_OR_NULL, "AWX's id of that template.", (JOB,), fixed=True),
    Field("inventory", _TEXT_OR_NULL, "Name of the inventory.", (JOB,), fixed=True),
    Field("project", _TEXT_OR_NULL, "Name of the project.", (JOB,), fixed=True),
    Field("organization", _TEXT_OR_NULL, "Name of the organization.", (JOB,), fixed=True),
    Field(
        "launch_type",
        _TEXT_OR_NULL,
        "How it was launched: manual, relaunch, callback, scheduled, dependency, workflow, webhook, "
        "sync or scm.",
        (JOB,),
        fixed=True,
    ),
    Field("launched_by", _TEXT_OR_NULL, "Name of who or what launched it.", (JOB,), fixed=True),
    Field("labels", _list_of(_TEXT), "Names of the job's labels.", (JOB,)),
    Field("job_limit", _TEXT_OR_NULL, "The host pattern that the job was limited to.", (JOB,), fixed=True),
    Field("workflow_job_id", _INT_OR_NULL, "Id of the workflow job that launched it.", (JOB,), fixed=True),
)

_EVENT_FIELDS: Final = (
    Field("counter", {"type": "integer"}, "AWX's number of the event within its job.", (EVENT,)),
    Field("event", _TEXT, "AWX's name of the event; empty where AWX has none.", (EVENT,)),
    Field("play", _TEXT_OR_NULL, "Name of the play.", (EVENT,)),
    Field("task", _TEXT_OR_NULL, "Name of the task.", (EVENT,)),
    Field("task_action", _TEXT_OR_NULL, "The module that the task runs.", (EVENT,)),
    Field("role", _TEXT_OR_NULL, "Name of the role.", (EVENT,)),
    Field("host", _TEXT_OR_NULL, "Name of the host.", (EVENT,)),
    Field("failed", _BOOL, "Whether AWX calls the event failed.", (EVENT,)),
    Field("changed", _BOOL, "Whether something was changed.", (EVENT,)),
    Field(
        "ignore_errors",
        {"type": ["boolean", "null"]},
        "Whether the play goes on after this failure; null where AWX does not say.",
        (EVENT,),
    ),
    Field("duration", _NUMBER_OR_NULL, "Seconds that the task took on this host.", (EVENT,)),
    Field("stdout", _TEXT, "What Ansible printed, with its colour codes.", (EVENT,)),
    Field("event_data", {"type": "object"}, "What AWX knows of the event, redacted.", (EVENT,)),
    Field("created", _TEXT_OR_NULL, "When Ansible made the event, as AWX wrote it.", (EVENT,)),
    Field("uuid", _TEXT_OR_NULL, "Ansible's id of the event.", (EVENT,)),
    Field("parent_uuid", _TEXT_OR_NULL, "Ansible's id of the event that this is part of.", (EVENT,)),
    Field("start_line", _INT_OR_NULL, "First line of stdout within the job's output.", (EVENT,)),
    Field("end_line", _INT_OR_NULL, "The line after the last one.", (EVENT,)),
    Field("verbosity", _INT_OR_NULL, "Verbosity of the job, 0 to 5.", (EVENT,)),
)

_STATUS_FIELDS: Final = (
    Field("status", _TEXT, "The status: the last part of the type.", (STATUS,)),
    Field("previous_status", _TEXT_OR_NULL, "The status seen before; null for the first.", (STATUS,)),
    Field(
        "terminal",
        _BOOL,
        "Whether AWX calls a job in this status finished; then the receipt is there too.",
        (STATUS,),
    ),
    Field("started", _TIME_OR_NULL, "When the job started.", (STATUS,)),
    Field("finished", _TIME_OR_NULL, "When the job finished.", (STATUS,)),
    Field("elapsed", _NUMBER_OR_NULL, "Seconds that the job has run.", (STATUS,)),
    Field("job_explanation", _TEXT, "Why AWX could not run the job; mostly empty.", (STATUS,)),
)

_RECEIPT_FIELDS: Final = (
    Field("complete", _BOOL, "Whether every event of the job was read.", (RECEIPT,)),
    Field("events_total", _COUNT, "How many events the job emitted, as far as is known.", (RECEIPT,)),
    Field(
        "events_missing",
        {**_list_of({"type": "integer"}), "maxItems": 1000},
        "Counters that never became readable, the first 1,000.",
        (RECEIPT, BRIDGE),
    ),
    Field("events_missing_total", _COUNT, "How many counters are missing.", (RECEIPT, BRIDGE)),
    Field("hosts", _list_of(_HOST), "Tasks by outcome for each host, worst first, cut.", (RECEIPT,)),
    Field("hosts_total", _COUNT, "How many hosts took part.", (RECEIPT,)),
    Field("hosts_failed", _COUNT, "How many hosts had a failed task.", (RECEIPT,)),
    Field("hosts_unreachable", _COUNT, "How many hosts could not be reached.", (RECEIPT,)),
    Field("hosts_changed", _COUNT, "How many hosts were changed.", (RECEIPT,)),
    Field(
        "failures",
        {**_list_of(_FAILURE), "maxItems": 20},
        "The first failures; of a workflow its failed nodes.",
        (RECEIPT,),
    ),
    Field(
        "corrects",
        _TEXT_OR_NULL,
        "The terminal status sent earlier that this one replaces; null nearly always.",
        (RECEIPT,),
    ),
)

_OPTIONAL_FIELDS: Final = (
    Field("late", {"const": True}, "Its counter had been given up before it appeared.", (OPTIONAL,)),
    Field("malformed", {"const": True}, "AWX's row could be read only in part.", (OPTIONAL,)),
    Field(
        "truncated",
        _list_of(_TEXT),
        "What was cut because the event was too large for this sink.",
        (OPTIONAL, BRIDGE),
    ),
    Field("replayed", {"const": True}, "Sent again by order of an operator.", (OPTIONAL,)),
    Field(
        "extra_vars",
        _TEXT_OR_NULL,
        "The job's extra variables as JSON text, redacted; only for a sink that asks for them.",
        (OPTIONAL,),
    ),
)

_BRIDGE_FIELDS: Final = (
    Field("bridge", _TEXT, "The name of the bridge that says this.", (BRIDGE,)),
    Field("sink", _TEXT, "The sink that this is about.", (BRIDGE,)),
    Field("reason", _TEXT, "Why, in a few words.", (BRIDGE,)),
    Field("since", _TIME, "Since when it has been so.", (BRIDGE,)),
)

ALL_FIELDS: Final = (
    *_ALWAYS_FIELDS,
    *_JOB_FIELDS,
    *_EVENT_FIELDS,
    *_STATUS_FIELDS,
    *_RECEIPT_FIELDS,
    *_OPTIONAL_FIELDS,
    *_BRIDGE_FIELDS,
)

FIELDS: Final = frozenset(field.name for field in ALL_FIELDS)
"""Every field name that an event can have."""

JOB_FIXED: Final = frozenset(field.name for field in ALL_FIELDS if field.fixed) - {"job_url"}
"""Fields that are the same in every event of one job: a topic pattern may use these."""

CORE: Final = frozenset(field.name for field in _ALWAYS_FIELDS)
"""Fields that no configuration can leave out."""

RECEIPT_FIELDS: Final = tuple(field.name for field in _RECEIPT_FIELDS)


def names(*kinds: str) -> list[str]:
    """Return the names of the fields of any of `kinds`, in the order of the schema."""
    return [field.name for field in ALL_FIELDS if set(kinds) & set(field.kinds)]


def _only(required: list[str], allowed: list[str]) -> Schema:
    return {"required": required, "propertyNames": {"enum": allowed}}


def _when(property_name: str, condition: Schema, then: Schema) -> Schema:
    test = {"properties": {property_name: condition}, "required": [property_name]}
    return {"if": test, "then": then}


def event_schema() -> Schema:
    """Return the JSON Schema (2020-12) of the flat event; a new dict at each call."""
    job = names(ALWAYS, JOB)
    event, status, receipt = names(EVENT), names(STATUS), names(RECEIPT)
    optional = names(OPTIONAL)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:awx-event-bridge:event:{SCHEMA_VERSION}",
        "title": "awx-event-bridge event",
        "description": "One normalized fact about a job of AWX, or about the bridge itself.",
        "type": "object",
        "properties": {
            field.name: {**field.schema, "description": field.description} for field in ALL_FIELDS
        },
        "additionalProperties": False,
        "required": names(ALWAYS),
        "allOf": [
            _when("type", {"pattern": r"^awx\.event\."}, _only(job + event, job + event + optional)),
            _when(
                "type", {"pattern": r"^awx\.job\."}, _only(job + status, job + status + receipt + optional)
            ),
            _when("terminal", {"const": True}, {"required": receipt}),
            _when(
                "type",
                {"pattern": r"^bridge\."},
                _only([*names(ALWAYS), "bridge"], [*job, *names(BRIDGE), "replayed"]),
            ),
            _when(
                "type",
                {"const": "bridge.events.missing"},
                {"required": [*job, "events_missing", "events_missing_total"]},
            ),
            _when("type", {"pattern": r"^bridge\.sink\."}, {"required": ["sink"]}),
        ],
    }
