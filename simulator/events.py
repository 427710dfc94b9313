"""Event lists: what `jobs/N/job_events/` and its like answer.

A read above a counter in counter order touches only the rows it returns; every other filter or
order looks at all readable rows of the job, as AWX's own indexes have it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from simulator import paging
from simulator.fields import EVENT_MODELS
from simulator.filters import Condition, Where, parse, parse_order
from simulator.job import Events, Job
from simulator.script import iso

Query = Sequence[tuple[str, str]]

_DEFAULT_ORDER: Final = {"job": ("start_line", False), "project_update": ("id", False)}
_RANGES: Final = frozenset({"exact", "gt", "gte", "lt", "lte", "in"})


@dataclass(frozen=True, slots=True)
class _Span:
    """Which counters come into question: a range, or just these."""

    low: int = 0
    high: int | None = None
    among: frozenset[int] | None = None

    def narrowed(self, condition: Condition) -> _Span:
        value = condition.value
        match condition.lookup:
            case "gt":
                return _Span(max(self.low, value + 1), self.high, self.among)
            case "gte":
                return _Span(max(self.low, value), self.high, self.among)
            case "lt" | "lte":
                high = value - 1 if condition.lookup == "lt" else value
                return _Span(self.low, high if self.high is None else min(self.high, high), self.among)
            case _:
                wanted = value if condition.lookup == "in" else frozenset({value})
                return _Span(self.low, self.high, wanted if self.among is None else self.among & wanted)


class _Reader:
    """Reads the columns of one job's rows at one moment."""

    def __init__(self, job: Job, events: Events, now: float) -> None:
        self.now = now
        self.job = job
        self.events = events
        self.settled = job.settled(now)
        self.summary = job.event_summary(now)
        self._last: tuple[int, Mapping[str, Any]] = (-1, {})

    def values(self, position: int, path: tuple[str, ...]) -> list[object]:
        name = path[0]
        if path[1:] == ("name",):
            name = f"{name}_name"
        return [self.cell(position, name)]

    def cell(self, position: int, name: str) -> object:
        log, source = self.events.log, self.events.log.sources[position]
        try:
            return self.events.rows.cell(source, name)
        except KeyError:
            pass
        match name:
            case "id":
                return self.events.first_id + log.rank(position)
            case "created":
                return iso(self.events.emitted[source])
            case "modified":
                return iso(log.visible[position])
            case _:
                return self._rendered(position).get(name)

    def _rendered(self, position: int) -> Mapping[str, Any]:
        if self._last[0] != position:
            self._last = (position, self.row(position))
        return self._last[1]

    def row(self, position: int) -> dict[str, Any]:
        return self.job.row(position, self.summary, settled=self.settled)


def answer(job: Job, now: float, *, path: str, query: Query) -> bytes:
    """Return the body of an event list; raise `QueryError` or `PageError` as AWX refuses."""
    model = EVENT_MODELS[job.kind]
    asked = dict(query)
    where = parse(query, model)
    order = parse_order(asked.get("order_by") or asked.get("order"), model)
    page = paging.read(query, limits=True)
    if job.events is None:
        return paging.body([], page=page, count=0, path=path, query=query)
    reader = _Reader(job, job.events, now)
    order = order or [_DEFAULT_ORDER.get(job.kind, ("id", True))]
    positions = _matching(reader, where, asked.get("search", ""), descending=order[0] == ("counter", True))
    if order[0][0] != "counter":
        positions = iter(_sorted(reader, positions, order))
    if page.counted:
        found = list(positions)
        count, chosen = len(found), found[page.skip : page.skip + page.size]
    else:
        count, chosen = 0, list(islice(positions, page.size))
    whole = "no_truncate" in asked
    rows = [_shown(reader.row(position), whole=whole) for position in chosen]
    return paging.body(rows, page=page, count=count, path=path, query=query)


def _shown(row: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    if not whole and not row["event"].startswith("playbook_on_"):
        row["stdout"] = paging.truncate(row["stdout"])
    return row


def _matching(reader: _Reader, where: Where, search: str, *, descending: bool) -> Iterator[int]:
    span = _Span()
    rest: list[Condition] = []
    for condition in where.every:
        if condition.path == ("counter",) and condition.lookup in _RANGES and not condition.negated:
            span = span.narrowed(condition)
        else:
            rest.append(condition)
    remaining = Where(tuple(rest), where.either)
    positions = _spanned(reader, span, descending=descending)
    if remaining.every or remaining.either:
        positions = (at for at in positions if remaining.holds(partial(reader.values, at)))
    if search:
        positions = (at for at in positions if paging.matches_search(search, [reader.cell(at, "stdout")]))
    return positions


def _spanned(reader: _Reader, span: _Span, *, descending: bool) -> Iterator[int]:
    log, now = reader.events.log, reader.now
    if span.among is None:
        read = log.readable_down if descending else log.readable
        return read(now, span.low, span.high)
    high = span.high
    wanted = [at for at in span.among if at >= span.low and (high is None or at <= high)]
    found = log.readable_among(now, wanted)
    return iter(list(found)[::-1]) if descending else found


def _sorted(reader: _Reader, positions: Iterator[int], order: Sequence[tuple[str, bool]]) -> list[int]:
    found = list(positions)
    for name, descending in reversed(order):
        found.sort(key=partial(_sort_key, reader, name), reverse=descending)
    return found


def _sort_key(reader: _Reader, name: str, position: int) -> tuple[bool, Any]:
    value = reader.cell(position, name)
    return value is None, 0 if value is None else value
