"""A source made of scripted jobs in virtual time: what `bridge.awx` promises, without HTTP."""

import asyncio
from dataclasses import dataclass, field

import msgspec

from bridge.errors import SourceRefused
from bridge.model import AwxEvent, EventPage, HostSummary, Job, JobKey, SourceIdentity
from bridge.ports import Purpose, listing_of


@dataclass
class ScriptedJob:
    """One job: loop times at which it appears, changes status, and shows each row."""

    key: JobKey
    appears: float = 0.0
    statuses: tuple[tuple[float, str], ...] = ((0.0, "running"), (5.0, "successful"))
    rows: dict[int, float] = field(default_factory=dict)
    """Counter to the time at which it is readable; `inf` for never."""
    emitted: int | tuple[tuple[float, int], ...] | None = None
    """What AWX says it emitted, or from when on; None for as many as there are `rows`."""
    deleted: float = float("inf")
    further: tuple[AwxEvent, ...] = ()
    further_at: float = 0.0
    cleaned: float = float("inf")
    """When a cleanup drops every row and leaves the job."""
    hidden: tuple[float, float] = (float("inf"), float("inf"))
    """From when to when the user has no role for it: in no list, and refused."""
    created: str = ""

    def status(self, now):
        shown = [status for moment, status in self.statuses if moment <= now]
        return shown[-1] if shown else "new"


def row(counter, *, event="runner_on_ok", stdout="", number=None):
    return AwxEvent(
        counter=counter,
        event=event,
        id=number or counter,
        uuid=f"u{counter}",
        created="2026-11-23T07:48:11.693750Z",
        stdout=stdout or f"line {counter}",
        event_data=msgspec.Raw(b'{"task_action": "debug"}'),
    )


def _unusual(purpose, usual=Purpose.CLOSING):
    """Return what `calls` shall show of a purpose: nothing of the usual one."""
    return () if purpose is usual else (purpose,)


class FakeSource:
    """`ports.Source` over scripted jobs. `failure`, when set, is raised by every call."""

    def __init__(self, name="prod", *jobs):
        self.name = name
        self.jobs = {job.key.job_id: job for job in jobs}
        self.failure = None
        self.failing = {}
        self.install_uuid = "11111111-1111-1111-1111-111111111111"
        self.calls = []
        self.latency = 0.0

    async def _ask(self, what, *facts):
        self.calls.append((what, *facts))
        if self.latency:
            await asyncio.sleep(self.latency)
        if self.failure is not None:
            raise self.failure
        if what in self.failing:
            raise self.failing[what]
        return asyncio.get_running_loop().time()

    def _visible(self, listing, now):
        return [
            job
            for job in self.jobs.values()
            if listing_of(job.key.job_type) == listing
            and job.appears <= now < job.deleted
            and not job.hidden[0] <= now < job.hidden[1]
        ]

    def _row(self, job, now):
        status = job.status(now)
        over = status in {"successful", "failed", "error", "canceled"}
        return Job(
            key=job.key,
            status=status,
            name=f"job {job.key.job_id}",
            created=job.created or f"2026-11-23T07:00:{job.key.job_id % 60:02}.000000Z",
            started=None if status in {"new", "pending", "waiting"} else "2026-11-23T07:01:00.000000Z",
            finished="2026-11-23T07:02:00.000000Z" if over else None,
        )

    async def identify(self):
        await self._ask("identify")
        return SourceIdentity(version="24.6.1", install_uuid=self.install_uuid)

    async def newest_id(self):
        now = await self._ask("newest_id")
        listings = {listing_of(job.key.job_type) for job in self.jobs.values()}
        shown = [job.key.job_id for listing in listings for job in self._visible(listing, now)]
        return max(shown, default=0)

    async def first_id_since(self, moment):
        await self._ask("first_id_since", moment)
        return min(self.jobs, default=None)

    async def jobs_above(self, listing, job_id, /):
        now = await self._ask("jobs_above", listing, job_id)
        rows = sorted(self._visible(listing, now), key=lambda job: job.key.job_id)
        return [self._row(job, now) for job in rows if job.key.job_id > job_id][:200]

    async def jobs_finished(self, listing, job_id, /, *, since, statuses):
        now = await self._ask("jobs_finished", listing, job_id, since, tuple(statuses))
        rows = sorted(self._visible(listing, now), key=lambda job: job.key.job_id)
        rows = [self._row(job, now) for job in rows if job.key.job_id > job_id]
        return [
            job
            for job in rows
            if job.finished and job.finished > (since or "") and (not statuses or job.status in statuses)
        ][:200]

    async def jobs_active(self, listing, /):
        now = await self._ask("jobs_active", listing)
        rows = [self._row(job, now) for job in self._visible(listing, now)]
        return sorted((job for job in rows if not job.terminal), key=lambda job: job.key.job_id)

    async def jobs_changed(self, listing, ids, status, /):
        now = await self._ask("jobs_changed", listing, tuple(ids), status)
        rows = [self._row(job, now) for job in self._visible(listing, now) if job.key.job_id in ids]
        return [job for job in rows if job.status != status]

    async def jobs_existing(self, listing, ids, /):
        now = await self._ask("jobs_existing", listing, tuple(ids))
        return frozenset(job.key.job_id for job in self._visible(listing, now)) & frozenset(ids)

    async def _find(self, what, key, *facts):
        now = await self._ask(what, key, *facts)
        job = self.jobs.get(key.job_id)
        if job is None or job.deleted <= now:
            raise SourceRefused("not found", status=404)
        if job.hidden[0] <= now < job.hidden[1]:
            raise SourceRefused("no permission", status=403)
        return job, now

    async def job(self, key, /, *, purpose=Purpose.LIVE):
        job, now = await self._find("job", key, *_unusual(purpose, Purpose.LIVE))
        return self._row(job, now)

    def _rows(self, job, now):
        if now >= job.cleaned:
            return []
        shown = [row(counter) for counter, moment in job.rows.items() if moment <= now]
        shown += [
            extra for extra in job.further if max(job.further_at, job.rows.get(extra.counter, 0.0)) <= now
        ]
        return sorted(shown, key=lambda one: (one.counter, one.id))

    async def events_after(self, key, counter, /, *, limit, purpose):
        job, now = await self._find("events_after", key, counter, purpose)
        rows = [one for one in self._rows(job, now) if one.counter > counter]
        last = rows[limit - 1].counter if len(rows) >= limit else None
        cut = rows if last is None else [one for one in rows if one.counter <= last]
        return EventPage(rows=tuple(cut), full=last is not None)

    async def events_at(self, key, counters, /, *, purpose):
        job, now = await self._find("events_at", key, tuple(counters), purpose)
        rows = [one for one in self._rows(job, now) if one.counter in counters]
        return EventPage(rows=tuple(rows), full=False)

    def _emitted(self, job, now):
        if isinstance(job.emitted, tuple):
            return next((count for moment, count in reversed(job.emitted) if moment <= now), 0)
        return len(job.rows) if job.emitted is None else job.emitted

    async def emitted_is(self, key, total, /, *, purpose=Purpose.CLOSING):
        job, now = await self._find("emitted_is", key, total, *_unusual(purpose))
        return self._emitted(job, now) == total

    async def emitted_above(self, key, total, /, *, purpose=Purpose.CLOSING):
        job, now = await self._find("emitted_above", key, total, *_unusual(purpose))
        return self._emitted(job, now) > total

    async def event_count(self, key, /, *, purpose=Purpose.CLOSING):
        job, now = await self._find("event_count", key, *_unusual(purpose))
        rows = self._rows(job, now)
        return len(rows), max((one.counter for one in rows), default=0)

    async def hosts(self, key, /, *, purpose=Purpose.CLOSING):
        await self._find("hosts", key, *_unusual(purpose))
        return [HostSummary(host="web1", ok=3)]

    async def failures(self, key, /, *, purpose=Purpose.CLOSING):
        await self._find("failures", key, *_unusual(purpose))
        return []


class FakeSink:
    """Keeps what it accepts; `script` is called with each batch and may raise."""

    def __init__(self, script=None):
        self.events = []
        self.batches = []
        self.script = script
        self.delay = 0.0

    async def send(self, events, /):
        self.batches.append([event.id for event in events])
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.script is not None:
            self.script(events)
        self.events += events

    @property
    def ids(self):
        return [event.id for event in self.events]
