"""AWX's lists that together show every job: which are needed, and how they are asked.

Always by id, from the last one on (keyset), without AWX's COUNT.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any, Final

from bridge.awx.answers import AnswerUnreadable
from bridge.awx.rows import id_of, job_from
from bridge.awx.transport import Params, Transport
from bridge.awx.wire import decode_results, id_in
from bridge.errors import SourceDataError, SourceRefused
from bridge.model import ACTIVE_STATUSES, JOB_TYPES, TERMINAL_STATUSES, Job
from bridge.ports import Listing, Purpose, listing_of

PAGE: Final = 200
"""AWX serves no larger page (awx/api/pagination.py)."""

_UNIFIED_TYPES: Final = tuple(kind for kind in JOB_TYPES if listing_of(kind) == "unified_jobs")
"""What unified_jobs is asked for: its rows of system jobs carry up to 1 MiB of output."""

_LISTINGS: Final[tuple[Listing, ...]] = ("unified_jobs", "system_jobs", "workflow_approvals")
_BY_ID: Final[Params] = {"order_by": "id", "count_disabled": 1}
_AUDITOR: Final = "; this list needs a System Auditor, or leave system_job out of jobs.types"


class JobLists:
    """Asks the job lists of one AWX for the job types that are followed."""

    def __init__(self, source: str, transport: Transport, types: Collection[str]) -> None:
        """`types` are those of `JOB_TYPES` that are followed."""
        self.unreadable = 0
        self._source = source
        self._transport = transport
        self._types = {
            listing: [kind for kind in JOB_TYPES if kind in types and listing_of(kind) == listing]
            for listing in _LISTINGS
        }

    @property
    def needed(self) -> tuple[Listing, ...]:
        """The lists that show a followed type."""
        return tuple(listing for listing in _LISTINGS if self._types[listing])

    async def newest_id(self) -> int:
        """Return the greatest id over all needed lists, 0 when they are empty."""
        newest = 0
        for listing in self.needed:
            asked = {"order_by": "-id", "count_disabled": 1, "page_size": 1, **self._followed(listing)}
            rows = await self._ask(listing, asked)
            newest = max([newest, *(found for row in rows if (found := id_of(row)) is not None)])
        return newest

    async def first_id_since(self, moment: str) -> int | None:
        """Return the least id of the jobs created at or after `moment`, or None."""
        found: list[int] = []
        for listing in self.needed:
            asked = {**_BY_ID, "created__gte": moment, "page_size": 1, **self._followed(listing)}
            rows = await self._ask(listing, asked)
            found += [job_id for row in rows if (job_id := id_of(row)) is not None]
        return min(found, default=None)

    async def above(self, listing: Listing, job_id: int) -> Sequence[Job]:
        """Return the jobs above `job_id`, at most one page."""
        return await self._first(listing, job_id, {}, Purpose.DISCOVERY)

    async def finished(
        self, listing: Listing, job_id: int, *, since: str | None, statuses: Sequence[str]
    ) -> Sequence[Job]:
        """Return the jobs above `job_id` that finished after `since` in one of `statuses`: a page at most."""
        asked = {"status__in": ",".join(sorted(statuses or TERMINAL_STATUSES))}
        if since is not None:
            asked["finished__gt"] = since
        return await self._first(listing, job_id, asked, Purpose.BACKFILL)

    async def _first(self, listing: Listing, job_id: int, params: Params, purpose: Purpose) -> Sequence[Job]:
        """Return one page of the jobs above `job_id`; of a page without one readable job, the next."""
        jobs: list[Job] = []
        more = bool(self._types[listing])
        while more and not jobs:
            rows, more = await self._page(listing, job_id, params, purpose=purpose)
            jobs, job_id = self._jobs(rows), _last_id(rows, job_id)
        return jobs

    async def active(self, listing: Listing) -> Sequence[Job]:
        """Return all jobs that are not finished, over all pages."""
        jobs: list[Job] = []
        after, more = 0, bool(self._types[listing])
        asked = {"status__in": ",".join(sorted(ACTIVE_STATUSES))}
        while more:
            rows, more = await self._page(listing, after, asked)
            jobs += self._jobs(rows)
            after = _last_id(rows, after)
        return jobs

    async def changed(self, listing: Listing, ids: Sequence[int], status: str) -> Sequence[Job]:
        """Return those of `ids`, of any type, whose status is another than `status`."""
        return self._jobs(await self._named(listing, ids, {"not__status": status}))

    async def existing(self, listing: Listing, ids: Sequence[int]) -> frozenset[int]:
        """Return those of `ids`, of any type, that AWX still has."""
        rows = await self._named(listing, ids, {})
        return frozenset(found for row in rows if (found := id_of(row)) is not None) & frozenset(ids)

    async def has(self, job_type: str, job_id: int, params: Params, *, purpose: Purpose) -> bool:
        """Whether the job `job_id` meets `params`: asked as one row of its list."""
        listing = listing_of(job_type)
        asked = {"id": job_id, "count_disabled": 1, "page_size": 1, **params}
        try:
            rows = await self._ask(listing, asked, purpose=purpose)
        except AnswerUnreadable as err:
            return id_in(err.head) == job_id
        if any(id_of(row) != job_id for row in rows):
            raise SourceDataError(f"source {self._source}: {listing} answers with another job than asked for")
        return bool(rows)

    async def _named(self, listing: Listing, ids: Sequence[int], params: Params) -> list[Any]:
        """Ask for the jobs `ids`, in halves when the answer is too large."""
        if not ids:
            return []
        asked = {**_BY_ID, "id__in": ",".join(map(str, ids)), "page_size": PAGE, **params}
        if listing == "unified_jobs":
            asked["type"] = ",".join(_UNIFIED_TYPES)
        try:
            return await self._ask(listing, asked)
        except AnswerUnreadable:
            half = len(ids) // 2
            if not half:
                raise
        first = await self._named(listing, ids[:half], params)
        return first + await self._named(listing, ids[half:], params)

    async def _page(
        self, listing: Listing, after: int, params: Params, *, purpose: Purpose = Purpose.DISCOVERY
    ) -> tuple[list[Any], bool]:
        """Return the rows above the id `after`, and whether there may be more above the last one."""
        size = PAGE
        while True:
            asked = {**_BY_ID, "id__gt": after, "page_size": size, **self._followed(listing), **params}
            try:
                rows = await self._ask(listing, asked, purpose=purpose)
            except AnswerUnreadable as err:
                job_id = id_in(err.head)
                if size > 1:
                    size //= 2
                elif job_id is None or job_id <= after:
                    raise
                else:
                    return [{"id": job_id}], True  # counted as unreadable, and left behind
            else:
                return rows, len(rows) >= size and _last_id(rows, after) > after

    def _followed(self, listing: Listing) -> Params:
        return {"type": ",".join(self._types[listing])} if listing == "unified_jobs" else {}

    async def _ask(
        self, listing: Listing, params: Params, *, purpose: Purpose = Purpose.DISCOVERY
    ) -> list[Any]:
        try:
            return await self._transport.get(f"{listing}/", decode_results, purpose=purpose, params=params)
        except SourceRefused as err:
            if listing == "system_jobs" and err.status == HTTPStatus.FORBIDDEN:
                raise SourceRefused(f"{err}{_AUDITOR}", status=err.status) from err
            raise

    def _jobs(self, rows: list[Any]) -> list[Job]:
        read = [job_from(row, self._source) for row in rows]
        jobs = [job for job in read if job is not None]
        self.unreadable += len(read) - len(jobs)
        return sorted(jobs, key=lambda job: job.key.job_id)


def _last_id(rows: list[Any], before: int) -> int:
    return max((found for row in rows if (found := id_of(row)) is not None), default=before)
