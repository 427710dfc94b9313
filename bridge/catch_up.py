"""Brings the sinks that lag in one job to where its live tail is, or to the job's end.

It starts at the lowest place of the lagging sinks that have room; each lane drops what it has
settled. Nobody waits for it, and it waits for nobody but the sinks it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from bridge.errors import SourceError, SourceRefused, SourceUnavailable
from bridge.feed import Patience, first
from bridge.followed import Followed
from bridge.lane import Lane
from bridge.ledger import Ranges
from bridge.model import AwxEvent, EventPage
from bridge.sequence import COUNTERS_AT_MOST, GivenUp, Release, by_age


async def catch_up(job: Followed) -> None:
    """Serve `job.lagging` until it is empty."""
    feed = job.feed
    facts = {"source": feed.source.name, "job": str(job.key)}
    feed.observer.note("catch_up.started", **facts, sinks=sorted(job.lagging))
    failures = 0
    patience = Patience(feed)
    while job.lagging:
        lanes = [feed.lanes[name] for name in sorted(job.lagging)]
        roomy = [lane for lane in lanes if not lane.full]
        if not roomy:
            await first(lane.room() for lane in lanes)
            continue
        try:
            async with feed.behind:
                await _step(job, roomy)
        except SourceError as error:
            if patience.failed():
                await _lost(job, roomy, f"not readable for too long: {error}")
            elif isinstance(error, SourceRefused) and error.gone and await job.is_gone():
                await _lost(job, roomy, "AWX has deleted the job")
            else:
                failures = await _hold_on(job, error, failures)
        else:
            failures = 0
            patience.renew()
    job.catching_up = False
    feed.observer.note("catch_up.finished", **facts)


async def _hold_on(job: Followed, error: SourceError, failures: int) -> int:
    asked = error.retry_after if isinstance(error, SourceUnavailable) else None
    await asyncio.sleep(asked or job.feed.backoff(failures + 1))
    return failures + 1


async def _step(job: Followed, lanes: Sequence[Lane]) -> None:
    """Read and offer one page, or let those that have caught up go on with the live tail.

    Others may have filled the `lanes` while this job waited its turn: those are left for later.
    """
    lanes = [lane for lane in lanes if not lane.full]
    reading = {lane.name for lane in job.reading()}
    behind = [lane for lane in lanes if lane.name in reading and _offered(job, lane) < job.released]
    for lane in lanes:
        if lane in behind:
            job.offer_statuses([lane], last=False)
        else:
            await _merge(job, lane, wanted=lane.name in reading)
    if not behind:
        return
    start, end = min(_offered(job, lane) for lane in behind), job.released
    limit = job.feed.page_limit
    page = await job.feed.source.events_after(job.key, start, limit=limit, purpose=job.purpose)
    job.feed.observer.count("events_read_total", len(page.rows), source=job.feed.source.name)
    for lane in behind:
        await job.hand([lane], _releases(page, after=_offered(job, lane), end=end))


def _offered(job: Followed, lane: Lane) -> int:
    return lane.stream(job.key).offered


def _releases(page: EventPage, *, after: int, end: int) -> list[Release | GivenUp]:
    """Turn a page into what a lane is offered: rows above `after` up to `end`, and what is not there.

    The live tail has been up to `end`: what cannot be read below that had been given up.
    """
    last = min(end, page.rows[-1].counter) if page.full and page.rows else end
    rows = by_counter(page)
    out: list[Release | GivenUp] = []
    for counter in sorted(counter for counter in rows if after < counter <= last):
        if counter > after + 1:
            out.append(GivenUp(after + 1, counter - 1))
        out.append(Release(counter, tuple(rows[counter])))
        after = counter
    if after < last:
        out.append(GivenUp(after + 1, last))
    return out


def by_counter(page: EventPage) -> dict[int, list[AwxEvent]]:
    """Return the distinct rows of each counter, oldest first: that order makes their ids."""
    rows: dict[int, list[AwxEvent]] = {}
    for row in page.rows:
        same = rows.setdefault(row.counter, [])
        if all(row.sameness != other.sameness for other in same):
            same.append(row)
            same.sort(key=by_age)
    return rows


async def _merge(job: Followed, lane: Lane, *, wanted: bool) -> None:
    """Ask once more for what this sink wants, then let the live tail serve it again."""
    async with job.turn:
        if wanted and _offered(job, lane) < job.released:
            return
        found = await _ask_wanted(job, lane) if wanted else ()
        if job.over and (lost := _unread(job, lane, found)):
            job.forgo(lane, lost, "no longer readable")
        job.lagging.pop(lane.name, None)
        job.offer_statuses([lane])
        job.attached.set()


async def _ask_wanted(job: Followed, lane: Lane) -> Sequence[int]:
    """Offer what can be read by now of the counters this sink wants, and return which these are.

    While this waits the live tail hands nothing out, so none can slip between the two.
    """
    offered: list[int] = []
    left = Ranges(lane.stream(job.key).ledger.wanted.pairs())
    while counters := left.first(COUNTERS_AT_MOST):
        left.take_up_to(counters[-1])
        page = await job.feed.source.events_at(job.key, counters, purpose=job.purpose)
        found = by_counter(page)
        await job.hand([lane], [Release(c, tuple(rows), late=True) for c, rows in found.items()])
        offered += found
    return offered


def _unread(job: Followed, lane: Lane, found: Iterable[int] = ()) -> Ranges:
    """Return the counters that others had and that were not even offered to `lane`, nor just `found`."""
    lost = job.unsettled(lane, after=_offered(job, lane))
    for counter in (*found, *(event.counter for event in lane.stream(job.key).queue)):
        if counter is not None:
            lost.discard(counter)
    return lost


async def _lost(job: Followed, lanes: Sequence[Lane], reason: str) -> None:
    """AWX will not show these sinks the rest of the job: count what they miss, and end it."""
    async with job.turn:
        for lane in lanes:
            if lost := _unread(job, lane):
                job.forgo(lane, lost, reason)
                await job.hand([lane], [GivenUp(_offered(job, lane) + 1, job.released)])
            job.lagging.pop(lane.name, None)
            job.offer_statuses([lane])
    job.attached.set()
