"""What Slack's clock shows, told from its answers: ours may be minutes off, or jump.

Nothing here asks our wall clock; between two answers time is measured by the event loop's.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime


class SlackClock:
    """Slack's time, a little early rather than late."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        """Measure with `ticks`, seconds that only go forward."""
        self._ticks = ticks
        self._by_date: float | None = None
        self._by_post: float | None = None

    def answered(self, date: str | None) -> None:
        """Take in the Date header of an answer (RFC 9110, section 6.6.1), if it is one."""
        try:
            moment = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, OverflowError):
            return
        self._by_date = moment - self._ticks()

    def posted(self, ts: str) -> None:
        """Take in the `ts` of a message that was posted just now."""
        try:
            self._by_post = float(ts) - self._ticks()
        except ValueError:
            return

    def now(self) -> float | None:
        """Return epoch seconds, the earlier of what Date and `ts` say; None before any answer."""
        known = [base for base in (self._by_date, self._by_post) if base is not None]
        return min(known) + self._ticks() if known else None
