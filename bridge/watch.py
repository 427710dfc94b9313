"""Finds the jobs of one source, and sees their statuses change.

AWX shows no list of changes (`modified` does not follow the status, awx-facts section 3), so jobs
are found by id past a durable mark, and the open ones are asked for only where their status is no
longer the known one. Ids become visible out of order: the mark moves only over ids that were first
seen a while ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from bridge.errors import SourceDataError, SourceError, SourceRefused, SourceUnavailable
from bridge.follow import Following
from bridge.followed import Feed
from bridge.model import Job, SourceRecord
from bridge.ports import Listing, listing_of

BEAT: Final[Mapping[Listing, float]] = {
    "unified_jobs": 2.0,
    "workflow_approvals": 5.0,
    "system_jobs": 10.0,
}
"""Seconds between two looks for new jobs and changed statuses."""

LOOK_BACK_EVERY: Final = 15.0
"""Seconds between two looks from the durable mark on, which find ids that became visible late."""

OVERLAP: Final = 300.0
"""Seconds after an id was first seen before the mark may move over it."""

CHECK_EVERY: Final = 60.0
"""Seconds between two looks for deleted jobs, and at which AWX answers."""

PAGE: Final = 200
"""Rows of one page of a list, and ids in one question."""

DOWN_AFTER: Final = 2
"""Failed looks in a row after which a source counts as down."""

SAY_EVERY: Final = 60.0
"""Seconds between two lines about refused credentials."""

Trouble = Literal["replaced", "rewound"]


class SourceParked(SourceError):
    """Another AWX, or an older state of it, answers: this source stops until somebody decides."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        """Keep which trouble it is."""
        self.trouble = trouble
        super().__init__(message)


class Scope(NamedTuple):
    """Which jobs of a source are followed.

    `start` is `now`, `all` or a time, for the very first start only.
    """

    start: str
    types: frozenset[str]
    excluded: Callable[[Job], bool]


class Watch:
    """The discovery of one source."""

    def __init__(
        self,
        feed: Feed,
        following: Following,
        *,
        record: SourceRecord | None,
        scope: Scope,
    ) -> None:
        """`record` is what state remembers of the source, None at the very first start."""
        self.up: bool | None = None
        self.reason = "not asked yet"
        self._feed = feed
        self._following = following
        self._record = record
        self._scope = scope
        self._listings: tuple[Listing, ...] = tuple(
            listing for listing in BEAT if any(listing_of(kind) == listing for kind in scope.types)
        )
        self._first_seen: dict[Listing, dict[int, float]] = {listing: {} for listing in self._listings}
        self._due: dict[str, float] = {}
        self._failures = 0
        self._said = float("-inf")
        self._turn = 0

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            SourceParked: another AWX answers, or one that was restored from a backup.
        """
        while True:
            try:
                if self._is_due("identity", CHECK_EVERY):
                    await self._identify()
                await self._beat()
            except (SourceUnavailable, SourceRefused, SourceDataError) as error:
                await self._failed(error)
            else:
                self._answered()
                await asyncio.sleep(self._until_due())

    def _is_due(self, what: str, every: float) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._due.get(what, float("-inf")):
            return False
        self._due[what] = now + every
        return True

    def _until_due(self) -> float:
        due = min(self._due.get(listing, 0.0) for listing in self._listings)
        return max(0.1, due - asyncio.get_running_loop().time())

    async def _failed(self, error: SourceUnavailable | SourceRefused | SourceDataError) -> None:
        """Say once that the source is down, or once a minute that it refuses us; then wait."""
        self._due.clear()
        self._failures += 1
        self.reason = str(error)
        name, now = self._feed.source.name, asyncio.get_running_loop().time()
        if isinstance(error, SourceRefused) and now - self._said >= SAY_EVERY:
            self._said = now
            self._feed.observer.note("source.refused", source=name, reason=self.reason, status=error.status)
        if self.up is not False and (self._failures >= DOWN_AFTER or self.up is None):
            self.up = False
            self._feed.observer.gauge("source_up", 0, source=name)
            self._feed.observer.note("source.down", source=name, reason=self.reason)
            self._feed.announce("bridge.source.down", name, {"reason": self.reason})
        asked = error.retry_after if isinstance(error, SourceUnavailable) else None
        await asyncio.sleep(asked or self._feed.backoff(self._failures))

    def _answered(self) -> None:
        self._failures = 0
        if self.up is True:
            return
        was_down, self.up, self.reason = self.up is False, True, ""
        name = self._feed.source.name
        self._feed.observer.gauge("source_up", 1, source=name)
        self._feed.observer.note("source.up", source=name)
        if was_down:
            self._feed.announce("bridge.source.up", name, {})

    async def _identify(self) -> None:
        """Check that it is still the same AWX; at the very first start choose where to begin."""
        source = self._feed.source
        identity = await source.identify()
        record = self._record
        if record is None:
            await self._begin(identity.install_uuid)
            return
        if None not in (record.install_uuid, identity.install_uuid) and (
            record.install_uuid != identity.install_uuid
        ):
            raise SourceParked(
                "replaced",
                f"another AWX answers: install_uuid was {record.install_uuid}, is {identity.install_uuid}",
            )
        newest = await source.newest_id()
        known = max(record.marks.values(), default=0)
        if newest < known:
            raise SourceParked(
                "rewound",
                f"the newest job id is {newest}, but {known} was seen before: restored from a backup?",
            )

    async def _begin(self, install_uuid: str | None) -> None:
        source, start = self._feed.source, self._scope.start
        marks: dict[str, int] = dict.fromkeys(self._listings, 0)
        active: list[Job] = []
        if start != "all":
            newest = await source.newest_id()
            first = None if start == "now" else await source.first_id_since(start)
            marks = dict.fromkeys(self._listings, newest if first is None else first - 1)
            for listing in self._listings:
                active += await source.jobs_active(listing)
            if first is None and "unified_jobs" in marks:
                await self._step_back(marks, {job.key.job_id for job in active})
        self._feed.keeper.source(source.name, SourceRecord(install_uuid=install_uuid, marks=marks))
        self._feed.observer.note("discovery.started", source=source.name, start=start, active=len(active))
        await self._learn(active)
        await self._feed.keeper.durable()
        self._record = SourceRecord(install_uuid=install_uuid, marks=marks)

    async def _step_back(self, marks: dict[str, int], active: Collection[int]) -> None:
        """Begin a little below the newest id, where ids may yet become visible; what is over is not news."""
        marks["unified_jobs"] = max(0, marks["unified_jobs"] - PAGE)
        for job in await self._feed.source.jobs_above("unified_jobs", marks["unified_jobs"]):
            if job.terminal and job.key.job_id not in active:
                self._following.ignore(job)

    async def _learn(self, jobs: list[Job]) -> None:
        await self._following.learn([job for job in jobs if self._followed(job)])

    def _followed(self, job: Job) -> bool:
        known = self._following.jobs.get(job.key.job_id)
        if (
            known is not None
            and None not in (job.created, known.record.job.created)
            and (known.record.job.created != job.created)
        ):
            raise SourceParked(
                "rewound", f"job {job.key.job_id} is another one than before: restored from a backup?"
            )
        return known is not None or (job.key.job_type in self._scope.types and not self._scope.excluded(job))

    async def _beat(self) -> None:
        for listing in self._listings:
            if self._is_due(listing, BEAT[listing]):
                await self._look_for_new(listing)
                await self._look_for_changes(listing)
        if self._is_due("deleted", CHECK_EVERY):
            for listing in self._listings:
                await self._look_for_deleted(listing)

    async def _look_for_new(self, listing: Listing) -> None:
        """Ask for jobs above the highest id seen, and now and then from the mark on."""
        seen = self._first_seen[listing]
        mark = self._mark(listing)
        after = max(seen, default=mark)
        if self._is_due(f"back {listing}", LOOK_BACK_EVERY):
            after = mark
        now = asyncio.get_running_loop().time()
        full = True
        while full:
            jobs = list(await self._feed.source.jobs_above(listing, after))
            full = len(jobs) >= PAGE
            await self._learn(jobs)
            for job in jobs:
                seen.setdefault(job.key.job_id, now)
                after = max(after, job.key.job_id)
        self._move_mark(listing, now)

    def _mark(self, listing: Listing) -> int:
        return 0 if self._record is None else self._record.marks.get(listing, 0)

    def _move_mark(self, listing: Listing, now: float) -> None:
        """Move the durable mark over what has been in sight for long enough."""
        seen = self._first_seen[listing]
        mark = max((n for n, since in seen.items() if now - since >= OVERLAP), default=None)
        if mark is None or self._record is None:
            return
        for job_id in [n for n in seen if n <= mark]:
            del seen[job_id]
        marks = {**self._record.marks, listing: mark}
        self._record = msgspec.structs.replace(self._record, marks=marks)
        self._feed.keeper.source(self._feed.source.name, self._record)
        self._following.forget(listing, mark)

    async def _look_for_changes(self, listing: Listing) -> None:
        """Ask for those open jobs whose status is no longer the known one, a share at each beat."""
        by_status: dict[str, list[int]] = {}
        for job_id, followed in self._following.jobs.items():
            job = followed.record.job
            if not followed.over and not job.terminal and listing_of(job.key.job_type) == listing:
                by_status.setdefault(job.status, []).append(job_id)
        for status, ids in by_status.items():
            chunks = [ids[at : at + PAGE] for at in range(0, len(ids), PAGE)]
            self._turn += 1
            jobs = await self._feed.source.jobs_changed(listing, chunks[self._turn % len(chunks)], status)
            await self._learn(list(jobs))

    async def _look_for_deleted(self, listing: Listing) -> None:
        ids = [
            job_id
            for job_id, followed in self._following.jobs.items()
            if not followed.over and listing_of(followed.key.job_type) == listing
        ]
        for at in range(0, len(ids), PAGE):
            chunk = ids[at : at + PAGE]
            existing = await self._feed.source.jobs_existing(listing, chunk)
            for job_id in chunk:
                if job_id not in existing:
                    await self._following.vanished(job_id)
