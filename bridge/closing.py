"""When a job's receipt may be written: once the count is proven, or nothing moves any more.

Pure. Times are seconds during which the source answered, so that an outage closes no job.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

ASK_FIRST: Final = 0.5
ASK_SELDOM: Final = 15.0
"""Seconds between two asks for the count proof: the first, and the longest."""

LONGEST: Final = 10
"""A job is closed as it is this many `close_wait` after its terminal status, moving or not."""


class Step(Enum):
    """What to do next about a job whose status is terminal."""

    WAIT = auto()
    PROVE = auto()
    GIVE_UP = auto()


class Closing:
    """The way from a terminal status to the receipt."""

    def __init__(self, clock: float, *, close_wait: float, settle: float) -> None:
        """Begin at `clock`. For `settle` seconds a job without events proves nothing.

        A job cancelled seconds ago has no emitted events yet (awx-facts, section 3).
        """
        self._started = clock
        self._moved = clock
        self._rows = -1
        self._ask_at = clock
        self._asks = 0
        self._close_wait = close_wait
        self._settle = settle

    def step(self, clock: float, rows: int) -> Step:
        """Decide at `clock`, having read `rows` distinct rows."""
        if rows != self._rows:
            self._rows = rows
            self._moved = clock
            self._asks = 0
            self._ask_at = clock
        if clock - self._moved >= self._close_wait or clock - self._started >= LONGEST * self._close_wait:
            return Step.GIVE_UP
        if (rows == 0 and clock - self._started < self._settle) or clock < self._ask_at:
            return Step.WAIT
        self._ask_at = clock + min(ASK_SELDOM, ASK_FIRST * 2.0**self._asks)
        self._asks += 1
        return Step.PROVE
