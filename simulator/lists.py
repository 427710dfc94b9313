"""Lists of jobs and of what belongs to a job: filters, search, order and pages over plain rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from simulator import paging
from simulator.fields import Model
from simulator.filters import Where, parse, parse_order
from simulator.job import Job

Query = Sequence[tuple[str, str]]
Values = Callable[[tuple[str, ...]], list[object]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that a list may show: its values for filters and order, and how to render it."""

    values: Values
    render: Callable[[], dict[str, Any]]


def answer(entries: Sequence[Entry], model: Model, *, path: str, query: Query) -> bytes:
    """Return a list's body; raise `QueryError` or `PageError` as AWX refuses."""
    asked = dict(query)
    where = parse([item for item in query if not item[0].startswith("type__")], model)
    order = parse_order(asked.get("order_by") or asked.get("order"), model)
    page = paging.read(query, limits=False)
    found = [entry for entry in entries if _wanted(entry, where, asked)]
    for name, descending in reversed(order):
        found.sort(key=partial(_sort_key, tuple(name.split("__"))), reverse=descending)
    chosen = found[page.skip : page.skip + page.size]
    return paging.body(
        [entry.render() for entry in chosen], page=page, count=len(found), path=path, query=query
    )


def _wanted(entry: Entry, where: Where, asked: dict[str, str]) -> bool:
    if "type__in" in asked:  # recorded: AWX 24.6.1 answers 200 and finds nothing
        return False
    if "search" in asked:
        texts = [*entry.values(("name",)), *entry.values(("description",))]
        if not paging.matches_search(asked["search"], texts):
            return False
    return where.holds(entry.values)


def _sort_key(path: tuple[str, ...], entry: Entry) -> tuple[bool, Any]:
    value = next(iter(entry.values(path)), None)
    return value is None, 0 if value is None else value


def jobs(found: Sequence[Job], now: float) -> list[Entry]:
    """Make the entries of a list of jobs."""
    return [Entry(partial(_job_values, job, now), partial(job.listed, now)) for job in found]


def rows(found: Sequence[dict[str, Any]]) -> list[Entry]:
    """Make the entries of a list whose rows are at hand."""
    return [Entry(partial(_row_values, row), partial(dict, row)) for row in found]


def _job_values(job: Job, now: float, path: tuple[str, ...]) -> list[object]:
    name, *attribute = path
    if name == "unified_job_node":
        return [None if job.workflow is None else job.workflow.id]
    if name == "host_status_counts":
        return [job.host_status_counts(now)]
    fields = job.fields(now)
    if name in {"labels", "credentials"}:
        found = fields["summary_fields"].get(name, [])
        items = found["results"] if isinstance(found, dict) else found
        return [item.get(attribute[0] if attribute else "id") for item in items]
    if attribute:
        related = fields["summary_fields"].get(name, {})
        return [related.get("id" if attribute[0] == "pk" else attribute[0])]
    if name in {"created_by", "modified_by"}:
        return [fields["summary_fields"].get(name, {}).get("id")]
    return [fields.get(name)]


def _row_values(row: dict[str, Any], path: tuple[str, ...]) -> list[object]:
    name, *attribute = path
    if not attribute:
        return [row.get(name)]
    return [row.get("summary_fields", {}).get(name, {}).get(attribute[0])]
