"""One AWX controller as the loops see it: `bridge.ports.Source` over AWX's REST API.

Every request goes through one budget and one door for errors; nothing here waits and retries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from bridge.awx.budget import RequestBudget
from bridge.awx.events import EventReader
from bridge.awx.lists import PAGE, JobLists
from bridge.awx.options import SourceOptions
from bridge.awx.outcome import (
    FAILED_EVENTS,
    MOST_FAILURES,
    failed_nodes_in,
    failures_in,
    has_hosts,
    hosts_in,
)
from bridge.awx.rows import id_of, job_from
from bridge.awx.transport import Params, Transport, open_session
from bridge.awx.wire import decode_object, decode_results
from bridge.errors import ConfigError, Problem, SourceDataError
from bridge.model import EventPage, Failure, HostSummary, Job, JobKey, SourceIdentity
from bridge.ports import Clock, Listing, Purpose

_MOST_NODES: Final = 2000


class AwxSource:
    """One AWX controller. Made by `open_source`."""

    def __init__(
        self, name: str, options: SourceOptions, *, transport: Transport, budget: RequestBudget
    ) -> None:
        """Ask nothing yet."""
        self.budget = budget
        self._name = name
        self._transport = transport
        self._lists = JobLists(name, transport, options.jobs.types)
        self._events = EventReader(transport, page_limit=options.page_limit, page_bytes=options.page_bytes)

    @property
    def name(self) -> str:
        """The source's name in the configuration."""
        return self._name

    @property
    def listings(self) -> tuple[Listing, ...]:
        """The lists that show a followed job type; the others answer empty without a request."""
        return self._lists.needed

    @property
    def rows_unplaced(self) -> int:
        """How many event rows had no usable counter so far, and were left out."""
        return self._events.unplaced

    @property
    def rows_unreadable(self) -> int:
        """How many job rows had no usable id, type or status so far, and were left out."""
        return self._lists.unreadable

    async def identify(self) -> SourceIdentity:
        """Ask which AWX this is, and check that the credentials are accepted."""
        ping = await self._transport.get("ping/", decode_object, purpose=Purpose.DISCOVERY)
        await self._transport.get("me/", decode_object, purpose=Purpose.DISCOVERY)
        version, install = ping.get("version"), ping.get("install_uuid")
        if not isinstance(version, str):
            raise SourceDataError(f"source {self._name}: ping/ names no version")
        return SourceIdentity(version=version, install_uuid=install if isinstance(install, str) else None)

    async def newest_id(self) -> int:
        """Return the greatest unified job id of the followed types, 0 when there is none."""
        return await self._lists.newest_id()

    async def first_id_since(self, moment: str) -> int | None:
        """Return the least id of the followed types' jobs created at or after `moment`, or None."""
        return await self._lists.first_id_since(moment)

    async def jobs_above(self, listing: Listing, job_id: int, /) -> Sequence[Job]:
        """Return the jobs with a greater id, ascending, at most one page of 200."""
        return await self._lists.above(listing, job_id)

    async def jobs_finished(
        self, listing: Listing, job_id: int, /, *, since: str | None, statuses: Sequence[str]
    ) -> Sequence[Job]:
        """Return the jobs with a greater id that finished, ascending, at most one page of 200.

        `since` (ISO 8601) leaves out those that finished by then; `statuses` names those that count,
        none for all of them.
        """
        return await self._lists.finished(listing, job_id, since=since, statuses=statuses)

    async def jobs_active(self, listing: Listing, /) -> Sequence[Job]:
        """Return every job in an active status, ascending by id, all pages."""
        return await self._lists.active(listing)

    async def jobs_changed(self, listing: Listing, ids: Sequence[int], status: str, /) -> Sequence[Job]:
        """Return those of `ids` (at most 200) whose status is no longer `status`."""
        return await self._lists.changed(listing, ids, status)

    async def jobs_existing(self, listing: Listing, ids: Sequence[int], /) -> frozenset[int]:
        """Return those of `ids` (at most 200) that AWX still has."""
        return await self._lists.existing(listing, ids)

    async def job(self, key: JobKey, /, *, purpose: Purpose = Purpose.LIVE) -> Job:
        """Return one job as its detail shows it."""
        path = f"{key.job_type}s/{key.job_id}/"
        row = await self._transport.get(path, decode_object, purpose=purpose)
        found = job_from(row, self._name)
        if found is None or found.key != key:
            raise SourceDataError(f"source {self._name}, GET {path}: the answer is no such job")
        return found

    async def events_after(self, key: JobKey, counter: int, /, *, limit: int, purpose: Purpose) -> EventPage:
        """Return the readable events above `counter`, in counter order, at most `limit`.

        A page may be shorter and still `full`, then it has rows. A counter with several rows has all
        of them in one page, even beyond `limit`: the next page starts above the last row's counter.
        """
        return await self._events.after(key, counter, limit=limit, purpose=purpose)

    async def events_at(self, key: JobKey, counters: Sequence[int], /, *, purpose: Purpose) -> EventPage:
        """Return the readable events among `counters` (at most 200), in counter order."""
        return await self._events.at(key, counters, purpose=purpose)

    async def emitted_is(self, key: JobKey, total: int, /, *, purpose: Purpose = Purpose.CLOSING) -> bool:
        """Whether AWX's own count of emitted events is exactly `total` (the count proof)."""
        return await self._lists.has(key.job_type, key.job_id, {"emitted_events": total}, purpose=purpose)

    async def emitted_above(self, key: JobKey, total: int, /, *, purpose: Purpose = Purpose.CLOSING) -> bool:
        """Whether AWX's own count of emitted events is greater than `total`."""
        return await self._lists.has(key.job_type, key.job_id, {"emitted_events__gt": total}, purpose=purpose)

    async def event_count(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> tuple[int, int]:
        """Return (number of readable rows, highest counter); costs AWX a COUNT."""
        return await self._events.count(key, purpose=purpose)

    async def hosts(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> Sequence[HostSummary]:
        """Return what each host did, by name, from the stats event; empty when there is none."""
        if not has_hosts(key.job_type):
            return ()
        stats = await self._events.last(key, {"event": "playbook_on_stats"}, purpose=purpose)
        return hosts_in(stats) if stats is not None else ()

    async def failures(self, key: JobKey, /, *, purpose: Purpose = Purpose.CLOSING) -> Sequence[Failure]:
        """Return up to 20 failures in counter order; of a workflow job its failed nodes."""
        if key.job_type == "workflow_job":
            return await self._failed_nodes(key, purpose)
        found: list[Failure] = []
        params = {"event__in": ",".join(FAILED_EVENTS), "failed": "true"}
        counter, more = 0, has_hosts(key.job_type)
        while more and len(found) < MOST_FAILURES:
            page = await self._events.after(key, counter, limit=MOST_FAILURES, purpose=purpose, params=params)
            found += failures_in(page.rows)
            counter = max([counter, *page.unreadable, *(event.counter for event in page.rows)])
            more = page.full
        return tuple(found[:MOST_FAILURES])

    async def _failed_nodes(self, key: JobKey, purpose: Purpose) -> Sequence[Failure]:
        path = f"workflow_jobs/{key.job_id}/workflow_nodes/"
        found: list[Failure] = []
        after, seen = 0, 0
        while len(found) < MOST_FAILURES and seen < _MOST_NODES:
            params: Params = {"order_by": "id", "id__gt": after, "count_disabled": 1, "page_size": PAGE}
            rows = await self._transport.get(path, decode_results, purpose=purpose, params=params)
            found += failed_nodes_in(rows)
            seen += len(rows)
            last = max((node for row in rows if (node := id_of(row)) is not None), default=after)
            if len(rows) < PAGE or last <= after:
                break
            after = last
        return tuple(found[:MOST_FAILURES])


@asynccontextmanager
async def open_source(
    name: str, options: SourceOptions, *, clock: Clock, counted: Callable[[str], None] = lambda _outcome: None
) -> AsyncGenerator[AwxSource]:
    """Open the source `name`; nothing is asked before the first call.

    `counted` hears how each request went: `ok`, `unavailable`, `refused` or `unreadable`.

    Raises:
        ConfigError: a file of `tls` cannot be used.
    """
    try:
        session = open_session(options)
    except OSError as err:
        problem = Problem(
            f"sources.{name}.tls", f"a file cannot be used: {err.strerror or 'no certificate or key'}"
        )
        raise ConfigError([problem]) from err
    async with session:
        budget = RequestBudget(options.max_requests)
        transport = Transport(name, options, session=session, budget=budget, clock=clock, counted=counted)
        yield AwxSource(name, options, transport=transport, budget=budget)
