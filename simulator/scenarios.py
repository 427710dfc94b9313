"""Named scenarios: which jobs enter when. Seeded and reproducible.

Times are seconds after the world's start; negative ones are jobs that ran before anybody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from simulator import plays
from simulator.oddities import heavy, odd
from simulator.plan import Act, NodePlan, Odd, Plan, Turn
from simulator.plays import HOSTS, Trouble
from simulator.receiver import Receiver

UNREACHABLE: Final = Trouble(task=0, outcome="unreachable", message="Failed to connect to the host via ssh")
FULL_DISK: Final = Trouble(task=2, message="No space left on device")
BAD_SCRIPT: Final = Trouble(task=1)
"""Its message says nothing: the reason, with a planted token, is in what the command printed."""


def demo() -> list[Act]:
    """About a dozen jobs of every type over 12 s, some failing, one late and one lost counter."""
    deploy = plays.playbook("deploy-web", tasks=8, troubles={"web03": FULL_DISK, "web07": FULL_DISK})
    patch = plays.playbook("patch-databases", hosts=HOSTS[12:], troubles={"db02": UNREACHABLE})
    backup = plays.playbook("backup", hosts=HOSTS[:4], tasks=4)
    acts = [
        Act(at=0.2, plan=plays.project_update("Platform playbooks")),
        Act(at=0.5, plan=plays.job("deploy-web", writer=deploy, seconds=6, labels=("prod", "team-a"))),
        Act(at=1.5, plan=plays.inventory_update("Cloud - hosts")),
        Act(at=2.5, plan=plays.ad_hoc(hosts=HOSTS[:6])),
        Act(at=3.0, plan=plays.job("patch-databases", template_id=10, writer=patch, labels=("prod",))),
        Act(at=4.0, plan=plays.system_job()),
        Act(at=5.0, plan=plays.job("backup", template_id=11, writer=backup, odd=Odd(late={9: 4.0}))),
        Act(at=9.0, plan=_lossy()),
        Act(at=10.0, plan=_broken()),
        Act(at=11.0, plan=plays.ad_hoc(hosts=HOSTS[6:9])),
    ]
    return acts + release(at=3.5)


def _lossy() -> Plan:
    writer = plays.playbook("rotate-certificates", hosts=HOSTS[:3], tasks=3)
    return plays.job("rotate-certificates", template_id=12, writer=writer, odd=Odd(lost=frozenset({8})))


def _broken() -> Plan:
    explanation = "Previous Task Failed: project update failed"
    turns = (
        Turn(at=0, status="pending"),
        Turn(at=1, status="error", fields={"job_explanation": explanation}),
    )
    return Plan(kind="job", name="provision", template_id=13, course=turns)


def release(*, at: float, name: str = "release") -> list[Act]:
    """A workflow of a test, an approval, a failing roll-out, its roll-back, and a node not run."""
    nodes = (
        NodePlan(identifier="test", template_id=14, template="test", after_success=("approve",)),
        NodePlan(identifier="approve", template_id=31, template="approve", after_success=("roll-out",)),
        NodePlan(
            identifier="roll-out",
            template_id=15,
            template="roll-out",
            after_success=("announce",),
            after_failure=("roll-back",),
        ),
        NodePlan(identifier="roll-back", template_id=16, template="roll-back"),
        NodePlan(identifier="announce", template_id=17, template="announce", do_not_run=True),
    )
    whole = plays.workflow(name, nodes, seconds=11, status="failed")
    troubles = {"web02": FULL_DISK, "web03": BAD_SCRIPT}
    failing = plays.playbook("roll-out", hosts=HOSTS[:4], tasks=3, troubles=troubles)
    short = plays.playbook("test", hosts=HOSTS[:2], tasks=2)
    back = plays.playbook("roll-back", hosts=HOSTS[:4], tasks=2)
    steps = (
        (0.5, "test", plays.job("test", template_id=14, writer=short, seconds=2)),
        (3.2, "approve", plays.approval("approve", seconds=2)),
        (5.4, "roll-out", plays.job("roll-out", template_id=15, writer=failing, seconds=2)),
        (8.4, "roll-back", plays.job("roll-back", template_id=16, writer=back, seconds=2)),
    )
    acts = [Act(at=at + after, plan=plan, workflow=name, node=node) for after, node, plan in steps]
    return [Act(at=at, plan=whole), *acts]


def forever(*, keep: float = 600.0, pause: float = 20.0) -> Iterator[Act]:
    """Play the demo again and again; each job is deleted after `keep` seconds."""
    begins = 0.0
    while True:
        for act in sorted(demo(), key=lambda act: act.at):
            leaving = replace(act.plan.odd, deleted_after=keep)
            yield replace(act, at=begins + act.at, plan=replace(act.plan, odd=leaving))
        begins += pause


def storm(*, jobs: int = 30, events: int = 50_000, jitter: float = 1.0, seed: int = 1) -> list[Act]:
    """Many jobs of all types at once; late and lost counters, rows stored twice, a repeated counter."""
    rng = Random(seed)  # noqa: S311  # a scenario, no secret
    receiver = Receiver(jitter=jitter)
    small = [
        plays.project_update("Platform playbooks", odd=Odd(doubled={5: 0.4})),
        plays.inventory_update("Cloud - hosts", lines=120, again=3),
        plays.inventory_update("Cloud - networks", lines=80),
        plays.ad_hoc(odd=Odd(late={7: 3.0})),
        plays.system_job(),
        plays.project_update("Network playbooks"),
    ]
    acts = [Act(at=0.2 + 0.3 * at, plan=replace(plan, receiver=receiver)) for at, plan in enumerate(small)]
    acts += release(at=1.0)
    used = sum(len(act.plan.rows.counters) for act in acts if act.plan.rows is not None)
    many = max(1, jobs - len(acts))
    for number in range(many):
        share = (events - used) // many + (1 if number < (events - used) % many else 0)
        plan = replace(sized_job(f"storm-{number:02}", share, seconds=rng.uniform(8, 14)), receiver=receiver)
        acts.append(Act(at=rng.uniform(0, 4), plan=replace(plan, odd=_storm_odd(number, share, rng))))
    return acts


def _storm_odd(number: int, total: int, rng: Random) -> Odd:
    late = {rng.randint(1, total): rng.uniform(1.0, 4.0) for _ in range(4)}
    lost = frozenset({rng.randint(2, total - 1)}) if number % 5 == 1 else frozenset()
    doubled = {rng.randint(1, total): 0.5} if number == 0 else {}
    return Odd(late=late, lost=lost, doubled=doubled)


def sized_job(name: str, events: int, *, seconds: float, template_id: int = 40) -> Plan:
    """Plan a playbook run of exactly so many events (at least 20)."""
    hosts = tuple(f"node{at:03}" for at in range(min(50, max(1, events // 20))))
    per_task = 1 + 2 * len(hosts)
    tasks, lines = divmod(events - 5, per_task)
    writer = plays.playbook(name, hosts=hosts, tasks=tasks, lines=lines)
    return plays.job(name, template_id=template_id, writer=writer, seconds=seconds)


def bulk(*, jobs: int = 200, events: int = 5_000, finished: bool = True, seconds: float = 30.0) -> list[Act]:
    """Many jobs of the same size: finished an hour ago, or all starting now and `seconds` long."""
    plan = sized_job("bulk", events, seconds=seconds)
    plan = replace(plan, receiver=Receiver(jitter=0.0)) if finished else plan
    first = -3600.0 if finished else 0.0
    return [
        Act(at=first + number * 0.01, plan=replace(plan, name=f"bulk-{number:03}")) for number in range(jobs)
    ]


NAMES: Final[dict[str, Callable[[], Sequence[Act]]]] = {
    "demo": demo,
    "storm": storm,
    "bulk": bulk,
    "odd": odd,
    "heavy": heavy,
    "empty": list,
}
"""The scenarios with an end, by name."""
