"""What one job of a scenario will do: values only, in seconds from the job's creation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from simulator.receiver import Receiver
from simulator.script import NO_DATA, Rows

ACTIVE: Final = frozenset({"new", "pending", "waiting", "running"})
FAILING: Final = frozenset({"failed", "error", "canceled"})

LAST_WORD: Final = 0.2
"""Seconds from the last emitted event to the terminal status; most rows are readable only later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A change of a job: from `at` seconds after creation it has this status and these fields."""

    at: float
    status: str
    fields: Mapping[str, Any] = field(default_factory=lambda: NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """What is unusual about a job. Counters are AWX's; times in seconds.

    `late`: extra delay per counter. `lost`: emitted and never readable. `doubled`: stored once more,
    so much later. `listed_after`: the job shows itself only then. `deleted_after`: 404 from then on.
    `emitted`: what AWX says it emitted, when that is not the truth. `garbled`: rows whose event_data is
    a text and whose `created` is null.
    """

    late: Mapping[int, float] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()
    doubled: Mapping[int, float] = field(default_factory=dict)
    listed_after: float = 0.0
    deleted_after: float | None = None
    emitted: int | None = None
    garbled: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """A node of a workflow; a node that no job was made for was not run."""

    identifier: str
    template_id: int
    template: str
    after_success: tuple[str, ...] = ()
    after_failure: tuple[str, ...] = ()
    do_not_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One job: what it is, what its events say, how its status moves.

    `seconds` is the time from running to the last event. `course` replaces the ordinary turns.
    `hosts` are the numbers of the stats event, by host. `body` overrides fields of the detail.
    `visible_at` says by counter when each row can be read, in seconds after creation: of those that
    it does not name none ever can. Without it the receiver decides.
    """

    kind: str
    name: str
    template_id: int = 7
    rows: Rows | None = None
    seconds: float = 5.0
    status: str = "successful"
    explanation: str = ""
    labels: tuple[str, ...] = ()
    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nodes: tuple[NodePlan, ...] = ()
    course: Sequence[Turn] = ()
    receiver: Receiver | None = None
    visible_at: Mapping[int, float] | None = None
    odd: Odd = field(default_factory=Odd)
    body: Mapping[str, Any] = field(default_factory=lambda: NO_DATA)

    def turns(self) -> Sequence[Turn]:
        """Return how the status moves: `course`, or what is usual for this kind of job."""
        if self.course:
            return self.course
        ended = {"job_explanation": self.explanation} if self.explanation else NO_DATA
        if self.kind == "workflow_approval":
            return Turn(at=0, status="pending"), Turn(at=self.seconds, status=self.status, fields=ended)
        begins = 0.2 if self.kind == "workflow_job" else 0.35
        end = Turn(at=begins + self.seconds + LAST_WORD, status=self.status, fields=ended)
        if self.kind == "workflow_job":
            return Turn(at=0, status="pending"), Turn(at=begins, status="running"), end
        waiting = Turn(at=0.15, status="waiting")
        return Turn(at=0, status="pending"), waiting, Turn(at=begins, status="running"), end


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A plan with its entrance, `at` seconds after the scenario's start.

    A job that a workflow ran names the workflow job (the last one of that name) and its node.
    """

    at: float
    plan: Plan
    workflow: str = ""
    node: str = ""
