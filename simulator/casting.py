"""From a plan to a job: ids, times, statuses and the visibility of every event row.

Pure: randomness passed in, times in epoch seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from simulator.bodies import detail
from simulator.job import Change, Events, Job
from simulator.log import EventLog
from simulator.plan import ACTIVE, FAILING, Plan, Turn
from simulator.receiver import NEVER, Receiver
from simulator.script import Rows, iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all jobs of a world share. `speed` divides every duration of a plan."""

    speed: float
    receiver: Receiver
    rng: Random


def cast(plan: Plan, job_id: int, *, created: float, first_event_id: int, stage: Stage) -> Job:
    """Make the job that a plan describes, created at that moment."""
    total = 0 if plan.rows is None else len(plan.rows.counters)
    emitted = total if plan.odd.emitted is None else plan.odd.emitted
    deleted = plan.odd.deleted_after
    job = Job(
        id=job_id,
        kind=plan.kind,
        body={**detail(job_id, plan), "created": iso(created), "modified": iso(created + 0.15 / stage.speed)},
        changes=_changes(plan, created, emitted, stage.speed),
        hosts=plan.hosts,
        garbled=plan.odd.garbled,
        listed_at=created + plan.odd.listed_after / stage.speed,
        deleted_at=NEVER if deleted is None else created + deleted / stage.speed,
    )
    if plan.rows is not None and total:
        job.events = _events(plan, plan.rows, created=created, first_id=first_event_id, stage=stage)
    return job


def _changes(plan: Plan, created: float, emitted: int, speed: float) -> list[Change]:
    changes: list[Change] = []
    started: float | None = None
    finished = False
    for turn in plan.turns():
        at = created + turn.at / speed
        fields: dict[str, Any] = {"status": turn.status, "failed": turn.status in FAILING}
        if turn.status in {"waiting", "running"} and plan.kind not in {"workflow_job", "workflow_approval"}:
            fields |= _placed(plan)
        if turn.status == "running" and started is None:
            started = at
            fields |= {"started": iso(at), "started_epoch": at}
        if turn.status not in ACTIVE:
            fields["emitted_events"] = emitted
            if not finished:
                finished = True
                fields |= {"finished": iso(at), "elapsed": round(at - (started or at), 3)}
        changes.append(Change(at, {**fields, **_of_turn(turn, at)}))
    return changes


def _of_turn(turn: Turn, at: float) -> Mapping[str, Any]:
    if turn.status != "canceled":
        return turn.fields
    return {"canceled_on": iso(at), "cancel_flag": True, **turn.fields}


def _placed(plan: Plan) -> dict[str, Any]:
    """Return what a job has once AWX gave it a node to run on."""
    body = detail(0, plan)
    fields: dict[str, Any] = {"execution_environment": 1}
    for name in ("execution_node", "controller_node"):
        if name in body:
            fields[name] = "awx-1"
    if "instance_group" in body:
        fields["instance_group"] = 2
    return fields


def _events(plan: Plan, rows: Rows, *, created: float, first_id: int, stage: Stage) -> Events:
    begins = max((turn.at for turn in plan.turns() if turn.status == "running"), default=0.0)
    start = created + begins / stage.speed
    stretch = plan.seconds / stage.speed / (rows.times[-1] or 1.0)
    emitted = [start + at * stretch for at in rows.times]
    visible = _visible(plan, rows, created=created, emitted=emitted, stage=stage)
    doubled: dict[int, float] = {}
    for index, counter in enumerate(rows.counters):
        if counter in plan.odd.lost:
            visible[index] = NEVER
        visible[index] += plan.odd.late.get(counter, 0.0) / stage.speed
        if counter in plan.odd.doubled:
            doubled[counter] = visible[index] + plan.odd.doubled[counter] / stage.speed
    return Events(rows, EventLog(rows.counters, visible, doubled), emitted, first_id)


def _visible(
    plan: Plan, rows: Rows, *, created: float, emitted: Sequence[float], stage: Stage
) -> MutableSequence[float]:
    if plan.visible_at is not None:
        offsets = [plan.visible_at.get(counter, NEVER) for counter in rows.counters]
        return [created + offset / stage.speed for offset in offsets]
    receiver = plan.receiver or stage.receiver
    return Receiver(receiver.workers, receiver.jitter / stage.speed).visible(emitted, stage.rng)
