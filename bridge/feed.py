"""What all loops of one source share, and how long they may wait for it.

Waits are measured in the time during which the source answered: an outage costs no job anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import msgspec

from bridge.closing import LONGEST
from bridge.keep import Keeper
from bridge.lane import Lane
from bridge.ports import Clock, Observer, Source
from bridge.prepare import Preparer

Announce = Callable[[str, str | None, Mapping[str, str | None]], None]
"""Makes one of the bridge's own events: (type, the source it concerns, facts)."""


class Answering:
    """How many seconds a source has answered in all, seen by whoever asks it all the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def answered(self, now: float) -> None:
        """Note an answer at loop time `now`: the time since the last one counts."""
        if self._last is not None:
            self.seconds += now - self._last
        self._last = now

    def failed(self) -> None:
        """Note that there was no answer: the time until the next one does not count."""
        self._last = None


class Feed(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What all loops of one source share.

    `wanting` are the sinks that some rule could send job events to. `backoff` gives the wait in
    seconds before try 1, 2, …. `live` and `behind` bound how many reads of live tails and of
    catch-ups may be under way at a time, which bounds the pages in memory.
    """

    source: Source
    preparer: Preparer
    lanes: Mapping[str, Lane]
    wanting: frozenset[str]
    keeper: Keeper
    clock: Clock
    observer: Observer
    announce: Announce
    backoff: Callable[[int], float]
    gap_wait: float
    close_wait: float
    page_limit: int
    live: asyncio.Semaphore
    behind: asyncio.Semaphore
    answering: Answering = msgspec.field(default_factory=Answering)

    @property
    def patience(self) -> float:
        """Seconds for which one job may go unanswered while its source answers others."""
        return LONGEST * self.close_wait


class Patience:
    """Bounds how long one thing may fail while its source answers everything else."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._since: float | None = None

    def failed(self) -> bool:
        """Note a failure; whether it has been failing for too long."""
        if self._since is None:
            self._since = self._feed.answering.seconds
        return self.spent

    @property
    def spent(self) -> bool:
        """Whether it has been failing for too long."""
        since = self._since
        return since is not None and self._feed.answering.seconds - since >= self._feed.patience

    def renew(self) -> None:
        """Note a success."""
        self._since = None


async def first(waits: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Return when the first of `waits` is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def where(error: BaseException) -> str:
    """Name the place of a bug without its message, which may quote a payload."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    return f"{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"
