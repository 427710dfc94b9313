"""One open job: its status log, its receipt, and what each sink's lane was offered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bridge import encode
from bridge.errors import SourceError, SourceRefused
from bridge.feed import Feed, where
from bridge.lane import Lane
from bridge.ledger import Ranges
from bridge.model import (
    TERMINAL_STATUSES,
    AwxEvent,
    Close,
    DeadLetter,
    Job,
    JobKey,
    JobRecord,
    Place,
    StatusSeen,
)
from bridge.ports import Purpose
from bridge.prepare import Prepared
from bridge.sequence import GivenUp, Release

FINAL_STATUSES: Final = TERMINAL_STATUSES | {"deleted"}

ROWS_AT_ONCE: Final = 100
"""Rows prepared before other tasks get their turn: some 5 ms of work."""


class Followed:
    """One job between its discovery and the moment at which every sink has all of it.

    `released` is the counter up to which the live tail has offered. Sinks in `lagging` are served
    by the catch-up instead, each since its epoch second, in requests for `purpose`. `changed` is set
    whenever the status log grows; `attached` whenever a sink has caught up. `tailing` and `catching_up`
    say that a task still reads for it; `flush` lets the live tail hand out what it holds back. `missed`
    is what was missing when the job was closed before.
    """

    def __init__(
        self,
        feed: Feed,
        record: JobRecord,
        places: Mapping[str, Place],
        *,
        fallen_behind: Callable[[Followed], None],
    ) -> None:
        """Open the job in every lane; `fallen_behind` is called when a sink begins to lag."""
        self.feed = feed
        self.record = record
        self.changed = asyncio.Event()
        self.attached = asyncio.Event()
        self.turn = asyncio.Lock()
        self.lagging: dict[str, float] = {}
        self.tailing = False
        self.catching_up = False
        self.purpose = Purpose.CATCH_UP
        self.flush: Callable[[], Awaitable[None]] = _nothing
        self.missed = Ranges()
        self._sealed = self.over
        self._fallen_behind = fallen_behind
        self._prepared: dict[int, Prepared] = {}
        for name, lane in feed.lanes.items():
            lane.open(record.job.key, places.get(name, Place()))
        self.released = self._resume()

    def _resume(self) -> int:
        """Choose where the live tail goes on; sinks far behind that lag from the start."""
        if self.record.close is not None:
            last = self.record.statuses[-1].number
            late = (n for n, lane in self.feed.lanes.items() if lane.stream(self.key).status_number < last)
            self.lagging |= dict.fromkeys(late, self.record.first_seen)
            return self.record.close.last_counter
        offered = {lane.name: lane.stream(self.key).offered for lane in self.reading()}
        if not offered:
            return 0
        most, least = max(offered.values()), min(offered.values())
        if most - least <= self.feed.page_limit:
            return least
        behind = (name for name, counter in offered.items() if counter < most)
        self.lagging |= dict.fromkeys(behind, self.record.first_seen)
        return most

    @property
    def key(self) -> JobKey:
        """The job's identity."""
        return self.record.job.key

    @property
    def gone(self) -> bool:
        """Whether AWX no longer has the job."""
        return bool(self.record.statuses) and self.record.statuses[-1].status == "deleted"

    @property
    def over(self) -> bool:
        """Whether nothing more will be read of this job: it is closed, or gone."""
        return self.record.close is not None or self.gone

    @property
    def terminal(self) -> bool:
        """Whether the last status seen is terminal."""
        return self.record.job.terminal

    @property
    def settled(self) -> bool:
        """Whether every sink has settled all of this job."""
        if not self.over or self.lagging or self.tailing or self.catching_up:
            return False
        last = self.record.statuses[-1].number if self.record.statuses else 0
        streams = (lane.stream(self.key) for lane in self.feed.lanes.values())
        return all(stream.status_number >= last and not stream.outstanding for stream in streams)

    def reading(self) -> list[Lane]:
        """Return the lanes that some rule could send events of this job to."""
        if not self.record.job.has_events:
            return []
        return [self.feed.lanes[name] for name in self.feed.lanes if name in self.feed.wanting]

    def live(self) -> list[Lane]:
        """Return the lanes that the live tail serves."""
        return [lane for lane in self.reading() if lane.name not in self.lagging]

    def fall_behind(self, lane: Lane) -> None:
        """Leave `lane` to the catch-up."""
        if lane.name not in self.lagging:
            self.lagging[lane.name] = self.feed.clock.now()
            self._fallen_behind(self)

    def see(self, job: Job, now: float) -> bool:
        """Take in what a list of AWX shows of this job; whether its status is another one now."""
        before = self.record.job.status
        self.record = msgspec.structs.replace(self.record, job=job)
        if job.status in (before, "new") or self.gone:
            return False
        if self.record.close is not None:
            self._reopen(self.record.close)
        self.log(job.status, time=_moment(job), now=now)
        return True

    def _reopen(self, close: Close) -> None:
        """AWX has replaced the status that the job was closed with: read on, and close it once more."""
        self.record = msgspec.structs.replace(self.record, close=None, over_at=None)
        self._sealed = False
        self.missed = Ranges(close.missing)
        if not self.reading():
            self.released = 0

    def log(self, status: str, *, time: str | None, now: float) -> None:
        """Append to the status log and have it kept.

        `time` is AWX's moment of this status: that of the first one, so a repeat or a correction has
        the moment at which it was seen, `now`.
        """
        log = self.record.statuses
        previous = log[-1].status if log else None
        repeat = 1 + sum(entry.status == status for entry in log)
        corrects = previous if previous in TERMINAL_STATUSES and status in TERMINAL_STATUSES else None
        seen = StatusSeen(
            number=len(log) + 1,
            status=status,
            repeat=repeat,
            previous=previous,
            time=encode.iso(now) if time is None or repeat > 1 or corrects else time,
            corrects=corrects,
        )
        self.record = msgspec.structs.replace(self.record, statuses=(*log, seen))
        self.feed.keeper.job(self.record)
        self._note("job.status_seen", status=status)

    async def is_gone(self) -> bool:
        """Whether AWX has no such job any more (a 404 of a list alone does not prove it)."""
        try:
            await self.feed.source.job(self.key)
        except SourceRefused as error:
            if error.gone:
                await self.vanish()
            return error.gone
        except SourceError:
            return False
        return False

    async def vanish(self, reason: str | None = None) -> None:
        """AWX has deleted this job, or will not show it (`reason`): tell all that was read, and its end."""
        await self.flush()
        if self.over:
            return
        missing = Ranges(pair for lane in self.live() for pair in lane.stream(self.key).ledger.wanted.pairs())
        self._write(
            Close(
                complete=False,
                events_total=self.released,
                last_counter=self.released,
                missing=missing.pairs(),
            )
        )
        self.log("deleted", time=None, now=self.feed.clock.now())
        if reason is None:
            self._note("job.deleted", events=self.released)
        else:
            self._note("job.vanished", events=self.released, reason=reason)
        await self._is_over()

    async def close(self, close: Close, *, reason: str | None = None) -> None:
        """Write the receipt, and let every sink have the job's last status; `reason`: why incomplete."""
        missing = self._write(close)
        facts = {"status": self.record.job.status, "events": close.events_total, "missing": missing}
        if close.complete:
            self._note("job.closed", **facts)
        else:
            self._note("job.closed_incomplete", **facts, reason=reason)
        await self._is_over()

    def _write(self, close: Close) -> int:
        """Make `close`, without secrets, the receipt; count what is missing and say so where it is news."""
        feed, name = self.feed, self.feed.source.name
        close, redactions = feed.preparer.clean(close)
        if redactions:
            feed.observer.count("redactions_total", redactions, source=name)
        self.record = msgspec.structs.replace(self.record, close=close, over_at=feed.clock.now())
        feed.keeper.job(self.record)
        feed.observer.count("jobs_closed_total", source=name, complete=str(close.complete).lower())
        missing, news = Ranges(close.missing), Ranges(close.missing)
        for low, high in self.missed.pairs():
            news.discard(low, high)
        if news:
            feed.observer.count("events_missing_total", len(news), source=name)
            self._tell_missing(missing)
        return len(missing)

    def abandon(self, lane: Lane) -> None:
        """Leave this job to `lane` no longer: it has lagged for longer than its `max_lag`."""
        stream = lane.stream(self.key)
        through, last = stream.ledger.through, self.record.statuses[-1].number
        lost = self.unsettled(lane, after=through)
        if stream.status_number >= last or not lane.abandon(self.key, through=self.released, statuses=last):
            return
        self.lagging.pop(lane.name, None)
        self.forgo(lane, lost, "lagged longer than max_lag")
        lane.report(stream)

    def unsettled(self, lane: Lane, *, after: int) -> Ranges:
        """Return the counters that others had and `lane` lacks: those above `after`, and those it wants."""
        if lane not in self.reading():
            return Ranges()
        lost = Ranges(lane.stream(self.key).ledger.wanted.pairs())
        lost.add(after + 1, self.released)
        for low, high in () if self.record.close is None else self.record.close.missing:
            lost.discard(low, high)
        return lost

    def forgo(self, lane: Lane, lost: Ranges, reason: str) -> None:
        """Say that `lane` goes on without `lost`, which its receipt does not name as missing."""
        self.feed.observer.count("events_missing_total", len(lost), source=self.feed.source.name)
        self._note("sink.gave_up", sink=lane.name, events=len(lost), reason=reason)
        self._tell_missing(lost, sink=lane.name, reason=reason)

    def _tell_missing(self, missing: Ranges, *, sink: str | None = None, reason: str | None = None) -> None:
        prepared = self.feed.preparer.missing(
            self.record.job, missing.pairs(), at=self.feed.clock.now(), sink=sink, reason=reason
        )
        for name in prepared.sinks:
            if not self.feed.lanes[name].full:
                self.feed.lanes[name].offer(prepared.event)

    def _note(self, name: str, **facts: object) -> None:
        self.feed.observer.note(name, source=self.feed.source.name, job=str(self.key), **facts)

    async def _is_over(self) -> None:
        close = self.record.close
        await self.feed.keeper.durable()
        if self.record.close is not close:  # it was opened again meanwhile
            return
        self._sealed = True
        self.offer_statuses()
        self.changed.set()
        self.attached.set()

    def offer_statuses(self, lanes: Iterable[Lane] | None = None, *, last: bool = True) -> None:
        """Offer each lane (default: those that keep up) the statuses it has not been offered.

        A terminal status waits until the receipt is durable, and for a lane that still lacks events
        (`last=False`) until it has them.
        """
        for lane in [*(self._with_room() if lanes is None else lanes)]:
            stream = lane.stream(self.key)
            for seen in self.record.statuses[stream.statuses :]:
                if seen.status in FINAL_STATUSES and not (last and self._sealed):
                    break
                prepared = self._status(seen)
                if lane.name in prepared.sinks:
                    lane.offer(prepared.event)
                else:
                    lane.spare_status(self.key, seen.number)
            lane.report(stream)

    def _with_room(self) -> list[Lane]:
        """Return the lanes that the catch-up does not serve; a full one is left to it."""
        for lane in self.feed.lanes.values():
            if lane.full:
                self.fall_behind(lane)
        return [lane for name, lane in self.feed.lanes.items() if name not in self.lagging]

    def _status(self, seen: StatusSeen) -> Prepared:
        prepared = self._prepared.get(seen.number)
        if prepared is None:
            job = msgspec.structs.replace(self.record.job, status=seen.status)
            prepared = self.feed.preparer.status(seen, job, self.record.close)
            self._prepared[seen.number] = prepared
            self._count_redactions(prepared)
        return prepared

    async def hand(self, lanes: Sequence[Lane], released: Sequence[Release | GivenUp]) -> None:
        """Offer `released` to `lanes`, in order; then report how their places moved."""
        for at, item in enumerate(released):
            if isinstance(item, GivenUp):
                self._give_up(lanes, item)
            else:
                self._release(lanes, item)
            if at % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                await asyncio.sleep(0)
        for lane in lanes:
            lane.report(lane.stream(self.key))

    def _give_up(self, lanes: Iterable[Lane], item: GivenUp) -> None:
        for lane in lanes:
            lane.give_up(self.key, item.low, item.high)
            stream = lane.stream(self.key)
            stream.offered = max(stream.offered, item.high)

    def _release(self, lanes: Sequence[Lane], item: Release) -> None:
        for repeat, row in enumerate(item.rows, item.repeat):
            # A sink that has gone on without this row gets it late, whoever reads it now.
            gone_on = [lane for lane in lanes if item.late or lane.stream(self.key).offered >= row.counter]
            self._offer(gone_on, row, repeat=repeat, late=True)
            self._offer([lane for lane in lanes if lane not in gone_on], row, repeat=repeat, late=False)
        for lane in lanes:
            stream = lane.stream(self.key)
            stream.offered = max(stream.offered, item.counter)

    def _offer(self, lanes: Sequence[Lane], row: AwxEvent, *, repeat: int, late: bool) -> None:
        prepared = self._row(row, repeat=repeat, late=late) if lanes else None
        for lane in lanes:
            if prepared is None:
                self._trip(lane, row, repeat)
            elif lane.name in prepared.sinks:
                lane.offer(prepared.event)
            else:
                lane.spare(self.key, row.counter, repeat=repeat)

    def _row(self, row: AwxEvent, *, repeat: int, late: bool) -> Prepared | None:
        """Prepare one row; None when our own code trips over it: one event must not stop the rest."""
        try:
            prepared = self.feed.preparer.event(row, self.record.job, repeat=repeat, late=late)
        except Exception as error:  # noqa: BLE001 - the tail's guard, see docs/adr
            self._note(
                "event.tripped", counter=row.counter, error=f"{type(error).__name__} in {where(error)}"
            )
            return None
        self._count_redactions(prepared)
        return prepared

    def _count_redactions(self, prepared: Prepared) -> None:
        if prepared.redactions:
            self.feed.observer.count("redactions_total", prepared.redactions, source=self.feed.source.name)

    def _trip(self, lane: Lane, row: AwxEvent, repeat: int) -> None:
        self.feed.keeper.dead_letter(
            DeadLetter(
                sink=lane.name,
                event_id=encode.event_id(self.key, row.counter, repeat),
                type=f"awx.event.{row.event or 'unknown'}",
                reason="bug",
                at=self.feed.clock.now(),
                copy=b"",
            )
        )
        self.feed.observer.count("events_dead_lettered_total", sink=lane.name)
        lane.spare(self.key, row.counter, repeat=repeat)


async def _nothing() -> None:
    """Hold nothing back."""


def _moment(job: Job) -> str | None:
    """Return AWX's own time of the job's status, None where it has none."""
    if job.terminal:
        return job.finished
    return {"pending": job.created, "running": job.started}.get(job.status)
