"""The nouns of the bridge: what AWX says of jobs and events, and what the bridge says of them.

Values only: nothing here acts, nothing here imports another room.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import msgspec

SCHEMA_VERSION: Final = "1.0"

_MOST_DIGITS: Final = 400

JOB_TYPES: Final = (
    "job",
    "workflow_job",
    "project_update",
    "inventory_update",
    "ad_hoc_command",
    "system_job",
    "workflow_approval",
)
"""Every unified job type of AWX (awx/main/models/unified_jobs.py)."""

TYPES_WITHOUT_EVENTS: Final = frozenset({"workflow_job", "workflow_approval"})
"""Job types that have statuses but no event list."""

ACTIVE_STATUSES: Final = frozenset({"new", "pending", "waiting", "running"})
"""AWX's ACTIVE_STATES (awx/main/constants.py)."""

TERMINAL_STATUSES: Final = frozenset({"successful", "failed", "error", "canceled"})


class JobKey(NamedTuple):
    """The identity of one job: the first three parts of every event id, and the Kafka key."""

    source: str
    job_type: str
    job_id: int

    def __str__(self) -> str:
        """Render as `<source>/<job_type>/<job_id>`."""
        return f"{self.source}/{self.job_type}/{self.job_id}"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One AWX unified job as one answer of AWX showed it.

    Times are the ISO 8601 strings that AWX sent; `elapsed` is in seconds. A field that AWX did
    not send, or sent as null, is None (texts: the empty string where AWX's default is empty).
    """

    key: JobKey
    status: str
    name: str = ""
    template: str | None = None
    template_id: int | None = None
    inventory: str | None = None
    project: str | None = None
    organization: str | None = None
    launch_type: str | None = None
    launched_by: str | None = None
    labels: tuple[str, ...] = ()
    limit: str | None = None
    workflow_job_id: int | None = None
    created: str | None = None
    started: str | None = None
    finished: str | None = None
    elapsed: float | None = None
    explanation: str = ""
    extra_vars: str | None = None

    @property
    def terminal(self) -> bool:
        """Whether AWX calls this job finished."""
        return self.status in TERMINAL_STATUSES

    @property
    def has_events(self) -> bool:
        """Whether jobs of this type have an event list at all."""
        return self.key.job_type not in TYPES_WITHOUT_EVENTS


class AwxEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One row of an AWX event list, `event_data` left as the bytes that AWX sent.

    Decoded straight from JSON; AWX's other keys are ignored. `malformed` is never sent by AWX: the
    client sets it when a row could be read only in part.
    """

    counter: int
    event: str = ""
    id: int | None = None
    uuid: str | None = None
    parent_uuid: str | None = None
    created: str | None = None
    host_name: str | None = None
    play: str | None = None
    task: str | None = None
    role: str | None = None
    failed: bool = False
    changed: bool = False
    stdout: str = ""
    start_line: int | None = None
    end_line: int | None = None
    verbosity: int | None = None
    event_data: msgspec.Raw = msgspec.Raw(b"{}")
    malformed: bool = False

    @property
    def sameness(self) -> tuple[str | None, str]:
        """Two rows of one counter with equal sameness are one event (product: uuid and stdout)."""
        return self.uuid, self.stdout


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of an event list, in counter order.

    `full` says that more rows may be readable above the last one; a full page has rows. All readable
    rows of a counter are on one page.
    `unreadable` are counters whose row alone exceeds the page limit in bytes.
    """

    rows: tuple[AwxEvent, ...]
    full: bool
    unreadable: tuple[int, ...] = ()


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one host did in one job: numbers of tasks, from AWX's stats event."""

    host: str
    ok: int = 0
    changed: int = 0
    failures: int = 0
    dark: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One failed task on one host; of a workflow job, one failed node (host is then None)."""

    host: str | None
    task: str | None
    message: str
    counter: int | None


class StatusSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a job's append-only status log.

    `number` is its position in the log (1, 2, …); `repeat` says how often this status has been seen
    so far (2 for the second `pending`), which makes the event's id. `corrects` is the terminal
    status that this one replaces. `status` is `deleted` for a job that AWX no longer has.
    """

    number: int
    status: str
    repeat: int
    previous: str | None
    time: str
    corrects: str | None = None


class Close(msgspec.Struct, frozen=True, kw_only=True):
    """A job's receipt, written once; every sink's terminal event is built from it.

    `missing` are inclusive ranges of counters; `last_counter` is the highest that was read.
    """

    complete: bool
    events_total: int
    last_counter: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    hosts: tuple[HostSummary, ...] = ()
    failures: tuple[Failure, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One normalized, redacted fact, ready for any sink.

    `body` is the flat JSON object that leaves the bridge, with every field. `fields` is the same
    object read back only by those who ask (`read`). Exactly one of `counter` and `status_number`
    is set for an event of a job: settling the event moves that in the sink's place; both are None
    for the bridge's own events. `extra_vars` is the redacted JSON text of the job's extra
    variables, which a sink adds only when its configuration asks for it.
    """

    id: str
    type: str
    time: str
    source: str
    key: str
    body: bytes
    counter: int | None = None
    repeat: int = 1
    late: bool = False
    status_number: int | None = None
    extra_vars: str | None = None

    def read(self) -> dict[str, Any]:
        """Decode `body`: a new dict at each call. A number that no float can hold reads as infinite."""
        fields: dict[str, Any]
        try:
            fields = msgspec.json.decode(self.body)
        except msgspec.ValidationError:
            fields = json.loads(self.body, parse_int=_whole)
        return fields

    @property
    def size(self) -> int:
        """Roughly the bytes this event holds in memory."""
        return len(self.body) + 400


def _whole(digits: str) -> int | float:
    """Read a whole number; one of hundreds of digits, which Python may refuse, as infinite."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """How far one sink is in one job.

    Every counter up to `through` is settled, or in `wanted` (inclusive ranges, ascending).
    `status_number` is the number of the last settled entry of the job's status log, 0 for none.
    `repeats` counts the settled further rows (`event/<counter>/2` …) of a counter.
    """

    through: int = 0
    wanted: tuple[tuple[int, int], ...] = ()
    status_number: int = 0
    repeats: dict[int, int] = {}


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What state remembers of one job beside its places.

    `job` is stored without `extra_vars`. `first_seen` and `over_at`, when its receipt was written, are
    epoch seconds of the bridge's clock. `done` says that every sink has settled the job's last status;
    a done job is only of further use should AWX replace that status.
    """

    job: Job
    first_seen: float
    statuses: tuple[StatusSeen, ...] = ()
    close: Close | None = None
    over_at: float | None = None
    done: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a sink refuses for good. `at` is in epoch seconds, `copy` at most 16 KB.

    `whole` says that `copy` is all of the event, `late` that its gap had been given up.
    """

    sink: str
    event_id: str
    type: str
    reason: str
    at: float
    copy: bytes
    whole: bool = False
    late: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a command asks of the running bridge.

    `kind` is `<room>.<verb>` (`dead_letters.retry`); `arguments` is what the room understands, as
    JSON knows it. `who` is the user of the operating system, `at` is in epoch seconds. `progress` is
    what a room that goes on after a restart has noted so far.
    """

    id: int
    kind: str
    arguments: dict[str, Any]
    who: str
    at: float
    begun: bool = False
    progress: dict[str, Any] | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order: whether it was done, a sentence for people, details for programs."""

    done: bool
    sentence: str
    details: dict[str, Any] = {}


class SourceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What state remembers of one source: which AWX it is, and the discovery marks per listing."""

    install_uuid: str | None = None
    marks: dict[str, int] = {}


class SinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What state remembers of one sink: its destination, and when it left the configuration."""

    destination: str
    removed_at: float | None = None


class SourceIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which AWX answers: from `ping/`."""

    version: str
    install_uuid: str | None
