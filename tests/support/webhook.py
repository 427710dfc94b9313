"""A receiver of webhooks: keeps what came, verifies signatures, answers as told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from standardwebhooks import Webhook


@dataclass
class Reply:
    """How one request is answered; `taken` keeps the request although the answer is a failure."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    hang: bool = False
    taken: bool = False


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """`received` are the accepted requests in order, `attempts` all of them."""

    def __init__(self):
        self.received: list[Received] = []
        self.attempts: list[Received] = []
        self.replies: deque[Reply] = deque()
        self.always: Reply | Callable[[Received], Reply] = Reply()
        self.url = ""
        self._runner = None

    def reply(self, status=200, **how):
        """Answer one further request so."""
        self.replies.append(Reply(status, **how))

    def verify(self, secret):
        """Check all signatures with the reference implementation."""
        for request in self.received:
            Webhook(secret).verify(request.body, request.headers, json_parse=False)

    async def listen(self, *, port=0, ssl=None):
        """Serve on loopback, after `close` on the same port again if it is asked for."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=ssl).start()
        host, self.port = self._runner.addresses[0][:2]
        self.url = f"{'https' if ssl else 'http'}://{host}:{self.port}/hook"

    async def close(self):
        """Listen no longer: connections are refused from now on."""
        await self._runner.cleanup()

    async def _handle(self, request):
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Received(request.path_qs, headers, await request.read())
        self.attempts.append(got)
        reply = self.replies.popleft() if self.replies else self.always
        if not isinstance(reply, Reply):
            reply = reply(got)
        if reply.hang:
            await asyncio.sleep(3600)
        if reply.taken or (200 <= reply.status < 300 and not reply.drop):
            self.received.append(got)
        if reply.drop:
            request.transport.abort()
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


@asynccontextmanager
async def running_receiver(*, ssl=None):
    """Serve a receiver on loopback."""
    receiver = Receiver()
    await receiver.listen(ssl=ssl)
    try:
        yield receiver
    finally:
        await receiver.close()
