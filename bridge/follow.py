"""The open jobs of one source: what is known of each, and which sink has got how far.

Every status is written down before any sink hears of it. A job stays open until every sink has
settled its last status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bridge.catch_up import catch_up
from bridge.followed import Feed, Followed
from bridge.model import Job, JobKey, JobRecord, Place
from bridge.ports import Listing, listing_of
from bridge.tail import Tail


class Following:
    """Which jobs of one source are open, and the tasks that read them."""

    def __init__(self, feed: Feed, *, done: Iterable[JobKey] = ()) -> None:
        """`done` are the jobs that were finished with before."""
        self.jobs: dict[int, Followed] = {}
        self.done = {key.job_id: key for key in done}
        self._feed = feed
        self._tasks: asyncio.TaskGroup | None = None

    def restore(self, record: JobRecord, places: Mapping[str, Place]) -> None:
        """Take up a job that state remembers, before `run`."""
        self.jobs[record.job.key.job_id] = Followed(self._feed, record, places, fallen_behind=self._catch_up)

    async def run(self) -> None:
        """Read every open job until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for followed in list(self.jobs.values()):
                self._begin(followed)
            await asyncio.get_running_loop().create_future()

    def _begin(self, followed: Followed) -> None:
        if self._tasks is None or followed.begun:
            return
        followed.begun = True
        followed.offer_statuses()
        if not followed.over:
            followed.tailing = True
            self._tasks.create_task(self._tail(followed), name=f"tail {followed.key}")
        if followed.lagging:
            self._catch_up(followed)
        self._finish(followed)

    async def _tail(self, followed: Followed) -> None:
        await Tail(followed).run()
        followed.tailing = False
        self._finish(followed)

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
        news: list[Followed] = []
        changed: list[Followed] = []
        for job in jobs:
            followed = self.jobs.get(job.key.job_id)
            if followed is None:
                if job.key.job_id not in self.done:
                    news.append(self._discover(job))
            elif followed.see(job, self._feed.clock.now()):
                changed.append(followed)
        if not news and not changed:
            return
        await self._feed.keeper.durable()
        for followed in news:
            self._begin(followed)
        for followed in changed:
            followed.offer_statuses()
            followed.changed.set()

    def ignore(self, job: Job) -> None:
        """Remember a job that was over before the very first start: it is never followed."""
        self.done[job.key.job_id] = job.key
        self._feed.keeper.job(JobRecord(job=job, first_seen=self._feed.clock.now(), done=True))

    def _discover(self, job: Job) -> Followed:
        feed = self._feed
        record = JobRecord(job=msgspec.structs.replace(job, status="new"), first_seen=feed.clock.now())
        followed = Followed(feed, record, {}, fallen_behind=self._catch_up)
        followed.see(job, feed.clock.now())
        feed.keeper.job(followed.record)
        self.jobs[job.key.job_id] = followed
        feed.observer.note(
            "job.discovered", source=feed.source.name, job=str(job.key), name=job.name, status=job.status
        )
        feed.observer.gauge("jobs_open", len(self.jobs), source=feed.source.name)
        return followed

    async def vanished(self, job_id: int) -> None:
        """AWX no longer has this job: stop following it."""
        followed = self.jobs.get(job_id)
        if followed is not None and not followed.over:
            await followed.vanish()

    def moved(self, sink: str, key: JobKey, place: Place) -> None:
        """Keep the place that a lane reports; the job may be finished with."""
        self._feed.keeper.place(key, sink, place)
        followed = self.jobs.get(key.job_id)
        if followed is not None:
            self._finish(followed)

    def _finish(self, followed: Followed) -> None:
        if not followed.settled or followed.key.job_id not in self.jobs:
            return
        feed = self._feed
        del self.jobs[followed.key.job_id]
        self.done[followed.key.job_id] = followed.key
        feed.keeper.job(msgspec.structs.replace(followed.record, done=True))
        for lane in feed.lanes.values():
            lane.close(followed.key)
        feed.observer.gauge("jobs_open", len(self.jobs), source=feed.source.name)

    def give_up_lagging(self, max_lag: Mapping[str, float]) -> None:
        """Let sinks go on without jobs that they have owed for longer than their `max_lag` seconds."""
        now = self._feed.clock.now()
        for followed in list(self.jobs.values()):
            for name, lane in self._feed.lanes.items():
                if followed.over and now - followed.record.first_seen > max_lag[name]:
                    followed.abandon(lane)

    def forget(self, listing: Listing, mark: int) -> None:
        """Drop what is remembered of finished jobs that `listing` will not show again."""
        for job_id, key in list(self.done.items()):
            if job_id <= mark and listing_of(key.job_type) == listing:
                del self.done[job_id]
                self._feed.keeper.forget(key)
