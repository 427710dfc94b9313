"""How many rows to ask for at once, so that an answer stays bounded in bytes and in time. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from bridge.model import JobKey

_LEAST_WHEN_SLOW: Final = 10
"""A slow AWX makes pages smaller down to this: below, more requests only make it slower."""

_PATIENCE: Final = 20
"""Good pages before a size that failed is tried again: each failure may have cost a time-out."""

_REMEMBERED: Final = 1000


@dataclass(slots=True)
class _Size:
    limit: int
    failed: int
    good: int = 0


class PageSizes:
    """Remembers which jobs need smaller pages, and lets these grow back slowly."""

    def __init__(self, most: int) -> None:
        """`most` is the number of rows that is never exceeded."""
        self._most = most
        self._sizes: OrderedDict[JobKey, _Size] = OrderedDict()

    def limit(self, key: JobKey, asked: int) -> int:
        """Return how many rows to ask for when `asked` are wanted."""
        size = self._sizes.get(key)
        return max(1, min(asked, size.limit if size else self._most))

    def too_large(self, key: JobKey, limit: int) -> None:
        """Halve: a page of `limit` rows was too large."""
        self._shrink(key, max(1, limit // 2), limit)

    def too_slow(self, key: JobKey, limit: int) -> None:
        """Halve, within reason: a page of `limit` rows took too long."""
        if limit > _LEAST_WHEN_SLOW:
            self._shrink(key, max(_LEAST_WHEN_SLOW, limit // 2), limit)

    def went_well(self, key: JobKey, limit: int) -> None:
        """Grow by a quarter: a full page of `limit` rows came well within the bounds."""
        size = self._sizes.get(key)
        if size is None or limit < size.limit:
            return
        size.good += 1
        if limit >= size.failed:
            size.failed = self._most + 1  # what was too much has passed
        grown = limit + max(1, limit // 4)
        if grown >= size.failed and size.good < _PATIENCE:
            return
        size.limit = grown
        if grown >= self._most:
            del self._sizes[key]

    def _shrink(self, key: JobKey, limit: int, failed: int) -> None:
        before = self._sizes.get(key)
        self._sizes[key] = _Size(limit, min(failed, before.failed) if before else failed)
        self._sizes.move_to_end(key)
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)
