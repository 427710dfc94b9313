"""Pages, limits and the JSON of lists, with AWX's quirks.

Pure. Source: awx/api/pagination.py; the recorded answers for the quirks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

DEFAULT_PAGE: Final = 25
MAX_PAGE: Final = 200
SHOWN_STDOUT: Final = 1024
"""Characters of stdout that event lists show (EVENT_STDOUT_MAX_BYTES_DISPLAY)."""

_SGR: Final = re.compile(r"\x1b\[[0-9;]*m")
_RESET: Final = "\x1b[0m"


class PageError(Exception):
    """A page that is not there: 404 `Invalid page.`."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for. `limit` mode shows neither count nor links."""

    number: int
    size: int
    counted: bool
    limited: bool

    @property
    def skip(self) -> int:
        """How many rows come before this page."""
        return (self.number - 1) * self.size


def read(query: Sequence[tuple[str, str]], *, limits: bool) -> Page:
    """Read what part of the list is asked for; `limits` says whether `limit` means something here."""
    asked = dict(query)
    if limits and "limit" in asked:
        size = _positive(asked["limit"]) or DEFAULT_PAGE
        return Page(1, size, counted=False, limited=True)
    size = min(_positive(asked.get("page_size", "")) or DEFAULT_PAGE, MAX_PAGE)
    counted = "count_disabled" not in asked
    number = _positive(asked.get("page", "1"))
    if not number or (number > 1 and not counted):
        raise PageError
    return Page(number, size, counted=counted, limited=False)


def body(
    rows: Sequence[Any], *, page: Page, count: int, path: str, query: Sequence[tuple[str, str]]
) -> bytes:
    """Encode one page; raise `PageError` when it lies beyond the end."""
    if not page.counted:
        return msgspec.json.encode({"results": rows})
    if page.number > 1 and page.skip >= count:
        raise PageError
    more = page.skip + page.size < count
    return msgspec.json.encode(
        {
            "count": count,
            "next": _link(path, query, page.number + 1) if more else None,
            "previous": _link(path, query, page.number - 1) if page.number > 1 else None,
            "results": rows,
        }
    )


def truncate(stdout: str) -> str:
    """Cut output as event lists do, and close the colours that the cut left open."""
    if len(stdout) <= SHOWN_STDOUT:
        return stdout
    cut = stdout[: SHOWN_STDOUT - 1] + "…"
    codes = _SGR.findall(cut)
    resets = codes.count(_RESET)
    return cut + _RESET * (len(codes) - 2 * resets)


def matches_search(text: str, values: Iterable[object]) -> bool:
    """Whether every word of a `search` occurs in one of the values."""
    folded = [str(value).lower() for value in values if value]
    return all(any(word in value for value in folded) for word in text.lower().split())


def _positive(text: str) -> int:
    """Return the number, or 0 for whatever AWX does not take as a positive one."""
    return int(text) if text.isdecimal() else 0


def _link(path: str, query: Sequence[tuple[str, str]], number: int) -> str:
    others = [(key, value) for key, value in query if key != "page"]
    asked = sorted([*others, ("page", str(number))], key=lambda item: item[0])
    return f"{path}?{urlencode(asked)}"
