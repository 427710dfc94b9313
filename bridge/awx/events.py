"""The event list of one job, page by page: bounded in bytes and time, complete per counter.

Always by counter, the one order that AWX's index serves and that does not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from bridge.awx.answers import AnswerTooSlow, AnswerUnreadable, RequestInvalid
from bridge.awx.paging import PageSizes
from bridge.awx.transport import Params, Transport
from bridge.awx.wire import count_in, counter_in, decode_events
from bridge.errors import SourceDataError
from bridge.model import AwxEvent, EventPage, JobKey
from bridge.ports import Purpose

_PATHS: Final = {
    "job": "jobs/{}/job_events/",
    "ad_hoc_command": "ad_hoc_commands/{}/events/",
    "project_update": "project_updates/{}/events/",
    "inventory_update": "inventory_updates/{}/events/",
    "system_job": "system_jobs/{}/events/",
}
_PAGE_CAP: Final = 200
"""AWX serves no larger page; `limit` has no cap (awx/api/pagination.py)."""

_MOST_AT_ONCE: Final = 200
_SPARE: Final = 8
_MOST_UNREADABLE: Final = 1000
"""One after the other: that many are no job's events but an answer that never fits."""

_EMPTY: Final = EventPage(rows=(), full=False)


class _Fetched(NamedTuple):
    rows: tuple[AwxEvent, ...]
    full: bool
    size: int


class EventReader:
    """Reads event lists of one AWX."""

    def __init__(self, transport: Transport, *, page_limit: int, page_bytes: int) -> None:
        """`page_limit` is in rows, `page_bytes` what `transport` lets through."""
        self.unplaced = 0
        self._transport = transport
        self._sizes = PageSizes(page_limit)
        self._page_bytes = page_bytes
        self._limit_known: bool | None = None

    async def after(
        self, key: JobKey, counter: int, *, limit: int, purpose: Purpose, params: Params | None = None
    ) -> EventPage:
        """Return the events above `counter`, at most `limit`; `params` narrow them down.

        Steps over events that are too large until there are rows, or nothing more: a full page has
        rows, and is complete up to the last of them but for what it says is unreadable.
        """
        if key.job_type not in _PATHS:
            return _EMPTY
        asked: dict[str, str | int] = {**(params or {}), "counter__gt": counter}
        unreadable: list[int] = []
        while True:
            size = self._sizes.limit(key, limit)
            try:
                fetched = await self._fetch(key, asked, size, purpose)
            except AnswerTooSlow:
                self._sizes.too_slow(key, size)
                raise
            except AnswerUnreadable as err:
                self._sizes.too_large(key, size)
                if len(unreadable) >= _MOST_UNREADABLE:
                    raise
                if size == 1:
                    counter = _next_counter(err, counter)
                    asked["counter__gt"] = counter
                    unreadable.append(counter)
                continue
            if fetched.full and fetched.size < self._page_bytes // 2:
                self._sizes.went_well(key, size)
            rows, full = await self._whole(key, asked, fetched, purpose)
            return EventPage(rows=rows, full=full, unreadable=tuple(unreadable))

    async def at(self, key: JobKey, counters: Sequence[int], *, purpose: Purpose) -> EventPage:
        """Return the events among `counters`."""
        if key.job_type not in _PATHS:
            return _EMPTY
        wanted = sorted(set(counters))
        most = _MOST_AT_ONCE if self._limit_known else (_PAGE_CAP - _SPARE) // 2
        parts = [wanted[start : start + most] for start in range(0, len(wanted), most)]
        rows: list[AwxEvent] = []
        unreadable: list[int] = []
        while parts:
            part = parts.pop(0)
            # a counter may have several rows
            asked = {"counter__in": ",".join(map(str, part))}
            try:
                fetched = await self._fetch(key, asked, 2 * len(part) + _SPARE, purpose)
            except AnswerUnreadable:
                fetched = None
            if len(part) > 1 and (fetched is None or fetched.full):
                parts[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
            elif fetched is None:
                unreadable += part
            else:
                rows += fetched.rows
        return EventPage(rows=tuple(rows), full=False, unreadable=tuple(unreadable))

    async def last(self, key: JobKey, params: Params, *, purpose: Purpose) -> AwxEvent | None:
        """Return the highest event that meets `params`; None too when it alone is too large."""
        if key.job_type not in _PATHS:
            return None
        try:
            fetched = await self._fetch(key, {**params, "order_by": "-counter"}, 1, purpose)
        except AnswerUnreadable:
            return None
        return fetched.rows[-1] if fetched.rows else None

    async def count(self, key: JobKey, *, purpose: Purpose) -> tuple[int, int]:
        """Return the number of rows and the highest counter, by one counted page of one row."""
        if key.job_type not in _PATHS:
            return 0, 0
        path = _PATHS[key.job_type].format(key.job_id)
        params: Params = {"order_by": "-counter", "page_size": 1}
        try:
            rows = await self._transport.get(path, decode_events, purpose=purpose, params=params)
        except AnswerUnreadable as err:
            count, counter = count_in(err.head), counter_in(err.head) or 0
        else:
            count, counter = rows.counted, max((event.counter for event in rows.events), default=0)
        if count is None:
            raise SourceDataError(f"{key}: AWX counts no events")
        return count, counter

    async def _whole(
        self, key: JobKey, asked: dict[str, str | int], fetched: _Fetched, purpose: Purpose
    ) -> tuple[tuple[AwxEvent, ...], bool]:
        """Return rows of which every counter has all of its rows, and whether there may be more.

        A full page may end between two rows of one counter, and the next one starts above it.
        """
        above = int(asked["counter__gt"])
        rows = tuple(event for event in fetched.rows if event.counter > above)
        if not fetched.full or not rows:
            if fetched.full and fetched.rows:
                raise SourceDataError(f"{key}: AWX ignores counter__gt")
            return rows, False
        complete = tuple(event for event in rows if event.counter < rows[-1].counter)
        if complete:
            return complete, True
        repeated = {**asked, "counter__in": rows[-1].counter}
        with suppress(AnswerUnreadable):  # all of them together are too large
            rows = (await self._fetch(key, repeated, _SPARE, purpose)).rows or rows
        return rows, True

    async def _fetch(self, key: JobKey, params: Params, limit: int, purpose: Purpose) -> _Fetched:
        """Ask for at most `limit` rows.

        `limit` came with AWX 19.2.1 and costs no COUNT; before, it is an unknown field: 400.
        """
        asked = {"order_by": "counter", "no_truncate": 1, **params}
        if self._limit_known is not False:
            try:
                fetched = await self._ask(key, {**asked, "limit": limit}, limit, purpose)
            except RequestInvalid:
                if self._limit_known:
                    raise
            else:
                self._limit_known = True
                return fetched
        size = min(limit, _PAGE_CAP)
        fetched = await self._ask(key, {**asked, "page_size": size, "count_disabled": 1}, size, purpose)
        self._limit_known = False
        return fetched

    async def _ask(self, key: JobKey, params: Params, limit: int, purpose: Purpose) -> _Fetched:
        path = _PATHS[key.job_type].format(key.job_id)
        rows = await self._transport.get(path, decode_events, purpose=purpose, params=params)
        self.unplaced += rows.unplaced
        return _Fetched(rows.events, full=rows.received >= limit or rows.more, size=rows.size)


def _next_counter(err: AnswerUnreadable, above: int) -> int:
    """Return the counter of the one row that was too large: AWX's, or at least one step on.

    Raises:
        SourceDataError: AWX answers with a row that was not asked for.
    """
    counter = counter_in(err.head)
    if counter is None:
        return above + 1
    if counter <= above:
        raise SourceDataError(f"{err}, and AWX ignores counter__gt") from err
    return counter
