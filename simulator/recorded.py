"""Jobs of a real AWX, as recorded: their rows, and when each of them became readable.

A folder of recordings has `events/NAME.jsonl.gz` with `NAME.job.json`, and `timeline/LABEL.jsonl.gz`
with `LABEL.summary.json`. Either a job is shown as it was, ids and times included (`finished`), or it
is played again in a world's own time (`plan`, `timeline`).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from simulator.bodies import DETAIL_ONLY
from simulator.job import Events, Job
from simulator.log import EventLog
from simulator.plan import ACTIVE, LAST_WORD, Act, Plan, Turn
from simulator.scenarios import sized_job
from simulator.script import COLLECTIONS, EVENT_TYPES, Frame, iso

_LIVING: Final = frozenset(
    {
        "id",
        "type",
        "url",
        "related",
        "created",
        "modified",
        "status",
        "failed",
        "started",
        "finished",
        "elapsed",
    }
)
"""Fields that a job played again has of its own."""


class _Head(msgspec.Struct):
    """What is read of every row at once."""

    id: int
    counter: int
    event: str
    created: str
    modified: str
    failed: bool
    changed: bool
    start_line: int
    end_line: int


class RecordedRows:
    """The rows of a recorded job. `faithful` keeps their ids, times and summaries."""

    def __init__(self, lines: Sequence[bytes], *, faithful: bool) -> None:
        """Take the rows as JSON lines in counter order."""
        self.lines = lines
        self.faithful = faithful
        self.heads = [msgspec.json.decode(line, type=_Head) for line in lines]
        self.counters = [head.counter for head in self.heads]
        moments = [epoch(head.created) for head in self.heads]
        self.times = [moment - min(moments) for moment in moments]

    def cell(self, index: int, name: str) -> object:
        """Return one column without rendering the row; raise KeyError when it takes the row."""
        if name in {"id", "created", "modified"} and not self.faithful:
            raise KeyError(name)
        try:
            return getattr(self.heads[index], name)
        except AttributeError:
            raise KeyError(name) from None

    def row(self, index: int, frame: Frame) -> dict[str, Any]:
        """Return the row, in full; of a job played again with its new ids and times."""
        row: dict[str, Any] = msgspec.json.decode(self.lines[index])
        if self.faithful:
            return row
        kind = next(kind for kind, event_type in EVENT_TYPES.items() if event_type == row["type"])
        url = f"/api/v2/{row['type']}s/{frame.row_id}/" if row["url"] else ""
        row["related"] |= {kind: f"/api/v2/{COLLECTIONS[kind]}/{frame.job_id}/"}
        if "children" in row["related"]:
            row["related"]["children"] = f"{url}children/"
        if kind in row["summary_fields"]:
            row["summary_fields"][kind] = frame.job_summary
        return row | {
            "id": frame.row_id,
            "url": url,
            "created": iso(frame.created),
            "modified": iso(frame.modified),
            kind: frame.job_id,
        }


def names(folder: Path) -> list[str]:
    """Return the names of the recorded jobs."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in (folder / "events").glob("*.jsonl.gz"))


def epoch(text: str) -> float:
    """Read a moment as AWX writes it, as epoch seconds."""
    return datetime.fromisoformat(text).timestamp()


def finished(folder: Path, name: str, body: Mapping[str, Any] | None = None) -> Job:
    """Return a recorded job as it was in the end (or as `body` says), with all its rows readable."""
    rows = RecordedRows(_lines(folder, name), faithful=True)
    detail = dict(body or _body(folder, name))
    ids = [head.id for head in rows.heads]
    complete = detail.get("event_processing_finished", True)
    return Job(
        id=detail["id"],
        kind=detail["type"],
        body=detail,
        hidden={"emitted_events": len(ids) if complete else max(rows.counters)},
        hosts=_hosts(rows),
        events=Events(
            rows=rows,
            log=EventLog(
                rows.counters, [float(row_id) for row_id in ids], {}
            ),  # readable long ago, in id order
            emitted=[epoch(head.created) for head in rows.heads],
            first_id=min(ids),
        ),
    )


def plan(folder: Path, name: str) -> Plan:
    """Plan to play a recorded job again, its events as far apart as they were."""
    rows = RecordedRows(_lines(folder, name), faithful=False)
    body = _body(folder, name)
    own = {key: value for key, value in body.items() if key not in _LIVING | DETAIL_ONLY}
    return Plan(
        kind=body["type"],
        name=body["name"],
        template_id=body.get("unified_job_template") or 0,
        rows=rows,
        seconds=max(rows.times[-1], 0.1),
        status=body["status"],
        explanation=body["job_explanation"],
        hosts=_hosts(rows),
        body=own,
    )


def timeline(folder: Path, label: str) -> Plan:
    """Plan a job whose statuses and counters become readable exactly as they did in the recording.

    What its events say is made up, unless the job's rows were recorded without a gap.
    """
    lines = gzip.decompress((folder / "timeline" / f"{label}.jsonl.gz").read_bytes()).splitlines()
    steps = [msgspec.json.decode(line) for line in lines]
    summary = msgspec.json.decode((folder / "timeline" / f"{label}.summary.json").read_bytes())
    visible: dict[int, float] = {}
    for step in steps:
        if step.get("src") == "pg":
            visible |= {counter: step["t"] for counter in step["new"] if counter not in visible}
    total = summary["emitted_events"]
    course = _course(steps)
    end = next(turn.at for turn in course if turn.status not in ACTIVE)
    begins = next(turn.at for turn in course if turn.status == "running")
    made_up = sized_job(label, total, seconds=max(0.1, end - begins - LAST_WORD))
    return replace(made_up, course=course, visible_at=visible)


def everything(folder: Path) -> list[Act]:
    """Play every recorded job again, one a second, and then the recorded timelines."""
    plans = [plan(folder, name) for name in names(folder)]
    labels = sorted(
        path.name.removesuffix(".summary.json") for path in (folder / "timeline").glob("*.summary.json")
    )
    plans += [timeline(folder, label) for label in labels if _has_course(folder, label)]
    return [Act(at=float(number), plan=each) for number, each in enumerate(plans)]


def _has_course(folder: Path, label: str) -> bool:
    """Whether the timeline is of one job's statuses and counters, and not of row ids."""
    summary = msgspec.json.decode((folder / "timeline" / f"{label}.summary.json").read_bytes())
    return "emitted_events" in summary


def _course(steps: Sequence[Mapping[str, Any]]) -> Sequence[Turn]:
    turns = [Turn(at=0, status="pending")]
    for step in steps:
        if step.get("src") == "job" and step["status"] != turns[-1].status:
            turns.append(Turn(at=step["t"], status=step["status"]))
    return turns


def _lines(folder: Path, name: str) -> list[bytes]:
    return gzip.decompress((folder / "events" / f"{name}.jsonl.gz").read_bytes()).splitlines()


def _body(folder: Path, name: str) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode((folder / "events" / f"{name}.job.json").read_bytes())
    return body


def _hosts(rows: RecordedRows) -> dict[str, dict[str, int]]:
    """Read the numbers of each host from the stats event, which is the last when there is one."""
    if not rows.heads or rows.heads[-1].event != "playbook_on_stats":
        return {}
    data = msgspec.json.decode(rows.lines[-1])["event_data"]
    hosts: dict[str, dict[str, int]] = {host: {} for host in data["processed"]}
    for state in ("changed", "dark", "failures", "ignored", "ok", "rescued", "skipped"):
        for host, number in data[state].items():
            hosts[host][state] = number
    return hosts
