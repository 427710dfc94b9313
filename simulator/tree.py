"""`job_events/children_summary/`: how many events lie below each event of a job.

Source: JobJobEventsChildrenSummary in awx/api/views/__init__.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from simulator.job import Job


def children_summary(job: Job, now: float) -> dict[str, Any]:
    """Return the body; empty until every event is readable, or when parents are missing."""
    finished = job.finished_processing(now)
    empty = {"children_summary": {}, "meta_event_nested_uuid": {}, "event_processing_finished": finished}
    rows = list(job.rows(now)) if finished else []
    parents = {row["uuid"]: row["parent_uuid"] for row in rows if row["parent_uuid"]}
    known = {row["uuid"] for row in rows}
    if any(parent not in known for parent in parents.values()):
        return {**empty, "is_tree": False}
    below: Counter[str] = Counter()
    for uuid in parents:
        above = parents.get(uuid)
        while above:
            below[above] += 1
            above = parents.get(above)
    summary = {
        str(row["counter"]): {"rowNumber": at, "numChildren": below[row["uuid"]]}
        for at, row in enumerate(rows)
        if below[row["uuid"]]
    }
    return {**empty, "children_summary": summary, "is_tree": True}
