"""One job of the simulated AWX: what its detail, list row, events and host summaries show at a moment.

Pure: `now` (epoch seconds) is an argument everywhere and only moves forward.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from simulator.bodies import DETAIL_ONLY
from simulator.log import EventLog
from simulator.plan import ACTIVE
from simulator.receiver import NEVER
from simulator.script import COLLECTIONS, EVENT_TYPES, Frame, Rows, iso


@dataclass(frozen=True, slots=True)
class Change:
    """From `at` (epoch seconds) on, these fields of the job have these values."""

    at: float
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Events:
    """A job's event rows: contents, visibility, emission times and first serial id."""

    rows: Rows
    log: EventLog
    emitted: Sequence[float]
    """Epoch second at which each content was emitted."""
    first_id: int


@dataclass(slots=True, kw_only=True)
class Node:
    """A workflow's node; `job` is the job that ran for it, None when it was not run."""

    row: Mapping[str, Any]
    job: Job | None = None


@dataclass(slots=True, kw_only=True)
class Job:
    """A unified job. `body` is its detail, `hidden` the model fields that AWX filters by but never shows."""

    id: int
    kind: str
    body: Mapping[str, Any]
    hidden: Mapping[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    events: Events | None = None
    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    workflow: Job | None = None
    listed_at: float = -NEVER
    deleted_at: float = NEVER
    notifications: Sequence[Mapping[str, Any]] = ()
    garbled: frozenset[int] = frozenset()
    _merged: tuple[int, dict[str, Any]] = (-1, {})

    def exists(self, now: float) -> bool:
        """Whether AWX answers for this job."""
        return self.listed_at <= now < self.deleted_at

    def fields(self, now: float) -> dict[str, Any]:
        """Return every model field, shown or hidden. Not a copy: do not write to it."""
        applied = bisect_right(self.changes, now, key=lambda change: change.at)
        if self._merged[0] != applied:
            merged = {"emitted_events": 0, "cancel_flag": False, **self.hidden, **self.body}
            for change in self.changes[:applied]:
                merged |= change.fields
            self._merged = (applied, merged)
        return self._merged[1]

    def status(self, now: float) -> str:
        """Return the status as AWX shows it now."""
        return str(self.fields(now)["status"])

    def detail(self, now: float) -> dict[str, Any]:
        """Return the body of the detail endpoint."""
        return self._show(now, self.body)

    def listed(self, now: float) -> dict[str, Any]:
        """Return the row of a list: the detail without what only the detail has."""
        without = DETAIL_ONLY | {"custom_virtualenv"} if self.kind == "job" else DETAIL_ONLY
        return self._show(now, [name for name in self.body if name not in without])

    def host_status_counts(self, now: float) -> Any:
        """Return how many hosts ended in which state; None until the stats event is readable."""
        if self.events is None:
            return self.body.get("host_status_counts")
        return self._host_status_counts() if self.settled(now) else None

    def _show(self, now: float, names: Iterable[str]) -> dict[str, Any]:
        fields = self.fields(now)
        return {name: self._computed(name, fields, now) for name in names}

    def _computed(self, name: str, fields: Mapping[str, Any], now: float) -> Any:
        """Return a field as AWX shows it: some are worked out for each answer."""
        value = fields[name]
        match name:
            case "elapsed" if fields["status"] == "running" and "started_epoch" in fields:
                value = round(now - fields["started_epoch"], 6)
            case "event_processing_finished":
                value = self.finished_processing(now)
            case "playbook_counts" if self.events is not None:
                value = self._playbook_counts(now)
            case "host_status_counts":
                value = self.host_status_counts(now)
            case "result_stdout" if self.events is not None:
                value = "".join(f"{row['stdout']}\n" for row in self.rows(now))
            case "summary_fields" if self.workflow is not None:
                value = {**value, "source_workflow_job": self.workflow.summary(now)}
        return value

    def summary(self, now: float) -> dict[str, Any]:
        """Return the job as `summary_fields` of others show it."""
        fields = self.fields(now)
        names = ("id", "name", "description", "status", "failed", "elapsed")
        return {name: fields.get(name, "") for name in names}

    def finished_processing(self, now: float) -> bool:
        """Return AWX's event_processing_finished: terminal, and as many rows as were emitted."""
        fields = self.fields(now)
        if fields["status"] in ACTIVE:
            return False
        shown = 0 if self.events is None else self.events.log.shown(now)
        return bool(fields["emitted_events"] == shown)

    def settled(self, now: float) -> bool:
        """Whether the stats event can be read: then host counts and summaries are there."""
        if self.events is None or not self.hosts:
            return False
        rows, log = self.events.rows, self.events.log
        last = len(rows.counters) - 1
        if rows.cell(last, "event") != "playbook_on_stats":
            return False
        return any(True for _ in log.readable(now, rows.counters[last], rows.counters[last]))

    def rows(self, now: float) -> Iterator[dict[str, Any]]:
        """Yield the readable event rows in counter order, stdout in full."""
        if self.events is not None:
            settled = self.settled(now)
            summary = self.event_summary(now)
            for position in self.events.log.readable(now):
                yield self.row(position, summary, settled=settled)

    def row(self, position: int, summary: Mapping[str, Any], *, settled: bool) -> dict[str, Any]:
        """Return one event row, stdout in full; `summary` is `event_summary` of this moment."""
        events = self._events()
        source = events.log.sources[position]
        frame = Frame(
            row_id=events.first_id + events.log.rank(position),
            created=events.emitted[source],
            modified=events.log.visible[position],
            settled=settled,
            job_id=self.id,
            job_summary=summary,
        )
        row = events.rows.row(source, frame)
        if row["counter"] in self.garbled:
            row |= {"event_data": "cut off", "created": None}
        return row

    def event_summary(self, now: float) -> dict[str, Any]:
        """Return what every event row says of its job."""
        summary = self.summary(now)
        if self.kind == "project_update":
            del summary["elapsed"]
        if self.kind == "job":
            template = self.body["summary_fields"].get("job_template", {})
            summary |= {"type": "job", "job_template_id": template.get("id")}
            summary["job_template_name"] = template.get("name", "")
        return summary

    def host_summaries(self, now: float) -> list[dict[str, Any]]:
        """Return the rows of job_host_summaries, newest id first; none before the stats event."""
        if not self.settled(now):
            return []
        summary = self.event_summary(now)
        rows = [self._host_summary(at, host, summary, now) for at, host in enumerate(self.hosts)]
        return rows[::-1]

    def _host_summary(self, at: int, host: str, job: Mapping[str, Any], now: float) -> dict[str, Any]:
        numbers = self.hosts[host]
        row_id = self.id * 1000 + at
        host_id = at + 2
        counts = {name: numbers.get(name, 0) for name in ("changed", "dark", "failures", "ok")}
        more = {name: numbers.get(name, 0) for name in ("ignored", "rescued")}
        return {
            "id": row_id,
            "type": "job_host_summary",
            "url": f"/api/v2/job_host_summaries/{row_id}/",
            "related": {"job": f"/api/v2/jobs/{self.id}/", "host": f"/api/v2/hosts/{host_id}/"},
            "summary_fields": {"host": {"id": host_id, "name": host, "description": ""}, "job": job},
            "created": iso(now),
            "modified": iso(now),
            "job": self.id,
            "host": host_id,
            "constructed_host": None,
            "host_name": host,
            **counts,
            "processed": 1,
            "skipped": numbers.get("skipped", 0),
            "failed": bool(counts["failures"] or counts["dark"]),
            **more,
        }

    def _host_status_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for numbers in self.hosts.values():
            for state in ("dark", "failures", "changed", "ok", "skipped"):
                if numbers.get(state):
                    counts[state] = counts.get(state, 0) + 1
                    break
        return counts

    def _playbook_counts(self, now: float) -> dict[str, int]:
        counts = {"playbook_on_play_start": 0, "playbook_on_task_start": 0}
        if self.events is not None:
            log, rows = self.events.log, self.events.rows
            for position in log.readable(now):
                event = rows.cell(log.sources[position], "event")
                if event in counts:
                    counts[str(event)] += 1
        return {
            "play_count": counts["playbook_on_play_start"],
            "task_count": counts["playbook_on_task_start"],
        }

    def _events(self) -> Events:
        if self.events is None:
            raise LookupError(f"{self.kind} {self.id} has no events")
        return self.events

    def truth(self, now: float) -> dict[str, Any]:
        """Return what there is to know about this job, for invariants in tests.

        Counters are `[first, last]` ranges: `readable` now, `later`, and `lost` for ever; of a deleted
        job as if it were still there.
        """
        fields = self.fields(now)
        last = self.changes[-1].fields if self.changes else self.body
        known: dict[str, Any] = {
            "id": self.id,
            "type": self.kind,
            "name": self.body["name"],
            "status": fields["status"],
            "final_status": last["status"],
            "statuses": [status for status, _ in groupby(change.fields["status"] for change in self.changes)],
            "listed": self.listed_at <= now,
            "deleted": self.deleted_at <= now,
            "will_be_deleted": self.deleted_at < NEVER,
            "workflow_job_id": None if self.workflow is None else self.workflow.id,
            "emitted_events": max(
                [change.fields.get("emitted_events", 0) for change in self.changes], default=0
            ),
        }
        if self.events is not None:
            readable, later, lost = self.events.log.split(now)
            known |= {"readable": ranges(readable), "later": ranges(later), "lost": ranges(lost)}
            known |= {"rows": self.events.log.shown(now), "repeated": self.events.log.repeated()}
        return known

    @property
    def event_type(self) -> str:
        """The type of this job's events; KeyError for a job type without events."""
        return EVENT_TYPES[self.kind]

    @property
    def path(self) -> str:
        """The path segment of this job's type."""
        return COLLECTIONS[self.kind]


def ranges(counters: Sequence[int]) -> list[list[int]]:
    """Fold ascending counters into `[first, last]` pairs."""
    folded: list[list[int]] = []
    for counter in counters:
        if folded and folded[-1][1] == counter - 1:
            folded[-1][1] = counter
        else:
            folded.append([counter, counter])
    return folded
