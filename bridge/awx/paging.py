"""How many rows to ask for at once, so that an answer stays bounded in bytes and in time. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from bridge.model import JobKey

_LEAST_WHEN_SLOW: Final = 10
"""A slow AWX makes pages smaller down to this: below, more requests only make it slower."""

_REMEMBERED: Final = 1000


class PageSizes:
    """Remembers which jobs need smaller pages, and lets these grow back slowly."""

    def __init__(self, most: int) -> None:
        """`most` is the number of rows that is never exceeded."""
        self._most = most
        self._limits: OrderedDict[JobKey, int] = OrderedDict()

    def limit(self, key: JobKey, asked: int) -> int:
        """Return how many rows to ask for when `asked` are wanted."""
        return max(1, min(asked, self._limits.get(key, self._most)))

    def too_large(self, key: JobKey, limit: int) -> None:
        """Halve: a page of `limit` rows was too large."""
        self._keep(key, max(1, limit // 2))

    def too_slow(self, key: JobKey, limit: int) -> None:
        """Halve, within reason: a page of `limit` rows took too long."""
        if limit > _LEAST_WHEN_SLOW:
            self._keep(key, max(_LEAST_WHEN_SLOW, limit // 2))

    def went_well(self, key: JobKey, limit: int) -> None:
        """Grow by a quarter: a full page of `limit` rows came well within the bounds."""
        grown = limit + max(1, limit // 4)
        if key not in self._limits or grown <= self._limits[key]:
            return
        if grown >= self._most:
            del self._limits[key]
        else:
            self._keep(key, grown)

    def _keep(self, key: JobKey, limit: int) -> None:
        self._limits[key] = limit
        self._limits.move_to_end(key)
        while len(self._limits) > _REMEMBERED:
            self._limits.popitem(last=False)
