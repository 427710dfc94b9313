"""The simulated AWX as an HTTP server: AWX's paths, and its own below `/_sim/`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from yarl import URL

from simulator import answers, scenarios
from simulator.access import Access
from simulator.answers import ApiError
from simulator.api import Api, Handler
from simulator.faults import KINDS, Faults, Stats
from simulator.world import World

_OPEN_PATHS: Final = ("/ping/", "/api/", "/v2/")


@dataclass(slots=True)
class Simulator:
    """One simulated AWX at `url`. `prefix` ("controller") puts a gateway in front of it.

    Behind the gateway the API is below `/api/<prefix>/` only, and `/api/` is the gateway's own.
    """

    world: World
    access: Access = field(default_factory=Access)
    faults: Faults = field(default_factory=Faults)
    stats: Stats = field(default_factory=Stats)
    prefix: str = ""
    url: str = ""

    @property
    def root(self) -> str:
        """The path of the API, without a slash at its end."""
        return f"/api/{self.prefix}/v2" if self.prefix else "/api/v2"

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self._counted, self._faulty, self._dressed, self._refused])
        api = Api(self.world, self.access)
        app.router.add_get("/api/", self._entrance)
        if self.prefix:
            app.router.add_get(f"/api/{self.prefix}/", self._versions)
        app.router.add_get(f"{self.root}/", api.root)
        for path, handler in api.routes():
            app.router.add_get(f"{self.root}{path}", handler)
        app.router.add_get("/migrations_notran/", self._migrations)
        app.router.add_get("/_sim/stats", self._stats)
        app.router.add_get("/_sim/truth", self._truth)
        app.router.add_post("/_sim/outage", self._outage)
        app.router.add_delete("/_sim/outage", self._mend)
        app.router.add_post("/_sim/play", self._play)
        app.router.add_post("/_sim/identity", self._identity)
        return app

    async def _entrance(self, request: web.Request) -> web.Response:
        if not self.prefix:
            return await self._versions(request)
        apis = {"gateway": "/api/gateway/", self.prefix: f"/api/{self.prefix}/"}
        return answers.json({"description": "AAP gateway REST API", "apis": apis})

    async def _versions(self, _request: web.Request) -> web.Response:
        body: dict[str, Any] = {"description": "AWX REST API", "current_version": "/api/v2/"}
        body |= {"available_versions": {"v2": "/api/v2/"}}
        body |= {} if self.prefix else {"oauth2": "/api/o/"}
        return answers.json(
            {**body, "custom_logo": "", "custom_login_info": "", "login_redirect_override": ""}
        )

    async def _migrations(self, _request: web.Request) -> web.Response:
        return answers.html("<!doctype html><title>Upgrade in progress</title>")

    async def _stats(self, _request: web.Request) -> web.Response:
        return answers.json({**self.stats.report(), "faults": dict(self.faults.met)})

    async def _truth(self, _request: web.Request) -> web.Response:
        return answers.json(self.world.truth())

    async def _outage(self, request: web.Request) -> web.Response:
        """Start an outage: `{"kind": …, "seconds": 20, "path": "job_events", "count": 3, "delay": 2}`.

        `"share": 0.1` lets a tenth of the requests meet it.
        """
        try:
            asked = await request.json()
            self.faults.add(asked.pop("kind"), **asked)
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            return answers.json({"detail": str(err), "kinds": KINDS}, HTTPStatus.BAD_REQUEST)
        return answers.json({}, HTTPStatus.CREATED)

    async def _play(self, request: web.Request) -> web.Response:
        """Let a scenario's jobs enter from now on: `{"scenario": "demo"}`; answers their ids."""
        try:
            acts = scenarios.NAMES[(await request.json())["scenario"]]()
        except (ValueError, KeyError, TypeError) as err:
            detail = {"detail": str(err), "scenarios": list(scenarios.NAMES)}
            return answers.json(detail, HTTPStatus.BAD_REQUEST)
        return answers.json({"jobs": [job.id for job in self.world.stage_now(acts)]}, HTTPStatus.CREATED)

    async def _identity(self, request: web.Request) -> web.Response:
        """Become another AWX, or an older one: `{"install_uuid": …, "newest_id": 12}`, each optional.

        Jobs above `newest_id` are gone, and their ids are given again.
        """
        try:
            asked = await request.json()
            self.world.restore(asked.get("install_uuid"), asked.get("newest_id"))
        except (ValueError, TypeError, AttributeError) as err:
            return answers.json({"detail": str(err)}, HTTPStatus.BAD_REQUEST)
        return answers.json({})

    async def _mend(self, _request: web.Request) -> web.Response:
        self.faults.clear()
        return answers.json({})

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sim/"):
            return await handler(request)
        return await self.stats.count(request, handler)

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sim/"):
            return await handler(request)
        return await self.faults.answer(request, handler)

    @web.middleware
    async def _dressed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Add the headers that AWX adds, and the gateway's prefix to the paths in the body."""
        response = await handler(request)
        response.headers["Server"] = "nginx"
        response.headers["Vary"] = "Accept, Accept-Language, origin"
        response.headers["Content-Language"] = "en"
        response.headers["X-API-Request-Id"] = uuid.uuid4().hex
        response.headers["X-API-Total-Time"] = "0.010s"
        if response.status < HTTPStatus.BAD_REQUEST:
            response.headers["X-Content-Type-Options"] = "nosniff"
        if response.content_type == "application/json" or response.status == HTTPStatus.OK:
            response.headers["Allow"] = "GET, HEAD, OPTIONS"
            response.headers["X-API-Product-Name"] = "AWX"
            response.headers["X-API-Node"] = "awx-1"
            response.headers["X-API-Time"] = "0.005s"
            if not request.path.endswith(_OPEN_PATHS) and response.status != HTTPStatus.UNAUTHORIZED:
                response.headers["X-API-Product-Version"] = "24.6.1"
        if self.prefix and isinstance(response, web.Response) and isinstance(response.body, bytes):
            response.body = response.body.replace(b'"/api/v2/', f'"{self.root}/'.encode())
        return response

    @web.middleware
    async def _refused(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals into AWX's answers."""
        try:
            _accepting(request)
            return _browsable(request, await handler(request))
        except ApiError as error:
            return answers.refusal(error)
        except web.HTTPNotFound:
            return await self._elsewhere(request)
        except web.HTTPMethodNotAllowed:
            return self._not_allowed(request)

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Redirect to the path with a slash when there is one, else answer with Django's page."""
        if not request.path.endswith("/"):
            slashed = request.path + "/"
            found = await request.app.router.resolve(request.clone(rel_url=URL(slashed)))
            if found.http_exception is None:
                query = f"?{request.query_string}" if request.query_string else ""
                headers = {"Location": slashed + query, "Content-Type": "text/html; charset=utf-8"}
                return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers=headers)
        return answers.html(answers.NOT_FOUND_PAGE, HTTPStatus.NOT_FOUND)

    def _not_allowed(self, request: web.Request) -> web.Response:
        try:
            self.access.user(request)
        except ApiError as error:
            return answers.refusal(error)
        if request.method == "OPTIONS":
            renders = ["application/json", "text/html"]
            return answers.json({"name": "", "description": "", "renders": renders, "parses": renders[:1]})
        sentence = f'Method "{request.method}" not allowed.'
        return answers.refusal(ApiError(HTTPStatus.METHOD_NOT_ALLOWED, sentence))


def _accepting(request: web.Request) -> None:
    """Refuse what asks for something else than AWX renders; `stdout/` renders text as well."""
    accept = request.headers.get("Accept", "*/*")
    known = ("*/*", "application/*", "application/json", "text/html", "text/plain")
    if not any(each in accept for each in known):
        raise ApiError(HTTPStatus.NOT_ACCEPTABLE, "Could not satisfy the request Accept header.")


def _browsable(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Wrap JSON into a page for who prefers HTML, as Django REST framework does."""
    if not request.headers.get("Accept", "").startswith("text/html") or not isinstance(
        response, web.Response
    ):
        return response
    if response.content_type != "application/json":
        return response
    page = f"<!DOCTYPE html>\n<html><body><pre>{escape(response.text or '')}</pre></body></html>\n"
    return answers.html(page, response.status)


@asynccontextmanager
async def serve(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    prefix: str = "",
    access: Access | None = None,
) -> AsyncGenerator[Simulator]:
    """Serve a world; yield the running simulator, whose `url` is its base URL.

    Its `faults`, `stats`, `access` and `world` may be used while it runs.
    """
    simulator = Simulator(world, access or Access(), Faults(world.seed), prefix=prefix)
    runner = web.AppRunner(simulator.app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        simulator.url = f"http://{host}:{bound[1]}"
        yield simulator
    finally:
        await runner.cleanup()
