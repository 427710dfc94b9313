"""A small AWX for tests: answers are scripted, or replayed from the recordings of a real one."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "awx-recordings"
API_ROOT = {"current_version": "/api/v2/", "available_versions": {"v2": "/api/v2/"}}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedAwx:
    """Answers each path below `/api/v2/` with its handler; keeps every request."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.handlers: dict[str, Handler] = {}
        self.url = ""

    @property
    def asked(self) -> list[tuple[str, dict[str, str]]]:
        """Path and query of every request but the discovery of the root."""
        return [(r.path, dict(r.query)) for r in self.requests if r.path not in {"/api/", "/api/controller/"}]

    def on(self, path: str, handler: Handler) -> None:
        self.handlers[path] = handler

    def say(self, path: str, answer: Any, **options: Any) -> None:
        """Answer `path` with JSON, always the same."""

        async def handler(_: web.Request) -> web.Response:
            return web.json_response(answer, **options)

        self.handlers[path] = handler

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        if handler is None and request.path == "/api/":
            return web.json_response(API_ROOT)
        if handler is None:
            return web.json_response({"detail": "Not found."}, status=404)
        return await handler(request)


@asynccontextmanager
async def scripted_awx(*, tls: ssl.SSLContext | None = None) -> AsyncGenerator[ScriptedAwx]:
    awx = ScriptedAwx()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", awx.answer)
    server = TestServer(app, host="127.0.0.1", port=0, scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    awx.url = str(server.make_url("")).rstrip("/")
    try:
        yield awx
    finally:
        await server.close()


class EventRows:
    """An event list with AWX's semantics: order, filters, `limit` and `page_size`."""

    def __init__(self, rows: list[dict[str, Any]], *, knows_limit: bool = True) -> None:
        self.rows = rows
        self.knows_limit = knows_limit

    async def __call__(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        if "limit" in query and not self.knows_limit:
            return web.json_response({"detail": "JobEvent has no field named 'limit'"}, status=400)
        rows = [row for row in self.rows if self._meets(row, query)]
        rows.sort(key=lambda row: row["counter"], reverse=query.get("order_by") == "-counter")
        size = int(query.get("limit") or min(int(query.get("page_size", 25)), 200))
        page: dict[str, Any] = {"results": rows[:size]}
        if "limit" not in query and "count_disabled" not in query:
            page = {"count": len(rows), "next": None, "previous": None, **page}
        return web.json_response(page)

    @staticmethod
    def _meets(row: dict[str, Any], query: dict[str, str]) -> bool:
        wanted = query.get("counter__in")
        return (
            row["counter"] > int(query.get("counter__gt", -1))
            and (wanted is None or str(row["counter"]) in wanted.split(","))
            and ("event" not in query or row["event"] == query["event"])
            and ("event__in" not in query or row["event"] in query["event__in"].split(","))
            and ("failed" not in query or row["failed"] == (query["failed"] == "true"))
        )


def recorded(number: int) -> dict[str, Any]:
    """Return one HTTP recording."""
    (path,) = (RECORDINGS / "http").glob(f"{number:03d}-*.json")
    return json.loads(path.read_text(encoding="utf-8"))


def recorded_events(name: str) -> list[dict[str, Any]]:
    """Return every event of one recorded job, in counter order."""
    with gzip.open(RECORDINGS / "events" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def answer_recorded(request: web.Request, recording: dict[str, Any]) -> web.Response:
    """Answer with the status, the type and the body that AWX gave."""
    response = recording["response"]
    text = json.dumps(response["json"]) if "json" in response else response.get("text", "")
    headers = {
        k: v for k, v in response["headers"].items() if k in {"Location", "Content-Type", "Retry-After"}
    }
    return web.Response(status=response["status"], body=text.encode(), headers=headers)


async def hang(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()
