"""What the events of a job say: a script of steps, rendered row by row as AWX's API shows them.

Pure. A script knows no job: many jobs can share one, and a row is made when it is asked for, so a
job of 5,000 events costs a few bytes each. `Rows` is what the world needs of a script or a
recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

NO_DATA: Final[Mapping[str, Any]] = MappingProxyType({})

EVENT_TYPES: Final = {
    "job": "job_event",
    "project_update": "project_update_event",
    "ad_hoc_command": "ad_hoc_command_event",
    "inventory_update": "inventory_update_event",
    "system_job": "system_job_event",
}
"""The type of a job's events, for the five job types that have them."""

COLLECTIONS: Final = {
    "job": "jobs",
    "project_update": "project_updates",
    "inventory_update": "inventory_updates",
    "ad_hoc_command": "ad_hoc_commands",
    "system_job": "system_jobs",
    "workflow_job": "workflow_jobs",
    "workflow_approval": "workflow_approvals",
}
"""The path segment of each unified job type."""

_DISPLAY: Final = {
    "runner_on_ok": "Host OK",
    "runner_on_failed": "Host Failed",
    "runner_on_skipped": "Host Skipped",
    "runner_on_unreachable": "Host Unreachable",
    "runner_on_start": "Host Started",
    "runner_item_on_ok": "Item OK",
    "runner_item_on_failed": "Item Failed",
    "runner_item_on_skipped": "Item Skipped",
    "runner_retry": "Host Retry",
    "playbook_on_start": "Playbook Started",
    "playbook_on_notify": "Running Handlers",
    "playbook_on_stats": "Playbook Complete",
    "warning": "Warning",
    "verbose": "Verbose",
}
_LEVELS: Final = {"playbook_on_play_start": 1, "playbook_on_stats": 1, "playbook_on_task_start": 2}
_AD_HOC_DISPLAY: Final = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_unreachable"})


class Frame(NamedTuple):
    """What a row takes from its job and its moment."""

    row_id: int
    created: float
    modified: float
    settled: bool
    """Whether the stats event is readable: from then on parents show `failed` and `changed`."""
    job_id: int
    job_summary: Mapping[str, Any]


class Rows(Protocol):
    """The contents of a job's events, by index."""

    @property
    def counters(self) -> Sequence[int]:
        """AWX's counter of each content; a counter may stand there twice."""
        ...

    @property
    def times(self) -> Sequence[float]:
        """Seconds from the job's start to the emission of each content, ascending."""
        ...

    def cell(self, index: int, name: str) -> object:
        """Return one column without rendering the row; raise KeyError when it takes the row."""
        ...

    def row(self, index: int, frame: Frame) -> dict[str, Any]:
        """Return the row as a list of AWX shows it, stdout in full."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event: what happened, when (seconds from the start), and to whom.

    `play`, `task` and `parent` are indices of steps in the same script, -1 for none.
    """

    event: str
    at: float
    start_line: int
    end_line: int
    stdout: str = ""
    name: str = ""
    action: str = ""
    role: str = ""
    play: int = -1
    task: int = -1
    parent: int = -1
    host: str = ""
    host_id: int | None = None
    failed: bool = False
    changed: bool = False
    duration: float = 0.0
    data: Mapping[str, Any] = field(default_factory=lambda: NO_DATA)


def uuid_of(job_id: int, index: int) -> str:
    """Return the uuid of a job's event, the same in every run."""
    return f"{job_id:08x}-51b0-4000-8000-{index:012x}"


def iso(moment: float, zone: str = "Z") -> str:
    """Render epoch seconds as AWX does: UTC with microseconds."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + zone


@dataclass(slots=True, kw_only=True)
class Script:
    """The steps of one kind of job. `counters` and `blank_uuids` differ from 1..N only for odd cases."""

    kind: str
    playbook: str = ""
    steps: Sequence[Step]
    counters: Sequence[int] = ()
    blank_uuids: frozenset[int] = frozenset()
    times: Sequence[float] = field(init=False)
    fates: Mapping[int, tuple[bool, bool]] = field(init=False)
    """By index of a parent: `failed` and `changed` once the stats are in."""
    start: int = field(init=False)
    """Index of the playbook_on_start event."""

    def __post_init__(self) -> None:
        self.counters = self.counters or range(1, len(self.steps) + 1)
        self.times = [step.at for step in self.steps]
        self.fates = _fates(self.steps)
        starts = (at for at, step in enumerate(self.steps) if step.event == "playbook_on_start")
        self.start = next(starts, 0)

    def cell(self, index: int, name: str) -> object:
        """Return one column without rendering the row; raise KeyError when it takes the row."""
        step = self.steps[index]
        match name:
            case "counter":
                return self.counters[index]
            case "event" | "start_line" | "end_line" | "stdout":
                return getattr(step, name)
            case "failed" | "changed" if index not in self.fates:
                return getattr(step, name)
            case "play" | "task":
                return self._name_of(getattr(step, name))
            case _:
                raise KeyError(name)

    def row(self, index: int, frame: Frame) -> dict[str, Any]:
        """Return the row as a list of AWX shows it, stdout in full."""
        step = self.steps[index]
        row = self._head(step, frame)
        fate = self.fates.get(index) if frame.settled else None
        uuid = "" if index in self.blank_uuids else uuid_of(frame.job_id, index)
        row |= {
            "event": step.event,
            "counter": self.counters[index],
            "event_display": self._display(step),
            "event_data": self._event_data(index, frame),
            "failed": fate[0] if fate else step.failed,
            "changed": fate[1] if fate else step.changed,
            "uuid": uuid,
            "stdout": step.stdout,
            "start_line": step.start_line,
            "end_line": step.end_line,
            "verbosity": 0,
            self.kind: frame.job_id,
        }
        if self.kind in {"job", "project_update"}:
            row |= {
                "event_level": _LEVELS.get(step.event, 3 if step.event.startswith("runner_") else 0),
                "playbook": "" if step.event == "verbose" else self.playbook,
                "play": self._name_of(step.play),
                "task": self._name_of(step.task),
                "role": step.role,
                "host_name": step.host if self.kind == "job" else "localhost",
            }
        if self.kind == "job":
            row["parent_uuid"] = "" if step.parent < 0 else uuid_of(frame.job_id, step.parent)
        if self.kind in {"job", "ad_hoc_command"}:
            row |= {"host": step.host_id, "host_name": step.host}
        return row

    def _head(self, step: Step, frame: Frame) -> dict[str, Any]:
        kind = self.kind
        event_type = EVENT_TYPES[kind]
        url = f"/api/v2/{event_type}s/{frame.row_id}/" if kind in {"job", "ad_hoc_command"} else ""
        related = {kind: f"/api/v2/{COLLECTIONS[kind]}/{frame.job_id}/"}
        summary: dict[str, Any] = {}
        if kind == "job":
            related["children"] = f"{url}children/"
        if step.host_id is not None and url:
            related["host"] = f"/api/v2/hosts/{step.host_id}/"
            summary["host"] = {"id": step.host_id, "name": step.host, "description": ""}
        if kind in {"job", "project_update"}:
            summary |= {kind: frame.job_summary, "role": {}}
        return {
            "id": frame.row_id,
            "type": event_type,
            "url": url,
            "related": related,
            "summary_fields": summary,
            "created": iso(frame.created),
            "modified": iso(frame.modified),
        }

    def _display(self, step: Step) -> str:
        if self.kind in {"inventory_update", "system_job"}:
            return step.event
        if self.kind == "ad_hoc_command" and step.event not in _AD_HOC_DISPLAY:
            return step.event
        if step.event in {"playbook_on_play_start", "playbook_on_task_start"}:
            noun = "Play" if step.event == "playbook_on_play_start" else "Task"
            return f"{noun} Started ({step.name})"
        return _DISPLAY.get(step.event, step.event)

    def _name_of(self, index: int) -> str:
        return "" if index < 0 else self.steps[index].name

    def _event_data(self, index: int, frame: Frame) -> dict[str, Any]:
        step = self.steps[index]
        if step.event == "verbose":
            return {}
        job_id = frame.job_id
        data: dict[str, Any] = {"playbook": self.playbook, "playbook_uuid": uuid_of(job_id, self.start)}
        if step.play >= 0:
            play = self.steps[step.play]
            data |= {"play": play.name, "play_uuid": uuid_of(job_id, step.play)}
            data["play_pattern"] = play.data.get("pattern", "all")
        if step.task >= 0:
            task = self.steps[step.task]
            data |= {"task": task.name, "task_uuid": uuid_of(job_id, step.task), "task_action": task.action}
            data |= {"resolved_action": task.action, "task_args": ""}
            data["task_path"] = f"/tmp/awx_{job_id}/project/{self.playbook}:{step.task}"  # noqa: S108  # AWX's path
        if step.role:
            data["role"] = step.role
        if step.host:
            data["host"] = step.host
        data |= step.data
        if step.duration:
            data |= {
                "start": iso(frame.created - step.duration, "+00:00"),
                "end": iso(frame.created, "+00:00"),
            }
            data |= {"duration": step.duration, "event_loop": None, "remote_addr": step.host}
        return data | {"uuid": uuid_of(job_id, index), "guid": f"{job_id:032x}"}


def _fates(steps: Sequence[Step]) -> dict[int, tuple[bool, bool]]:
    """Work out what AWX writes to parents when it processes the stats event.

    Source: JobEvent._update_from_event_data in awx/main/models/events.py.
    """
    fates: dict[int, tuple[bool, bool]] = {}
    if not steps or steps[-1].event != "playbook_on_stats":
        return fates
    for step in steps:
        if not (step.failed or step.changed) or not step.event.startswith("runner_"):
            continue
        parent = step.parent
        while parent >= 0:
            failed, changed = fates.get(parent, (False, False))
            fates[parent] = (failed or step.failed, changed or step.changed)
            parent = steps[parent].parent
    return fates
