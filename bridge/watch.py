"""Finds the jobs of one source, and sees their statuses change.

AWX shows no list of changes (`modified` does not follow the status, awx-facts section 3), so jobs
are found by id past a durable mark, and the open ones are asked for only where their status is no
longer the known one. Ids become visible out of order: the mark moves only over ids that were first
seen a while ago.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final, Literal, NamedTuple

import msgspec

from bridge.errors import SourceDataError, SourceError, SourceRefused, SourceUnavailable
from bridge.feed import Feed, Patience
from bridge.follow import Following
from bridge.model import Job, SourceRecord
from bridge.ports import Listing, listing_of

BEAT: Final[Mapping[Listing, float]] = {
    "unified_jobs": 2.0,
    "workflow_approvals": 5.0,
    "system_jobs": 10.0,
}
"""Seconds between two looks for new jobs and changed statuses."""

LOOK_BACK_EVERY: Final = 15.0
"""Seconds between two looks from the durable mark on, which find ids that became visible late, and
statuses that were replaced.
"""

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

    def __init__(self, trouble: Trouble, source: str, what: str) -> None:
        """Keep which trouble it is; say `what` it is, and what can be done."""
        self.trouble = trouble
        super().__init__(
            f"source {source}: {what}. Nothing is read from it until somebody decides: if this is not the "
            f"AWX that {source} stands for, point its url back to that one and restart; if it is the one to "
            "follow from now on, give the source another name in the configuration and restart, and it is "
            "followed like a new one"
        )


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
        self._turns: Counter[tuple[Listing, str]] = Counter()
        self._unseen: dict[int, Patience] = {}

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
        self._feed.answering.failed()
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
        self._feed.answering.answered(asyncio.get_running_loop().time())
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
        now = identity.install_uuid
        if None not in (record.install_uuid, now) and record.install_uuid != now:
            raise SourceParked(
                "replaced",
                source.name,
                f"another AWX answers: its install_uuid is {now}, and was {record.install_uuid}",
            )
        newest = await source.newest_id()
        known = max(record.marks.values(), default=0)
        if newest < known and not await self._is_hidden(newest):
            raise SourceParked(
                "rewound",
                source.name,
                f"AWX seems to be restored from a backup: its newest job is {newest}, and {known} was seen "
                "before (should that one merely be deleted or hidden from the bridge's user, restart once "
                "a newer job can be seen)",
            )
        if record.install_uuid is None:
            self._record = msgspec.structs.replace(record, install_uuid=now)
            self._feed.keeper.source(source.name, self._record)

    async def _is_hidden(self, newest: int) -> bool:
        """Whether AWX still has jobs above the `newest` that it shows: its user has lost a role."""
        if newest == 0:
            return True
        known = self._following.newest()
        if known is None or known.job_id <= newest:
            return False
        try:
            await self._feed.source.job(known)
        except SourceRefused as error:
            return not error.gone
        return True

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
            if first is None:
                await self._step_back(marks, {job.key.job_id for job in active})
        self._feed.keeper.source(source.name, SourceRecord(install_uuid=install_uuid, marks=marks))
        self._feed.observer.note("discovery.started", source=source.name, start=start, active=len(active))
        await self._learn(active)
        await self._feed.keeper.durable()
        self._record = SourceRecord(install_uuid=install_uuid, marks=marks)

    async def _step_back(self, marks: dict[str, int], active: Collection[int]) -> None:
        """Begin a little below the newest id, where ids may yet become visible; what is over is not news."""
        for listing in self._listings:
            marks[listing] = max(0, marks[listing] - PAGE)
            for job in await self._feed.source.jobs_above(listing, marks[listing]):
                if job.terminal and job.key.job_id not in active:
                    self._following.ignore(job)

    async def _learn(self, jobs: list[Job]) -> None:
        await self._following.learn([job for job in jobs if self._followed(job)])

    def _followed(self, job: Job) -> bool:
        known = self._following.known(job.key.job_id)
        if known is None:
            return job.key.job_type in self._scope.types and not self._scope.excluded(job)
        if known.key != job.key or _differ(known.created, job.created):
            raise SourceParked(
                "rewound",
                self._feed.source.name,
                f"AWX seems to be restored from a backup: job {job.key.job_id} is another one than before",
            )
        return True

    async def _beat(self) -> None:
        for listing in self._listings:
            if self._is_due(listing, BEAT[listing]):
                await self._look_for_new(listing)
                await self._look_for_changes(listing)
        if self._is_due("deleted", CHECK_EVERY):
            for listing in self._listings:
                await self._look_for_deleted(listing)
                self._following.forget(listing, self._mark(listing))

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

    async def _look_for_changes(self, listing: Listing) -> None:
        """Ask for those jobs whose status is no longer the known one; where it is final, now and then."""
        await self._ask_for_changed(listing, self._following.unfinished(listing))
        if self._is_due(f"corrections {listing}", LOOK_BACK_EVERY):
            await self._ask_for_changed(listing, self._following.correctable(listing, self._mark(listing)))

    async def _ask_for_changed(self, listing: Listing, jobs: Iterable[Job]) -> None:
        """Ask in one question per status, of more jobs than fit in one for a share at each look."""
        by_status: dict[str, list[int]] = {}
        for job in jobs:
            by_status.setdefault(job.status, []).append(job.key.job_id)
        for status, ids in by_status.items():
            chunks = [ids[at : at + PAGE] for at in range(0, len(ids), PAGE)]
            self._turns[listing, status] += 1
            chunk = chunks[self._turns[listing, status] % len(chunks)]
            await self._learn(list(await self._feed.source.jobs_changed(listing, chunk, status)))

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
                if job_id in existing:
                    self._unseen.pop(job_id, None)
                else:
                    await self._look_for_unlisted(job_id)
        self._unseen = {n: patience for n, patience in self._unseen.items() if n in self._following.jobs}

    async def _look_for_unlisted(self, job_id: int) -> None:
        """Learn why a job is in no list: it is deleted, or AWX will not show it to this user any more."""
        followed = self._following.jobs.get(job_id)
        if followed is None or followed.over:
            return
        unseen = self._unseen.get(job_id)
        if unseen is not None and not unseen.spent:
            return
        try:
            job = await self._feed.source.job(followed.key)
        except SourceRefused as error:
            if error.gone:
                await self._following.vanished(job_id)
            elif error.status != HTTPStatus.FORBIDDEN:
                raise
            elif unseen is None:
                self._unseen[job_id] = Patience(self._feed)
                self._unseen[job_id].failed()
            else:
                await self._following.vanished(job_id, f"no longer shown to the bridge's user: {error}")
        else:
            self._unseen.pop(job_id, None)
            await self._learn([job])


def _differ(one: str | None, other: str | None) -> bool:
    """Whether two times that AWX wrote are different moments; other spellings of one are the same."""
    if one is None or other is None or one == other:
        return False
    try:
        return datetime.fromisoformat(one) != datetime.fromisoformat(other)
    except (ValueError, TypeError):
        return True
