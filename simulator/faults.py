"""Outages that can be switched on while the server runs, and the count of what was asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final

from aiohttp import web

from simulator import answers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KINDS: Final = (
    "502_html",
    "503_html",
    "504_html",
    "500_html",
    "500_json",
    "401",
    "403",
    "429",
    "migration",
    "login_page",
    "not_json",
    "other_json",
    "reset",
    "hang",
    "half_body",
    "drip",
    "flood",
    "slow",
)
"""What an outage can be. `slow` answers in the end, `hang` never does, `half_body` stops in the middle.

`drip` begins and never ends, `flood` is 200 MB long, `other_json` is JSON of another shape.
"""

FLOOD: Final = 200 << 20
_CHUNK: Final = b"x" * (256 << 10)
_DRIP_EVERY: Final = 0.1
_PAGE_BEGINS: Final = b'{"count": 1, "next": null, "results": [{"id": 1, "stdout": "'


@dataclass(slots=True, kw_only=True)
class Outage:
    """A fault from now until `until` (seconds of the event loop), for requests whose path matches.

    `count` ends it after so many requests; `delay` is how long `slow` takes, and the Retry-After of
    429, in seconds. Of the matching requests it meets the `share` that `rng` picks.
    """

    kind: str
    until: float
    path: re.Pattern[str]
    rng: Random
    count: int | None = None
    delay: float = 2.0
    share: float = 1.0

    def hits(self, path: str, now: float) -> bool:
        """Whether this request meets the outage; counts it when it does."""
        if now >= self.until or self.count == 0 or self.path.search(path) is None:
            return False
        if self.rng.random() >= self.share:
            return False
        if self.count is not None:
            self.count -= 1
        return True


@dataclass(slots=True)
class Faults:
    """The outages of one server; `met` counts by kind the requests that met one.

    `seed` decides which requests an outage of a `share` meets; `poured` are the bytes of all floods.
    """

    seed: int = 1
    outages: list[Outage] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    poured: int = 0

    def add(
        self,
        kind: str,
        *,
        seconds: float = 3600.0,
        path: str = "",
        count: int | None = None,
        delay: float = 2.0,
        share: float = 1.0,
    ) -> Outage:
        """Start an outage; raise ValueError for an unknown kind, a bad pattern or a share beyond 0 to 1."""
        if kind not in KINDS:
            raise ValueError(f"no such outage: {kind}; there are {', '.join(KINDS)}")
        try:
            pattern = re.compile(path)
        except re.error as err:
            raise ValueError(f"bad path pattern: {err}") from err
        if not 0 <= share <= 1:
            raise ValueError(f"share is 0 to 1, not {share}")
        outage = Outage(
            kind=kind,
            until=asyncio.get_running_loop().time() + seconds,
            path=pattern,
            rng=Random(f"{self.seed} {kind} {path}"),  # noqa: S311  # a scenario, no secret
            count=count,
            delay=delay,
            share=share,
        )
        self.outages.append(outage)
        return outage

    def clear(self) -> None:
        """End all outages."""
        self.outages.clear()

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request as the outages let it be answered."""
        now = asyncio.get_running_loop().time()
        self.outages = [outage for outage in self.outages if now < outage.until and outage.count != 0]
        for outage in tuple(self.outages):
            if outage.hits(request.path, now):
                self.met[outage.kind] += 1
                if outage.kind == "flood":
                    return await self._flood(request)
                return await _suffer(outage, request, handler)
        return await handler(request)

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        """Send a page that is far too large, as long as somebody reads it."""
        page = await _begin_page(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(0, FLOOD, len(_CHUNK)):
                await page.write(_CHUNK)
                self.poured += len(_CHUNK)
        return _reset(request)


async def _suffer(outage: Outage, request: web.Request, handler: Handler) -> web.StreamResponse:
    if outage.kind == "slow":
        await asyncio.sleep(outage.delay)
        return await handler(request)
    if outage.kind == "half_body":
        return await _half(request, await handler(request))
    if outage.kind == "drip":
        return await _drip(request, outage.until)
    if outage.kind == "hang":
        await asyncio.sleep(max(0.0, outage.until - asyncio.get_running_loop().time()))
    if outage.kind in {"hang", "reset"}:
        return _reset(request)
    return _refuse(outage)


def _refuse(outage: Outage) -> web.Response:
    match outage.kind:
        case "502_html" | "503_html" | "504_html":
            response = answers.proxy_error(int(outage.kind[:3]))
        case "500_html":
            response = answers.html(answers.SERVER_ERROR_PAGE, HTTPStatus.INTERNAL_SERVER_ERROR)
        case "500_json":
            detail = {"detail": "A server error has occurred."}
            response = answers.json(detail, HTTPStatus.INTERNAL_SERVER_ERROR)
        case "401":
            response = answers.refusal(answers.ApiError(HTTPStatus.UNAUTHORIZED, answers.NO_CREDENTIALS))
        case "403":
            response = answers.refusal(answers.forbidden())
        case "429":
            response = answers.proxy_error(HTTPStatus.TOO_MANY_REQUESTS)
            response.headers["Retry-After"] = str(int(outage.delay))
        case "migration":
            response = web.Response(status=HTTPStatus.FOUND, headers={"Location": "/migrations_notran/"})
        case "login_page":
            response = answers.html("<!doctype html><title>Log in</title><form></form>")
        case "other_json":
            response = answers.json({"count": "many", "results": {"id": "first"}})
        case _:
            response = web.Response(body=b"{not json", content_type="application/json")
    return response


async def _half(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    body = whole.body if isinstance(whole, web.Response) else b""
    if not isinstance(body, bytes):
        return whole
    half = web.StreamResponse(status=whole.status, headers={"Content-Type": whole.content_type})
    half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    return _reset(request)


async def _drip(request: web.Request, until: float) -> web.StreamResponse:
    page = await _begin_page(request)
    with contextlib.suppress(ConnectionError):
        while asyncio.get_running_loop().time() < until:
            await page.write(b"x")
            await asyncio.sleep(_DRIP_EVERY)
    return _reset(request)


async def _begin_page(request: web.Request) -> web.StreamResponse:
    page = web.StreamResponse(headers={"Content-Type": "application/json"})
    await page.prepare(request)
    await page.write(_PAGE_BEGINS)
    return page


def _reset(request: web.Request) -> web.Response:
    """Drop the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=HTTPStatus.BAD_GATEWAY)


_NUMBER: Final = re.compile(r"/\d+(?=/|$)")


@dataclass(slots=True)
class Stats:
    """What was asked: for tests of politeness. Times are seconds of the event loop."""

    kinds: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=1000))
    sent_bytes: int = 0
    together: int = 0
    most_together: int = 0

    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer and remember."""
        begun = asyncio.get_running_loop().time()
        kind = f"{request.method} {_NUMBER.sub('/N', request.path)}"
        self.kinds[kind] += 1
        self.seconds[int(begun)] += 1
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        status = 0
        try:
            response = await handler(request)
            status = response.status
            if isinstance(response, web.Response) and isinstance(response.body, bytes):
                self.sent_bytes += len(response.body)
            return response
        finally:
            self.together -= 1
            self.statuses[status] += 1
            taken = asyncio.get_running_loop().time() - begun
            self.recent.append(
                {
                    "at": begun,
                    "method": request.method,
                    "path": request.path_qs,
                    "status": status,
                    "took": taken,
                }
            )

    def report(self) -> dict[str, Any]:
        """Return the counts; `recent` are the last 1,000 requests."""
        return {
            "requests": sum(self.kinds.values()),
            "by_kind": dict(self.kinds),
            "by_status": {str(status): count for status, count in self.statuses.items()},
            "busiest_second": max(self.seconds.values(), default=0),
            "most_together": self.most_together,
            "sent_bytes": self.sent_bytes,
            "recent": list(self.recent),
        }
