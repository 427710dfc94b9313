"""A stand-in for Slack's Web API that keeps Slack's rules.

Tokens, scopes, membership, block limits, message metadata, paging, threads, edits, and (when
`limited`) about one message a second in a channel. `fail` makes the next calls of a method go
wrong; `called` is set by the first post that comes, `posted` by the first that is taken. Alone:
`python -m tests.support.slack --port 9000 [--token xoxb-test] [--limited]`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.slack_rules import message_problems, metadata_problem

TOKEN = "xoxb-1111-2222-abcdef"
SCOPES = frozenset({"chat:write", "channels:read", "groups:read", "channels:history", "groups:history"})
BURST = 4.0


@dataclass
class Channel:
    id: str
    name: str
    is_archived: bool = False
    is_member: bool = True
    is_private: bool = False
    messages: list[dict] = field(default_factory=list)
    allowance: float = BURST
    refilled: float = 0.0


@dataclass
class Fault:
    """How one call goes wrong: `error` (ok: false), `status`, `drop` (after or before doing it), `hang`."""

    error: str | None = None
    status: int | None = None
    body: str = ""
    content_type: str = "text/plain"
    retry_after: str | None = None
    drop: bool = False
    hang: bool = False
    taken: bool = False
    extra: dict = field(default_factory=dict)


class SlackError(Exception):
    def __init__(self, code, **extra):
        super().__init__(code)
        self.answer = {"ok": False, "error": code, **extra}


class TooFastError(Exception):
    def __init__(self, seconds):
        super().__init__(seconds)
        self.seconds = seconds


class FakeSlack:
    """One workspace. `channels` by id; `calls` are (method, arguments) in order."""

    def __init__(self, *, token=TOKEN, scopes=SCOPES, limited=False, clock=time.time):
        self.token = token
        self.scopes = set(scopes)
        self.limited = limited
        self.clock = clock
        self.channels: dict[str, Channel] = {}
        self.calls: list[tuple[str, dict]] = []
        self.refused: list[list] = []
        self.called = asyncio.Event()
        self.posted = asyncio.Event()
        self.url = ""
        self._faults: dict[str, deque[Fault]] = {}
        self._last_ts = 0.0
        self.add_channel("ops")

    def add_channel(self, name, **more):
        channel = Channel(f"C{len(self.channels) + 1:08d}", name, **more)
        self.channels[channel.id] = channel
        return channel

    def channel(self, name):
        return next(c for c in self.channels.values() if name.removeprefix("#") in {c.name, c.id})

    def messages(self, name="ops"):
        return self.channel(name).messages

    def ids(self, name="ops"):
        """Return the event ids of the bridge's messages, oldest first."""
        return [m["metadata"]["event_payload"]["id"] for m in self.messages(name) if "metadata" in m]

    def fail(self, method, **how):
        """Make one further call of `method` go wrong."""
        self._faults.setdefault(method, deque()).append(Fault(**how))

    def mend(self, method):
        """Let no further call of `method` go wrong."""
        self._faults.pop(method, None)

    def app(self):
        app = web.Application()
        app.router.add_route("*", "/api/{method}", self._handle)
        app.router.add_get("/messages", self._show)
        return app

    async def _show(self, request):
        return web.json_response({c.name: c.messages for c in self.channels.values()})

    async def _handle(self, request):
        method = request.match_info["method"]
        asked = await _arguments(request)
        self.calls.append((method, asked))
        faults = self._faults.get(method)
        fault = faults.popleft() if faults else None
        if method == "chat.postMessage":
            self.called.set()
        if fault and (reply := await self._go_wrong(fault, request, method, asked)) is not None:
            return reply
        return self._answer(request, method, asked)

    async def _go_wrong(self, fault, request, method, asked):
        if fault.taken:
            self._answer(request, method, asked)
        if fault.hang:
            await asyncio.sleep(3600)
        if fault.drop:
            request.transport.abort()
            return web.Response()
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        if fault.error:
            answer = {"ok": False, "error": fault.error, **fault.extra}
            return web.json_response(answer, status=fault.status or 200, headers=headers)
        if fault.status:
            return web.Response(
                status=fault.status, text=fault.body, content_type=fault.content_type, headers=headers
            )
        return None

    def _answer(self, request, method, asked):
        try:
            self._authorize(request, asked)
            do = _METHODS.get(method, FakeSlack.unknown_method)
            return web.json_response({"ok": True, **do(self, asked)})
        except SlackError as err:
            return web.json_response(err.answer)
        except TooFastError as err:
            return web.json_response(
                {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": str(err.seconds)}
            )

    def _authorize(self, request, asked):
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token if scheme == "Bearer" else asked.pop("token", "")
        if not token:
            raise SlackError("not_authed")
        if token != self.token:
            raise SlackError("invalid_auth")

    def _need(self, *scopes):
        if not self.scopes.intersection(scopes):
            raise SlackError("missing_scope", needed=scopes[0], provided=",".join(sorted(self.scopes)))

    def _find(self, name):
        wanted = str(name or "").removeprefix("#")
        for channel in self.channels.values():
            if wanted in {channel.id, channel.name} and (channel.is_member or not channel.is_private):
                return channel
        raise SlackError("channel_not_found")

    def _take_turn(self, channel):
        now = self.clock()
        channel.allowance = min(BURST, channel.allowance + max(0.0, now - channel.refilled))
        channel.refilled = now
        if self.limited and channel.allowance < 1:
            raise TooFastError(1)
        channel.allowance -= 1

    def _next_ts(self):
        self._last_ts = max(self._last_ts + 0.000001, self.clock())
        return f"{self._last_ts:.6f}"

    def _check(self, asked):
        problems = message_problems(asked)
        if problems:
            self.refused.append(problems)
            raise SlackError(problems[0][0], response_metadata={"messages": [text for _, text in problems]})
        if "metadata" in asked and (code := metadata_problem(asked["metadata"])):
            raise SlackError(code)

    def unknown_method(self, asked):
        raise SlackError("unknown_method")

    def auth_test(self, asked):
        return {"team": "Example", "team_id": "T00000001", "user": "bridge", "bot_id": "B00000001"}

    def chat_post_message(self, asked):
        self._need("chat:write")
        channel = self._find(asked.get("channel"))
        if channel.is_archived:
            raise SlackError("is_archived")
        if not channel.is_member and "chat:write.public" not in self.scopes:
            raise SlackError("not_in_channel")
        self._check(asked)
        self._take_turn(channel)
        kept = {"text", "blocks", "attachments", "metadata", "thread_ts", "unfurl_links", "unfurl_media"}
        message = {name: value for name, value in asked.items() if name in kept}
        message |= {"type": "message", "ts": self._next_ts(), "bot_id": "B00000001"}
        channel.messages.append(message)
        self.posted.set()
        return {"channel": channel.id, "ts": message["ts"], "message": _shown(message)}

    def chat_update(self, asked):
        self._need("chat:write")
        channel = self._find(asked.get("channel"))
        message = next((m for m in channel.messages if m["ts"] == asked.get("ts")), None)
        if message is None:
            raise SlackError("message_not_found")
        self._check({"text": message.get("text"), **asked})
        message |= {k: asked[k] for k in ("text", "blocks", "attachments", "metadata") if k in asked}
        message["edited"] = {"ts": self._next_ts()}
        return {"channel": channel.id, "ts": message["ts"], "text": message.get("text", "")}

    def conversations_list(self, asked):
        kinds = str(asked.get("types") or "public_channel").split(",")
        for kind, scope in (("public_channel", "channels:read"), ("private_channel", "groups:read")):
            if kind in kinds:
                self._need(scope)
        seen = [
            c
            for c in self.channels.values()
            if ("private_channel" if c.is_private else "public_channel") in kinds
            and (c.is_member or not c.is_private)
        ]
        page, cursor = _page(seen, asked)
        flags = ("id", "name", "is_archived", "is_member", "is_private")
        return {
            "channels": [{flag: getattr(c, flag) for flag in flags} for c in page],
            "response_metadata": {"next_cursor": cursor},
        }

    def conversations_history(self, asked):
        channel = self._readable(asked)
        found = [m for m in channel.messages if not _in_thread(m)]
        return _messages(reversed(found), asked)

    def conversations_replies(self, asked):
        channel = self._readable(asked)
        top = asked.get("ts")
        return _messages([m for m in channel.messages if top in {m["ts"], m.get("thread_ts")}], asked)

    def _readable(self, asked):
        wanted = asked.get("channel")
        if wanted not in self.channels:  # no names here, unlike chat.postMessage
            raise SlackError("channel_not_found")
        channel = self._find(wanted)
        self._need("groups:history" if channel.is_private else "channels:history")
        if not channel.is_member:
            raise SlackError("not_in_channel")
        return channel


_METHODS = {
    "auth.test": FakeSlack.auth_test,
    "chat.postMessage": FakeSlack.chat_post_message,
    "chat.update": FakeSlack.chat_update,
    "conversations.list": FakeSlack.conversations_list,
    "conversations.history": FakeSlack.conversations_history,
    "conversations.replies": FakeSlack.conversations_replies,
}


async def _arguments(request):
    asked = dict(request.query)
    if request.content_type == "application/json":
        return asked | await request.json()
    form = dict(await request.post())
    for name in ("blocks", "attachments", "metadata"):
        if isinstance(form.get(name), str):
            form[name] = json.loads(form[name])
    return asked | form


def _messages(found, asked):
    oldest = float(asked.get("oldest") or 0)
    latest = float(asked.get("latest") or 1e12)
    page, cursor = _page([m for m in found if oldest < float(m["ts"]) <= latest], asked)
    with_metadata = str(asked.get("include_all_metadata", "")).lower() in {"1", "true"}
    return {
        "messages": [_shown(m, metadata=with_metadata) for m in page],
        "has_more": bool(cursor),
        "response_metadata": {"next_cursor": cursor},
    }


def _page(items, asked):
    start, limit = int(asked.get("cursor") or 0), min(999, int(asked.get("limit") or 100))
    end = start + limit
    return items[start:end], str(end) if end < len(items) else ""


def _shown(message, *, metadata=False):
    return {name: value for name, value in message.items() if metadata or name != "metadata"}


def _in_thread(message):
    return message.get("thread_ts", message["ts"]) != message["ts"]


@asynccontextmanager
async def running_slack(slack=None, *, port=0, ssl=None):
    """Serve `slack` on loopback; its `url` is then a `base_url`."""
    slack = slack or FakeSlack()
    runner = web.AppRunner(slack.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=ssl)
    await site.start()
    host, bound = runner.addresses[0][:2]
    slack.url = f"{'https' if ssl else 'http'}://{host}:{bound}/api/"
    try:
        yield slack
    finally:
        await runner.cleanup()


async def _serve(arguments):
    slack = FakeSlack(token=arguments.token, limited=arguments.limited)
    for name in arguments.channel:
        slack.add_channel(name)
    async with running_slack(slack, port=arguments.port):
        print(slack.url, flush=True)  # noqa: T201 - whoever started it reads the address here
        await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser(description="A stand-in for Slack's Web API")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--limited", action="store_true", help="about one message a second and channel")
    parser.add_argument("--channel", action="append", default=[], help="one more channel beside #ops")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
