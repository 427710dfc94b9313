"""How long to wait before the next try.

Pure: the source of chance and the time are passed in. Delays are in seconds.
"""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

LONGEST_RETRY_AFTER: Final = 86_400.0
"""No server may silence the bridge for longer than a day."""

_HIGHEST_DOUBLING: Final = 64
"""Above it 2**attempt only costs time: every sane cap has been reached long before."""


class Chance(Protocol):
    """What a `random.Random` can do, as far as it is needed here."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between `a` and `b`."""
        ...


def full_jitter(attempt: int, chance: Chance, *, base: float = 0.5, cap: float = 60.0) -> float:
    """Return a delay between 0 and `base` doubled `attempt` times, at most `cap`.

    For many clients that all failed at one moment: they come back spread over the whole span.
    `attempt` is 0 before the first retry.
    """
    ceiling = min(cap, base * 2.0 ** max(0, min(attempt, _HIGHEST_DOUBLING)))
    return chance.uniform(0.0, ceiling)


def decorrelated(previous: float, chance: Chance, *, base: float = 0.5, cap: float = 60.0) -> float:
    """Return a delay between `base` and three times the `previous` one, at most `cap`.

    For one client that waits for one server: never shorter than `base`, longer with each try.
    Start with `previous=0`.
    """
    return min(cap, chance.uniform(base, max(base, previous * 3.0)))


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Read a Retry-After header: a number of seconds, or an HTTP date (RFC 9110, 10.2.3).

    `now` is in epoch seconds. A date in the past gives 0; what cannot be read gives None; nothing
    gives more than `LONGEST_RETRY_AFTER`.
    """
    text = (header or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        moment = _http_date(text)
        if moment is None:
            return None
        seconds = max(0.0, moment - now)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_RETRY_AFTER)


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        # "GMT" and no zone at all both mean UTC in HTTP.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
