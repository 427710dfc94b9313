"""Sends what a sink lacks of chosen jobs, or all of it once more, by order of an operator.

A job whose place is known goes through that place: each event once. What is not known any more, and
what is asked for again, goes apart from the places and is marked `replayed`. How far it is, is noted
after every page, so that a bridge that is killed goes on there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar

import msgspec

from bridge.anew import Lost, guarded
from bridge.apart import Apart
from bridge.catch_up import by_counter
from bridge.deliver import Delivery
from bridge.encode import replayed
from bridge.errors import OrderError, SourceError, SourceRefused, SourceUnavailable
from bridge.follow import Following
from bridge.keep import Keeper
from bridge.ledger import Ranges
from bridge.model import Event, Job, JobKey, Order, Outcome, StatusSeen
from bridge.ports import Clock, Listing, Observer, Purpose, Source, State
from bridge.prepare import Prepared, Preparer
from bridge.receipt import receipt_now

T = TypeVar("T")

LISTINGS: Final[tuple[Listing, ...]] = ("unified_jobs", "system_jobs", "workflow_approvals")

STARTS: Final = 3
"""How often a bridge may end at the same point of a replay before it is not begun again."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether a sink has what it lacked of a job."""

ASKS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0, 60.0, 60.0)
"""Seconds before each further try of a question that AWX does not answer."""

PAGE: Final = 200

TOLD: Final = 1_000
"""Jobs that are told of one by one."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the operator names it; without a type it is looked for."""

    source: str
    id: int
    type: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments: either `jobs`, or those of `sources` that finished after `since` in `statuses`."""

    to: str
    jobs: tuple[Named, ...] = ()
    sources: tuple[str, ...] = ()
    since: str | None = None
    statuses: tuple[str, ...] = ()
    dry_run: bool = False
    again: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job: `events` sent (of a dry run: about how many there are), or `why` none were."""

    job: str
    name: str = ""
    status: str = ""
    events: int = 0
    why: str | None = None


class Progress(msgspec.Struct, kw_only=True):
    """How far a replay is: in its list of jobs (`at`, `above`), and in the current `job`.

    `upto` are the newest ids at the start; `rows` and `missing` is what was read of the job up to
    `counter`, `sent` what was sent of it; `starts` those since it last moved.
    """

    starts: int = 0
    at: int = 0
    above: int = 0
    upto: dict[str, int] = {}
    job: str | None = None
    counter: int = 0
    rows: int = 0
    sent: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    jobs: int = 0
    events: int = 0
    refused: int = 0
    left: int = 0
    told: list[Told] = []


class Room(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What all replays share. `parked` are the sources where another AWX may answer, and why."""

    sources: Mapping[str, Source]
    followings: Mapping[str, Following]
    parked: Mapping[str, str]
    deliveries: Mapping[str, Delivery]
    preparer: Preparer
    keeper: Keeper
    state: State
    clock: Clock
    observer: Observer

    def handlers(self) -> dict[str, Callable[[Order], Awaitable[Outcome]]]:
        """Return what carries out which kind of order; begun ones go on after a restart."""
        return {"replay.run": self.run}

    async def run(self, order: Order) -> Outcome:
        """Replay; the details are counts, and what became of each of the first 1,000 jobs.

        Raises:
            OrderError: it cannot be done as asked, or the sink takes nothing any more.
            SourceError: AWX does not answer for too long.
            StateError: it cannot be noted how far this is.
        """
        try:
            asked = msgspec.convert(order.arguments, Asked)
            progress = msgspec.convert(order.progress or {}, Progress)
        except msgspec.ValidationError as err:
            raise OrderError(f"{order.kind} cannot be understood: {err}") from err
        delivery = self.deliveries.get(asked.to)
        if delivery is None:
            raise OrderError(f"sink {asked.to} is not in the configuration")
        if progress.starts >= STARTS:
            raise OrderError(f"the bridge ended {STARTS} times at the same point of this: {_told(progress)}")
        progress.starts += 1
        apart = Apart(delivery, bury=self.keeper.dead_letter, clock=self.clock, observer=self.observer)
        self.observer.note("replay.started", sink=asked.to, who=order.who, resumed=order.begun)
        replay = Replay(self, order.id, asked, progress, apart=apart)
        await replay.run()
        facts = {"jobs": progress.jobs, "events": progress.events, "refused": progress.refused}
        self.observer.note("replay.ended", sink=asked.to, **facts, left=progress.left)
        return _outcome(asked, progress)


class Replay:
    """One order while it is carried out."""

    def __init__(self, room: Room, number: int, asked: Asked, progress: Progress, *, apart: Apart) -> None:
        """Go on where `progress` says."""
        self._room = room
        self._number = number
        self._asked = asked
        self._progress = progress
        self._apart = apart

    async def run(self) -> None:
        """Replay job after job."""
        await self._note()
        async with aclosing(self._named() if self._asked.jobs else self._listed()) as jobs:
            async for job in jobs:
                self._tell(await self._job(job))

    async def _note(self) -> None:
        await self._room.state.note_progress(self._number, msgspec.to_builtins(self._progress))

    async def _moved(self) -> None:
        self._progress.starts = 0
        await self._note()

    def _tell(self, told: Told) -> None:
        progress = self._progress
        progress.job, progress.counter, progress.rows, progress.sent, progress.missing = None, 0, 0, 0, ()
        progress.jobs += 1
        progress.left += told.why is not None
        if len(progress.told) < TOLD:
            progress.told.append(told)

    async def _named(self) -> AsyncGenerator[Job]:
        for named in self._asked.jobs[self._progress.at :]:
            source = self._source(named.source)
            job = await self._find(source, named)
            if job is not None:
                yield job
            else:
                name = "/".join(
                    str(part) for part in (named.source, named.type, named.id) if part is not None
                )
                self._tell(Told(job=name, why="AWX shows no such job"))
            self._progress.at += 1
            await self._moved()

    async def _find(self, source: Source, named: Named) -> Job | None:
        if named.type is not None:
            key = JobKey(named.source, named.type, named.id)
            return await self._gone_or(partial(source.job, key, purpose=Purpose.BACKFILL))
        for listing in LISTINGS:
            for job in (await self._ask(partial(source.jobs_above, listing, named.id - 1)))[:1]:
                if job.key.job_id == named.id:
                    return await self._gone_or(partial(source.job, job.key, purpose=Purpose.BACKFILL))
        return None

    async def _listed(self) -> AsyncGenerator[Job]:
        progress, asked = self._progress, self._asked
        for name in asked.sources:
            if name not in progress.upto:
                progress.upto[name] = await self._ask(self._source(name).newest_id)
        lists = [(name, listing) for name in asked.sources for listing in LISTINGS]
        for name, listing in lists[progress.at :]:
            source = self._source(name)
            more = True
            while more:
                page = await self._ask(
                    partial(
                        source.jobs_finished,
                        listing,
                        progress.above,
                        since=asked.since,
                        statuses=asked.statuses,
                    )
                )
                for job in (job for job in page if job.key.job_id <= progress.upto[name]):
                    yield job
                    progress.above = job.key.job_id
                    await self._moved()
                more = bool(page) and page[-1].key.job_id <= progress.upto[name]
            progress.at, progress.above = progress.at + 1, 0
            await self._moved()

    def _source(self, name: str) -> Source:
        if name not in self._room.sources:
            raise OrderError(f"source {name} is not in the configuration")
        if name in self._room.parked:
            raise OrderError(f"source {name} is parked: {self._room.parked[name]}")
        return self._room.sources[name]

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask AWX, again and again while it does not answer."""
        for pause in ASKS:
            try:
                return await question()
            except SourceUnavailable as error:
                await asyncio.sleep(max(pause, error.retry_after or 0.0))
        return await question()

    async def _gone_or(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Ask AWX about a job; None when it has no such job."""
        try:
            return await self._ask(question)
        except SourceRefused as error:
            if error.gone:
                return None
            raise

    async def _job(self, job: Job) -> Told:
        asked, key = self._asked, job.key
        following = self._room.followings[key.source]
        told = Told(job=str(key), name=job.name, status=job.status)
        try:
            if following.remembers(key, asked.to) and not asked.again:
                return await self._through_the_place(told, job, following)
            if not job.terminal:
                return msgspec.structs.replace(told, why="it has not finished")
            if asked.dry_run:
                return msgspec.structs.replace(told, events=await self._readable(job, rows=True))
            return msgspec.structs.replace(told, events=await self._apart_from_places(job))
        except SourceUnavailable:
            raise
        except SourceError as error:
            return msgspec.structs.replace(told, why=str(error))

    async def _readable(self, job: Job, *, rows: bool = False) -> int:
        """Return the highest counter that can be read, or the number of rows."""
        if not job.has_events:
            return 0
        source = self._room.sources[job.key.source]
        counts = await self._ask(partial(source.event_count, job.key, purpose=Purpose.BACKFILL))
        return counts[0 if rows else 1]

    async def _through_the_place(self, told: Told, job: Job, following: Following) -> Told:
        """Have the sink get what its place says it lacks."""
        key, lane = job.key, self._apart.delivery.lane
        if following.reads(key):
            return msgspec.structs.replace(told, why="it is being followed: the sink gets all of it")
        top = await self._readable(job)
        lacks = following.lacks(key, lane.name, top=top)
        if self._asked.dry_run or not lacks:
            return msgspec.structs.replace(told, events=lacks)
        followed = following.serve_again(key, lane.name, top=top)
        while following.jobs.get(key.job_id) is followed and (
            lane.name in followed.lagging or lane.stream(key).outstanding
        ):
            self._source(key.source)
            await asyncio.sleep(LOOK_EVERY)
        got = lacks - following.lacks(key, lane.name, top=top)
        self._progress.events += got
        self._room.observer.count("events_replayed_total", got, sink=lane.name)
        return msgspec.structs.replace(told, events=got)

    async def _apart_from_places(self, job: Job) -> int:
        """Send every event that today's rules send to the sink, then its last status; return how many."""
        source, progress = self._room.sources[job.key.source], self._progress
        if progress.job != str(job.key):
            progress.job = str(job.key)
            await self._moved()
        full = job.has_events
        while full:
            page = await self._ask(
                partial(source.events_after, job.key, progress.counter, limit=PAGE, purpose=Purpose.BACKFILL)
            )
            rows = by_counter(page)
            made = [
                guarded(partial(self._room.preparer.event, row, job, repeat=n))
                for counter in sorted(rows)
                for n, row in enumerate(rows[counter], 1)
            ]
            await self._send([one for one in made if not isinstance(one, Lost)])
            self._read(sorted(rows), len(made))
            progress.refused += sum(isinstance(one, Lost) for one in made)
            full = page.full and bool(page.rows)
            await self._moved()
        await self._send([await self._status(job)])
        return progress.sent

    def _read(self, counters: list[int], rows: int) -> None:
        """Note what was read above the counter that this was at."""
        missing = Ranges(self._progress.missing)
        for counter in counters:
            missing.add(self._progress.counter + 1, counter - 1)
            self._progress.counter = counter
        self._progress.missing = missing.pairs()
        self._progress.rows += rows

    async def _status(self, job: Job) -> Prepared:
        """Make the job's last status: as it was told, or with a receipt of what AWX shows now."""
        progress, record = self._progress, await self._room.state.job(job.key)
        if record is not None and record.close is not None and record.statuses[-1].status == job.status:
            return self._room.preparer.status(record.statuses[-1], job, record.close)
        seen = StatusSeen(number=1, status=job.status, repeat=1, previous=None, time=job.finished or "")
        source = self._room.sources[job.key.source]
        close = await self._ask(
            partial(
                receipt_now, source, job, rows=progress.rows, top=progress.counter, missing=progress.missing
            )
        )
        close, _ = self._room.preparer.clean(close)
        return self._room.preparer.status(seen, job, close)

    async def _send(self, made: list[Prepared]) -> None:
        """Send what a rule sends to the sink."""
        sink = self._asked.to
        events: list[Event] = [replayed(one.event) for one in made if sink in one.sinks]
        refused = await self._apart.send(events)
        accepted = len(events) - refused
        self._progress.refused += refused
        self._progress.events += accepted
        self._progress.sent += accepted
        self._room.observer.count("events_replayed_total", accepted, sink=sink)


def _told(progress: Progress) -> str:
    """Say how much was done."""
    parts = [_some(progress.jobs, "job"), f"{_some(progress.events, 'event')} sent"]
    parts += [f"{progress.refused} refused, see the dead letters"] if progress.refused else []
    parts += [f"{_some(progress.left, 'job')} left out"] if progress.left else []
    return ", ".join(parts)


def _some(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _outcome(asked: Asked, progress: Progress) -> Outcome:
    details = {
        "to": asked.to,
        "dry_run": asked.dry_run,
        "events": progress.events,
        "refused": progress.refused,
        "left": progress.left,
        "jobs": progress.jobs,
        "told": msgspec.to_builtins(progress.told),
    }
    sentence = f"replayed to {asked.to}: {_told(progress)}"
    if asked.dry_run:
        about = sum(told.events for told in progress.told)
        jobs, left = _some(progress.jobs - progress.left, "job"), _some(progress.left, "job")
        sentence = f"would replay to {asked.to}: {jobs}, about {_some(about, 'event')}"
        sentence += f"; {left} left out" if progress.left else ""
    done = not (progress.refused or (asked.jobs and progress.left))
    return Outcome(done=done, sentence=sentence, details=details)
