"""The HTTP server for probes, Prometheus and whoever asks how the bridge is.

Every answer is made anew, is never cached, and lets a browser do nothing with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from bridge.errors import ListenError

KEEP_ALIVE: Final = 15.0
SHUTDOWN_LIMIT: Final = 2.0
"""Seconds that answers under way get when the bridge stops."""

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text exposition format (prometheus.io/docs/instrumenting/exposition_formats)."""

_Handler = Callable[[web.Request], Awaitable[web.Response]]

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class NotReady(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that keeps the bridge from being ready: `what` ("source prod") and `why`."""

    what: str
    why: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/readyz` says: ready when nothing is listed."""

    not_ready: tuple[NotReady, ...] = ()


@asynccontextmanager
async def open_web(
    address: tuple[str, int],
    *,
    health: Callable[[], Health],
    metrics: Callable[[], bytes],
    status: Callable[[], Mapping[str, object]],
) -> AsyncGenerator[str]:
    """Listen on `address` (host and port; port 0 takes a free one) for the length of the block.

    Yields the base URL. The callables are asked at each request, on the event loop: they must not
    wait. `/livez` is 200 while the loop turns, `/readyz` 200 or 503 with a JSON list of what is not
    ready, `/metrics` Prometheus' text, `/api/v1/status` JSON.

    Raises:
        ListenError: the address cannot be listened on.
    """
    app = web.Application()
    app.on_response_prepare.append(_harden)
    app.add_routes(
        [
            web.get("/livez", _live),
            web.get("/readyz", _ready(health)),
            web.get("/metrics", _metrics(metrics)),
            web.get("/api/v1/status", _status(status)),
        ]
    )
    runner = web.AppRunner(
        app, access_log=None, keepalive_timeout=KEEP_ALIVE, shutdown_timeout=SHUTDOWN_LIMIT
    )
    await runner.setup()
    try:
        yield await _listen(runner, *address)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as err:
        raise ListenError(
            f"cannot listen on {shown}:{port} ({err.strerror or err}): set server.listen to a free "
            "address of this machine, or to null for no server"
        ) from err
    return f"http://{shown}:{runner.addresses[0][1]}"


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.pop("Server", None)


async def _live(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def _ready(health: Callable[[], Health]) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        found = health().not_ready
        return _json(found, status=503 if found else 200)

    return answer


def _metrics(metrics: Callable[[], bytes]) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": METRICS_TYPE})

    return answer


def _status(status: Callable[[], Mapping[str, object]]) -> _Handler:
    async def answer(_request: web.Request) -> web.Response:
        return _json(status())

    return answer


def _json(value: object, *, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value, enc_hook=str)
    return web.Response(body=body + b"\n", status=status, content_type="application/json")
