"""The scenario `odd`: every odd thing that AWX does, each in a job of its own, named after it.

The facts behind them: AWX's reaper, callback receiver, task manager and cleanup; see each builder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator import plays
from simulator.plan import Act, Odd, Plan, Turn
from simulator.script import Script, Step

REAPED = "Task was marked as running but was not present in the job queue, so it has been marked as failed."


def odd() -> list[Act]:
    """Every odd case once, half a second apart."""
    plans = [
        plain("late-counter", odd=Odd(late={6: 5.0, 7: 3.0})),
        plain("lost-counter", odd=Odd(lost=frozenset({9}))),
        plain("lost-tail", odd=Odd(lost=frozenset({22, 23}))),
        plain("row-twice", odd=Odd(doubled={10: 0.7})),
        plays.inventory_update("counter-twice", lines=24, again=2),
        plain("shown-late", odd=Odd(listed_after=2.0)),
        plain("deleted-running", odd=Odd(deleted_after=2.0)),
        plain("deleted-finished", odd=Odd(deleted_after=9.0)),
        plain("garbled-row", odd=Odd(garbled=frozenset({12}))),
        plain("reaped", course=_reaped(), odd=Odd(emitted=0)),
        plain("reaped-and-alive", course=_corrected()),
        plain("canceled-early", course=_canceled(), odd=Odd(late=dict.fromkeys(range(1, 24), 1.5))),
        plain("sent-back", course=_sent_back()),
        Plan(kind="job", name="never-started", course=_never_started()),
        nameless(),
    ]
    return [Act(at=0.5 * number, plan=plan) for number, plan in enumerate(plans)]


def plain(name: str, **more: Any) -> Plan:
    """Plan a short run of 23 events that is all right but for what `more` says."""
    writer = plays.playbook(name, hosts=plays.HOSTS[:4], tasks=2)
    return plays.job(name, template_id=50, writer=writer, seconds=3, **more)


def nameless() -> Plan:
    """Plan a run with an event that has no name (ansible-runner writes one when its partial file is gone)."""
    plan = plain("event-without-name")
    if not isinstance(plan.rows, Script):
        return plan
    script = plan.rows
    line = script.steps[10].start_line
    steps = [*script.steps[:10], Step(event="", at=10.0, start_line=line, end_line=line), *script.steps[11:]]
    return replace(plan, rows=Script(kind="job", playbook=script.playbook, steps=tuple(steps)))


def heavy(*, events: int = 40, kilobytes: int = 700, largest: int = 18_000) -> list[Act]:
    """A job whose events carry `kilobytes` each and one of them `largest`: pages of many megabytes."""
    writer = plays.playbook("heavy", hosts=plays.HOSTS[:1], tasks=max(1, events // 3))
    results = [at for at, step in enumerate(writer.steps) if step.event == "runner_on_ok"]
    usual = {"res": {"stdout": "x" * kilobytes * 1000}}
    for at in results:
        writer.steps[at] = replace(writer.steps[at], data=usual)
    middle = results[len(results) // 2]
    writer.steps[middle] = replace(writer.steps[middle], data={"res": {"stdout": "x" * largest * 1000}})
    return [Act(at=0.2, plan=plays.job("heavy", template_id=51, writer=writer, seconds=3))]


def _started() -> tuple[Turn, ...]:
    return Turn(at=0, status="pending"), Turn(at=0.15, status="waiting"), Turn(at=0.35, status="running")


def _reaped() -> tuple[Turn, ...]:
    """The reaper saves a status and no count: emitted_events stays 0 while rows are there.

    Source: awx/main/dispatch/reaper.py.
    """
    return *_started(), Turn(at=4, status="failed", fields={"job_explanation": REAPED})


def _corrected() -> tuple[Turn, ...]:
    """A task that the reaper took for dead saves its own result later."""
    reaped = Turn(at=2, status="failed", fields={"job_explanation": REAPED, "emitted_events": 0})
    return *_started(), reaped, Turn(at=5, status="successful", fields={"job_explanation": ""})


def _canceled() -> tuple[Turn, ...]:
    """Cancelled before its process reported: 0 events of 0 at first, and then they come."""
    early = Turn(at=0.5, status="canceled", fields={"emitted_events": 0})
    return *_started(), early, Turn(at=4.0, status="canceled")


def _sent_back() -> tuple[Turn, ...]:
    """A quota refuses the pod: running goes back to pending (awx/main/tasks/receptor.py)."""
    again = (Turn(at=1.2, status="pending"), Turn(at=2.2, status="waiting"), Turn(at=2.5, status="running"))
    return *_started(), *again, Turn(at=5.8, status="successful")


def _never_started() -> tuple[Turn, ...]:
    explanation = "Previous Task Failed: project update failed"
    return Turn(at=0, status="pending"), Turn(at=1, status="failed", fields={"job_explanation": explanation})
