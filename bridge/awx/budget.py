"""One budget for every request to a source, so that AWX is never slowed down by the bridge.

A request takes a turn and gives it back when its answer is read. Turns follow `Purpose`, first
come first served within one, except that discovery and catching up are guaranteed a part.
Waiting needs no deadline of its own: whoever waits is overtaken only by more urgent requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from bridge.ports import Purpose

AT_ONCE: Final = 3
"""Requests in flight; AWX has a handful of web processes, which its users share with us."""

BULK_AT_ONCE: Final = 2
"""How many of these may be bulk reads: one way always stays open for what is urgent."""

DISCOVERY_EVERY: Final = 8.0
"""After so many seconds a waiting discovery goes first: with its own duration one in 10 s."""

CATCH_UP_PART: Final = 5
"""One request in so many is for catching up, while any waits for it."""

_BULK: Final = frozenset({Purpose.CATCH_UP, Purpose.BACKFILL})
_WINDOW: Final = 60.0
_ROUNDING: Final = 1e-6


class _Waiter(NamedTuple):
    since: float
    granted: asyncio.Future[None]


class RequestBudget:
    """Hands out turns: `rate` a second on average, in bursts of at most one second's worth."""

    def __init__(self, rate: float) -> None:
        """Start full. `rate` is in requests per second."""
        self._rate = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._queues: dict[Purpose, deque[_Waiter]] = {purpose: deque() for purpose in Purpose}
        self._in_flight = 0
        self._bulk_in_flight = 0
        self._discovered_at = float("-inf")
        self._passed_over = 0
        self._recent: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate(self) -> float:
        """Requests per second that may be made on average."""
        return self._rate

    @property
    def used(self) -> int:
        """Requests of the last minute."""
        self._forget(asyncio.get_running_loop().time())
        return len(self._recent)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn now."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def turn(self, purpose: Purpose) -> AsyncGenerator[None]:
        """Wait for a turn and hold it for the duration of the block: one request, one answer."""
        await self._take(purpose)
        try:
            yield
        finally:
            self._give_back(purpose)

    async def _take(self, purpose: Purpose) -> None:
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.time(), loop.create_future())
        self._queues[purpose].append(waiter)
        self._hand_out()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.cancelled():
                self._queues[purpose] = deque(w for w in self._queues[purpose] if w is not waiter)
                self._hand_out()
            else:  # the turn was handed out, but no request came of it
                self._tokens += 1
                self._recent.pop()
                self._give_back(purpose)
            raise

    def _give_back(self, purpose: Purpose) -> None:
        self._in_flight -= 1
        self._bulk_in_flight -= purpose in _BULK
        self._hand_out()

    def _hand_out(self) -> None:
        now = asyncio.get_running_loop().time()
        self._refill(now)
        while (purpose := self._next(now)) is not None:
            if self._tokens < 1 - _ROUNDING:
                self._wake_in((1 - self._tokens) / self._rate)
                return
            self._grant(purpose, now)

    def _next(self, now: float) -> Purpose | None:
        if self._in_flight >= AT_ONCE:
            return None
        for queue in self._queues.values():
            while queue and queue[0].granted.cancelled():
                queue.popleft()
        ready = [
            purpose
            for purpose, queue in self._queues.items()
            if queue and not (purpose in _BULK and self._bulk_in_flight >= BULK_AT_ONCE)
        ]
        if Purpose.DISCOVERY in ready:
            since = max(self._discovered_at, self._queues[Purpose.DISCOVERY][0].since)
            if now - since >= DISCOVERY_EVERY:
                return Purpose.DISCOVERY
        if Purpose.CATCH_UP in ready and self._passed_over >= CATCH_UP_PART - 1:
            return Purpose.CATCH_UP
        return min(ready, default=None)

    def _grant(self, purpose: Purpose, now: float) -> None:
        waiter = self._queues[purpose].popleft()
        self._tokens -= 1
        self._in_flight += 1
        self._bulk_in_flight += purpose in _BULK
        if purpose is Purpose.DISCOVERY:
            self._discovered_at = now
        waits = purpose is not Purpose.CATCH_UP and bool(self._queues[Purpose.CATCH_UP])
        self._passed_over = self._passed_over + 1 if waits else 0
        self._recent.append(now)
        self._forget(now)
        waiter.granted.set_result(None)

    def _refill(self, now: float) -> None:
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _wake_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.001), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._hand_out()

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0] <= now - _WINDOW:
            self._recent.popleft()
