"""The jobs of one simulated AWX and the clock they live by.

Nothing here runs: what a job shows is a function of the moment, so a world works under virtual time
as it does under wall time. The clock must not go backwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any
from uuid import UUID

from simulator.casting import Stage, cast
from simulator.job import Job, Node
from simulator.plan import Act, NodePlan, Plan
from simulator.receiver import NEVER, Receiver
from simulator.script import EVENT_TYPES, iso


class World:
    """One AWX. `speed` divides every duration of what is staged after it is set.

    `clock` gives epoch seconds. `receiver` is how events become readable, unless a plan has its own.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        seed: int = 1,
        speed: float = 1.0,
        receiver: Receiver | None = None,
        first_job_id: int = 1,
    ) -> None:
        """Make an empty world that starts now."""
        self.clock = clock
        self.start = clock()
        self.seed = seed
        self.install_uuid = str(UUID(int=Random(seed).getrandbits(128), version=4))  # noqa: S311  # no secret
        self.jobs: dict[int, Job] = {}
        self._stage = Stage(speed=speed, receiver=receiver or Receiver(), rng=Random(seed))  # noqa: S311  # as above
        self._next_id = first_job_id
        self._next_event: dict[str, int] = dict.fromkeys(EVENT_TYPES.values(), 1)
        self._blocks: dict[str, tuple[list[int], list[int]]] = {
            name: ([], []) for name in EVENT_TYPES.values()
        }
        self._coming: Iterator[Act] = iter(())
        self._next_act: Act | None = None
        self._workflows: dict[str, Job] = {}

    def now(self) -> float:
        """Return the moment, after letting the jobs enter that are due."""
        now = self.clock()
        while self._next_act is not None and self.start + self._next_act.at / self._stage.speed <= now:
            self._enter(self._next_act, self.start)
            self._next_act = next(self._coming, None)
        return now

    def stage(self, acts: Iterable[Act]) -> list[Job]:
        """Let these jobs enter, each at its time after the world's start; ids follow the times."""
        return [self._enter(act, self.start) for act in sorted(acts, key=lambda act: act.at)]

    def stage_now(self, acts: Iterable[Act]) -> list[Job]:
        """Let these jobs enter, each at its time after this moment."""
        now = self.clock()
        return [self._enter(act, now) for act in sorted(acts, key=lambda act: act.at)]

    def follow(self, acts: Iterator[Act]) -> None:
        """Let jobs enter one by one, as their times come: for scenarios without an end."""
        self._coming = acts
        self._next_act = next(acts, None)

    def play(self, plan: Plan) -> Job:
        """Let one job enter now."""
        return self._enter(Act(at=0, plan=plan), self.clock())

    def add(self, job: Job) -> Job:
        """Take a job that was made elsewhere, such as a recorded one, under its own id."""
        self.jobs[job.id] = job
        self._next_id = max(self._next_id, job.id + 1)
        if job.events is not None:
            self._claim(job)
        return job

    def restore(self, install_uuid: str | None, newest_id: int | None) -> None:
        """Become another AWX (`install_uuid`), or this one from a backup with free ids above `newest_id`."""
        self.install_uuid = install_uuid or self.install_uuid
        if newest_id is not None:
            for job_id in [job_id for job_id in self.jobs if job_id > newest_id]:
                del self.jobs[job_id]
            self._next_id = newest_id + 1

    def visible(self, kinds: Iterable[str], now: float) -> list[Job]:
        """Return the jobs of these types that AWX shows, ascending by id."""
        wanted = frozenset(kinds)
        found = [job for job in self.jobs.values() if job.kind in wanted and job.exists(now)]
        return sorted(found, key=lambda job: job.id)

    def find(self, kind: str, job_id: int, now: float) -> Job | None:
        """Return the job, or None where AWX answers 404."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.kind == kind and job.exists(now) else None

    def event(self, event_type: str, row_id: int, now: float) -> tuple[Job, int] | None:
        """Return the job and position of the event row with this serial id, if it can be read."""
        firsts, job_ids = self._blocks[event_type]
        block = bisect_right(firsts, row_id) - 1
        job = self.jobs.get(job_ids[block]) if block >= 0 else None
        if job is None or job.events is None or not job.exists(now):
            return None
        rank = row_id - job.events.first_id
        if rank >= len(job.events.log):
            return None
        position = job.events.log.at_rank(rank)
        return (job, position) if job.events.log.visible[position] <= now else None

    def settles_at(self) -> float:
        """Return the moment after which nothing changes any more."""
        moments = [self.start]
        for job in self.jobs.values():
            moments += [change.at for change in job.changes]
            moments += [at for at in (job.listed_at, job.deleted_at) if abs(at) < NEVER]
            if job.events is not None:
                moments.append(max((at for at in job.events.log.visible if at < NEVER), default=self.start))
        return max(moments)

    def truth(self) -> dict[str, Any]:
        """Return what was, is and will be readable of every job, for invariants in tests."""
        now = self.now()
        settles = self.settles_at()
        return {
            "now": iso(now),
            "settled": now >= settles,
            "settles_in": max(0.0, settles - now),
            "install_uuid": self.install_uuid,
            "jobs": [job.truth(now) for job in sorted(self.jobs.values(), key=lambda job: job.id)],
        }

    def _enter(self, act: Act, start: float) -> Job:
        plan = act.plan
        kind = EVENT_TYPES.get(plan.kind)
        job = cast(
            plan,
            self._next_id,
            created=start + act.at / self._stage.speed,
            first_event_id=self._next_event[kind] if kind else 0,
            stage=self._stage,
        )
        self.add(job)
        job.nodes = [_node(job.id, at, plan.nodes) for at in range(len(plan.nodes))]
        if plan.nodes:
            self._workflows[plan.name] = job
        if act.workflow:
            _join(self._workflows[act.workflow], job, act.node)
        return job

    def _claim(self, job: Job) -> None:
        """Give a job's event rows a block of serial ids."""
        if job.events is None:
            return
        firsts, job_ids = self._blocks[job.event_type]
        at = bisect_right(firsts, job.events.first_id)
        firsts.insert(at, job.events.first_id)
        job_ids.insert(at, job.id)
        end = job.events.first_id + len(job.events.log)
        self._next_event[job.event_type] = max(self._next_event[job.event_type], end)


def _join(workflow: Job, job: Job, identifier: str) -> None:
    job.workflow = workflow
    job.body["related"]["source_workflow_job"] = f"/api/v2/workflow_jobs/{workflow.id}/"
    body = dict(job.body)
    body["launch_type"] = "workflow"
    job.body = body
    for node in workflow.nodes:
        if node.row["identifier"] == identifier:
            node.job = job


def _node(job_id: int, at: int, plans: tuple[NodePlan, ...]) -> Node:
    plan = plans[at]
    ids = {each.identifier: job_id * 100 + index for index, each in enumerate(plans)}
    node_id = ids[plan.identifier]
    base = f"/api/v2/workflow_job_nodes/{node_id}/"
    parts = ("labels", "credentials", "instance_groups", "success_nodes", "failure_nodes", "always_nodes")
    prompts = (
        "inventory scm_branch job_type job_tags skip_tags limit diff_mode verbosity execution_environment "
        "forks job_slice_count timeout"
    )
    template = {"id": plan.template_id, "name": plan.template, "description": "", "unified_job_type": "job"}
    row = {
        "id": node_id,
        "type": "workflow_job_node",
        "url": base,
        "related": {
            **{part: f"{base}{part}/" for part in parts},
            "unified_job_template": f"/api/v2/job_templates/{plan.template_id}/",
            "workflow_job": f"/api/v2/workflow_jobs/{job_id}/",
        },
        "summary_fields": {"unified_job_template": template},
        "extra_data": {},
        **dict.fromkeys(prompts.split()),
        "job": None,
        "workflow_job": job_id,
        "unified_job_template": plan.template_id,
        "success_nodes": [ids[name] for name in plan.after_success],
        "failure_nodes": [ids[name] for name in plan.after_failure],
        "always_nodes": [],
        "all_parents_must_converge": False,
        "do_not_run": plan.do_not_run,
        "identifier": plan.identifier,
    }
    return Node(row=row)
