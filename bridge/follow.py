"""The jobs of one source: what is known of each open one, and what may yet change of the finished ones.

Every status is written down before any sink hears of it. A job stays open until every sink has
settled its last status; it is opened again when AWX replaces that status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from bridge.catch_up import catch_up
from bridge.errors import SourceError
from bridge.feed import Feed
from bridge.followed import Followed
from bridge.ledger import Ranges
from bridge.model import Close, Job, JobKey, JobRecord, Place
from bridge.ports import Listing, Purpose, listing_of
from bridge.sequence import COUNTERS_AT_MOST
from bridge.tail import Tail


class Done(NamedTuple):
    """A finished job, while its status may still be replaced; `sinks` are those that had it."""

    record: JobRecord
    places: Mapping[str, Place]
    sinks: frozenset[str]


class Following:
    """Which jobs of one source are open, and the tasks that read them."""

    def __init__(self, feed: Feed) -> None:
        self.jobs: dict[int, Followed] = {}
        self.done: dict[int, Done] = {}
        self._feed = feed
        self._tasks: asyncio.TaskGroup | None = None
        self._looks: dict[int, int] = {}

    def restore(self, record: JobRecord, places: Mapping[str, Place]) -> None:
        """Take up a job that state remembers, before `run`."""
        if record.done:
            self._remember(record, places)
        else:
            self.jobs[record.job.key.job_id] = self._followed(record, places)

    def _followed(self, record: JobRecord, places: Mapping[str, Place]) -> Followed:
        return Followed(self._feed, record, places, fallen_behind=self._catch_up)

    def _remember(self, record: JobRecord, places: Mapping[str, Place]) -> None:
        """Keep what a correction takes; hosts and failures will be asked for anew."""
        record = msgspec.structs.replace(record, close=_slim(record.close), done=True)
        odd = {name: place for name, place in places.items() if _is_odd(place, record.close)}
        self.done[record.job.key.job_id] = Done(record, odd, frozenset(places))

    def known(self, job_id: int) -> Job | None:
        """Return what was last seen of a job, None when it is not known (any more)."""
        followed, done = self.jobs.get(job_id), self.done.get(job_id)
        record = followed.record if followed else done.record if done else None
        return None if record is None else record.job

    def newest(self) -> JobKey | None:
        """Return the known job with the greatest id, None when none is known."""
        keys = [followed.key for followed in self.jobs.values()]
        keys += [done.record.job.key for done in self.done.values()]
        return max(keys, key=lambda key: key.job_id, default=None)

    async def run(self) -> None:
        """Read every open job until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for followed in list(self.jobs.values()):
                self._begin(followed)
            await asyncio.get_running_loop().create_future()

    def _begin(self, followed: Followed) -> None:
        if self._tasks is None:
            return
        followed.offer_statuses()
        if not (followed.over or followed.tailing):
            followed.tailing = True
            self._tasks.create_task(self._tail(followed), name=f"tail {followed.key}")
        if followed.lagging:
            self._catch_up(followed)
        self._finish(followed)

    async def _tail(self, followed: Followed) -> None:
        while not followed.over:  # a job may be opened again while it is being closed
            await Tail(followed).run()
        followed.tailing = False
        close = _slim(followed.record.close)
        if close is not None and not (close.complete or followed.gone) and self._tasks is not None:
            look = self._look_again(followed.key, close, len(followed.record.statuses))
            self._looks[followed.key.job_id] = self._looks.get(followed.key.job_id, 0) + 1
            self._tasks.create_task(look, name=f"last look {followed.key}")
        self._finish(followed)

    async def _look_again(self, key: JobKey, close: Close, statuses: int) -> None:
        """Ask once, a while after an incomplete receipt, whether what it lacks has appeared."""
        feed = self._feed
        await asyncio.sleep(feed.patience)
        self._looks[key.job_id] -= 1
        if not self._looks[key.job_id]:
            del self._looks[key.job_id]
        followed, done = self.jobs.get(key.job_id), self.done.get(key.job_id)
        record = followed.record if followed else done.record if done else None
        if record is None or len(record.statuses) != statuses:
            return
        missing = Ranges(close.missing).first(COUNTERS_AT_MOST)
        purpose, limit = Purpose.BACKFILL, COUNTERS_AT_MOST
        try:
            if missing:
                page = await feed.source.events_at(key, missing, purpose=purpose)
            else:
                page = await feed.source.events_after(key, close.last_counter, limit=limit, purpose=purpose)
        except SourceError:
            return
        if page.rows:
            counters = [row.counter for row in page.rows]
            feed.observer.count("events_after_close_total", len(counters), source=key.source)
            feed.observer.note(
                "event.after_close",
                source=key.source,
                job=str(key),
                events=len(counters),
                first=counters[0],
                last=counters[-1],
            )

    def _catch_up(self, followed: Followed) -> None:
        if self._tasks is not None and not followed.catching_up:
            followed.catching_up = True
            self._tasks.create_task(self._caught_up(followed), name=f"catch-up {followed.key}")

    async def _caught_up(self, followed: Followed) -> None:
        await catch_up(followed)
        self._finish(followed)

    async def learn(self, jobs: Sequence[Job]) -> None:
        """Take in rows of AWX's lists: new jobs, and changed ones.

        Returns when every status seen is durable and offered.
        """
        news: dict[int, Followed] = {}
        changed: list[Followed] = []
        for job in jobs:
            followed = self.jobs.get(job.key.job_id) or news.get(job.key.job_id) or self._again(job)
            if followed is not None:
                if followed.see(job, self._feed.clock.now()):
                    changed.append(followed)
            elif job.key.job_id not in self.done:
                news[job.key.job_id] = self._discover(job)
        if not news and not changed:
            return
        await self._feed.keeper.durable()
        self.jobs |= news
        self._feed.observer.gauge("jobs_open", len(self.jobs), source=self._feed.source.name)
        for followed in (*news.values(), *changed):
            self._begin(followed)
            followed.changed.set()

    def _again(self, job: Job) -> Followed | None:
        """Open a finished job again when AWX has replaced its last status."""
        done = self.done.get(job.key.job_id)
        if done is None or done.record.close is None or job.status in (done.record.job.status, "new"):
            return None
        if done.record.statuses[-1].status == "deleted":
            return None
        return self._reopen(done)

    def _reopen(self, done: Done) -> Followed:
        job_id = done.record.job.key.job_id
        del self.done[job_id]
        record = msgspec.structs.replace(done.record, done=False)
        places = {name: _settled(record, done.places.get(name, Place())) for name in self._feed.lanes}
        followed = self.jobs[job_id] = self._followed(record, places)
        return followed

    def remembers(self, key: JobKey, sink: str) -> bool:
        """Whether it is known how far `sink` is in this job."""
        done = self.done.get(key.job_id)
        if done is not None:
            return done.record.close is not None and sink in done.sinks
        return key.job_id in self.jobs

    def reads(self, key: JobKey) -> bool:
        """Whether this job is still read: every sink gets all of it anyway."""
        return key.job_id in self.jobs and not self.jobs[key.job_id].over

    def lacks(self, key: JobKey, sink: str, *, top: int) -> int:
        """Return how many counters up to `top` a sink has not settled of a remembered job that is over."""
        done = self.done.get(key.job_id)
        if done is None:
            place = self._feed.lanes[sink].place(key)
        else:
            place = self._feed.lanes[sink].place_of(
                key, _settled(done.record, done.places.get(sink, Place()))
            )
        return len(Ranges(place.wanted)) + max(0, top - place.through)

    def serve_again(self, key: JobKey, sink: str, *, top: int) -> Followed:
        """Have `sink` get what it has not settled of a remembered, closed job that now goes up to `top`."""
        done = self.done.get(key.job_id)
        followed = self.jobs[key.job_id] if done is None else self._reopen(done)
        followed.released = max(followed.released, top)
        followed.purpose = Purpose.BACKFILL
        followed.fall_behind(self._feed.lanes[sink])
        return followed

    def ignore(self, job: Job) -> None:
        """Remember a job that was over before the very first start: it is never followed."""
        record = JobRecord(job=job, first_seen=self._feed.clock.now(), done=True)
        self._remember(record, {})
        self._feed.keeper.job(record)

    def _discover(self, job: Job) -> Followed:
        feed = self._feed
        record = JobRecord(job=msgspec.structs.replace(job, status="new"), first_seen=feed.clock.now())
        followed = self._followed(record, {})
        followed.see(job, feed.clock.now())
        feed.keeper.job(followed.record)
        feed.observer.note(
            "job.discovered",
            source=feed.source.name,
            job=str(job.key),
            name=feed.preparer.name_of(job),
            status=job.status,
        )
        return followed

    async def vanished(self, job_id: int, reason: str | None = None) -> None:
        """AWX no longer has this job, or will not show it (`reason`): stop following it."""
        followed = self.jobs.get(job_id)
        if followed is not None and not followed.over:
            await followed.vanish(reason)

    def moved(self, sink: str, key: JobKey, place: Place) -> None:
        """Keep the place that a lane reports; the job may be finished with."""
        self._feed.keeper.place(key, sink, place)
        followed = self.jobs.get(key.job_id)
        if followed is not None:
            self._finish(followed)

    def _finish(self, followed: Followed) -> None:
        if not followed.settled or followed.key.job_id not in self.jobs:
            return
        feed, key = self._feed, followed.key
        del self.jobs[key.job_id]
        self._remember(followed.record, {n: lane.place(key) for n, lane in feed.lanes.items()})
        feed.keeper.job(msgspec.structs.replace(followed.record, done=True))
        for lane in feed.lanes.values():
            lane.close(key)
        feed.observer.gauge("jobs_open", len(self.jobs), source=feed.source.name)

    def give_up_lagging(self, max_lag: Mapping[str, float]) -> None:
        """Let sinks go on without jobs that they have owed for longer than their `max_lag` seconds."""
        now = self._feed.clock.now()
        for followed in list(self.jobs.values()):
            over_at = followed.record.over_at
            for name, lane in self._feed.lanes.items():
                if followed.over and over_at is not None and now - over_at > max_lag[name]:
                    followed.abandon(lane)

    def unfinished(self, listing: Listing) -> Iterator[Job]:
        """Yield the jobs of which AWX may say any moment that they have gone on or ended."""
        for followed in self.jobs.values():
            job = followed.record.job
            if not (followed.over or job.terminal) and listing_of(job.key.job_type) == listing:
                yield job

    def correctable(self, listing: Listing, mark: int) -> Iterator[Job]:
        """Yield the jobs up to `mark`, which no list shows by itself, whose end AWX may yet replace.

        These are the open ones that are over in AWX, and the ones that were closed incomplete, for as
        long as a last look at them is due: jobs whose node died are always among those.
        """
        over = [followed.record for followed in self.jobs.values() if not followed.gone]
        over += [self.done[job_id].record for job_id in self._looks if job_id in self.done]
        for record in over:
            job = record.job
            if job.terminal and job.key.job_id <= mark and listing_of(job.key.job_type) == listing:
                yield job

    def forget(self, listing: Listing, mark: int) -> None:
        """Drop what is remembered of finished jobs that `listing` will not show again."""
        for job_id, done in list(self.done.items()):
            key = done.record.job.key
            if job_id <= mark and job_id not in self._looks and listing_of(key.job_type) == listing:
                del self.done[job_id]
                self._feed.keeper.forget(key)
                for lane in self._feed.lanes.values():
                    lane.forget(key)


def _slim(close: Close | None) -> Close | None:
    return None if close is None else msgspec.structs.replace(close, hosts=(), failures=())


def _is_odd(place: Place, close: Close | None) -> bool:
    """Whether the place of a sink that has all of a job says more than its receipt."""
    further = close is not None and place.through > close.last_counter
    return bool(place.wanted or place.repeats or further)


def _settled(record: JobRecord, place: Place) -> Place:
    """Return the place of a sink that has all of a job so far, but for what it wants."""
    through = 0 if record.close is None else record.close.last_counter
    last = len(record.statuses)
    return msgspec.structs.replace(place, through=max(place.through, through), status_number=last)
