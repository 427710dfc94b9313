"""Events to a Slack channel, one message each, through Slack's Web API.

A post whose outcome is unknown (no answer, 5xx) is looked for in the channel by its message
metadata before it is posted again; so are the newest messages once after the start. That needs the
scope channels:history (groups:history); without it such a post is repeated. slack_sdk's own
retries are off: they would post twice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
from pydantic import Field, field_validator, model_validator
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bridge.backoff import retry_after_seconds
from bridge.errors import (
    ConfigError,
    PermanentDeliveryError,
    Problem,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.model import Event
from bridge.options import Batching, Secret
from bridge.ports import Clock, Sink, SinkContext
from bridge.render import slack_message
from bridge.sinks.over_http import (
    TRANSPORT_ERRORS,
    Failed,
    HttpSinkOptions,
    excerpt_of,
    failure_of_status,
    failure_of_transport,
    open_session,
    read_excerpt,
    send_each,
    shown_address,
)

DELIVERY: Final = "awxbridge_delivery"
"""`event_type` of the metadata of each message; its payload is `{id: <event id>}`."""

Answer = dict[str, Any]

_CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9]{7,}")
_LOOK_BACK: Final = 200
_CLOCKS_APART: Final = 5.0
_PAGES: Final = 50
_DOUBTS_KEPT: Final = 1000

_RATE_LIMITED: Final = frozenset({"ratelimited", "rate_limited"})
_PERMANENT: Final = frozenset(
    {
        "msg_too_long",
        "msg_blocks_too_long",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_attachments",
        "too_many_attachments",
        "attachment_payload_limit_exceeded",
        "no_text",
        "invalid_arguments",
        "invalid_arg_name",
        "invalid_array_arg",
        "invalid_charset",
        "invalid_form_data",
        "invalid_json",
        "json_not_object",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
    }
)
_REFUSED: Final = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "token_expired",
        "account_inactive",
        "missing_scope",
        "not_allowed_token_type",
        "no_permission",
        "access_denied",
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "channel_type_not_supported",
        "org_login_required",
        "two_factor_setup_required",
        "ekm_access_denied",
        "enterprise_is_restricted",
        "team_access_not_granted",
        "team_not_found",
        "method_deprecated",
        "deprecated_endpoint",
        "unknown_method",
    }
)


class SlackOptions(HttpSinkOptions):
    """A channel in a Slack workspace."""

    type: Literal["slack"]
    token: Secret | None = Field(None, description="bot token with the scope chat:write (xoxb-…)")
    token_file: Path | None = Field(None, description="file with the token")
    channel: str = Field(min_length=1, description='"#name" or the id of the channel')
    base_url: str = Field("https://slack.com/api/", description="a server that speaks Slack's Web API")

    @field_validator("base_url")
    @classmethod
    def _http_folder(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address that begins with https:// or http://")
        return url if url.endswith("/") else f"{url}/"

    @model_validator(mode="after")
    def _with_token(self) -> SlackOptions:
        if self.token is None and self.token_file is None:
            raise ValueError("token or token_file is missing")
        return self

    @property
    def batching(self) -> Batching:
        """One message at a time: Slack takes about one a second in a channel."""
        return Batching(max_events=1, max_bytes=1 << 20, in_flight=1)

    @property
    def destination(self) -> str:
        """The server and the channel; which workspace it is only the token knows."""
        return f"{shown_address(self.base_url)} {self.channel}"


class SlackSink:
    """Posts events to one channel."""

    def __init__(self, options: SlackOptions, client: AsyncWebClient, clock: Clock) -> None:
        """Use `client`, which belongs to this sink alone."""
        self._options = options
        self._client = client
        self._clock = clock
        # The channel's id, or its name where the token may not list channels.
        self._target: str | None = None
        # The first attempt, in epoch seconds, of each event whose posts had no clear answer.
        self._doubts: dict[str, float] = {}
        self._posted_before: frozenset[str] | None = None

    async def send(self, events: Sequence[Event], /) -> None:
        """Post one message after the other."""
        await send_each(events, self._deliver)

    async def _deliver(self, event: Event) -> None:
        if self._client.token is None:
            self._client.token = _read_token(self._options)
        fields = event.read()
        try:
            if self._target is None:
                self._target = await self._find_channel()
            if not await self._is_posted(event.id, self._target, replayed=fields.get("replayed") is True):
                await self._post(event.id, self._target, fields)
        except SinkRefusedError:
            # By the next probe there may be a newer token in the file, or a channel of that name.
            self._client.token = self._target = None
            raise
        self._doubts.pop(event.id, None)

    async def _post(self, event_id: str, channel: str, fields: dict[str, Any]) -> None:
        message = slack_message(fields)
        before = dict(self._doubts)
        self._doubts.setdefault(event_id, self._clock.now())  # also when cancelled half way
        if len(self._doubts) > _DOUBTS_KEPT:
            del self._doubts[next(iter(self._doubts))]
        try:
            await self._call(
                self._client.chat_postMessage(
                    channel=channel,
                    text=message.text,
                    blocks=message.blocks,
                    attachments=message.attachments,
                    metadata={"event_type": DELIVERY, "event_payload": {"id": event_id}},
                    unfurl_links=False,
                    unfurl_media=False,
                )
            )
        except (_NotTakenError, PermanentDeliveryError, SinkRefusedError):
            self._doubts = before
            raise

    async def _is_posted(self, event_id: str, channel: str, *, replayed: bool) -> bool:
        since = self._doubts.get(event_id)
        if since is not None:
            return event_id in await self._ids_in(channel, since - _CLOCKS_APART)
        if self._posted_before is None:
            self._posted_before = await self._ids_in(channel, None)
        return not replayed and event_id in self._posted_before

    async def _ids_in(self, channel: str, oldest: float | None) -> frozenset[str]:
        """Read the ids of the newest messages; none where the token may not read the channel."""
        if not _CHANNEL_ID.fullmatch(channel):
            return frozenset()
        try:
            answer = await self._call(
                self._client.conversations_history(
                    channel=channel,
                    oldest=None if oldest is None else f"{oldest:.6f}",
                    limit=_LOOK_BACK,
                    include_all_metadata=True,
                )
            )
        except (SinkRefusedError, PermanentDeliveryError):
            return frozenset()
        return frozenset(filter(None, map(_event_id_of, _dicts(answer.get("messages")))))

    async def _find_channel(self) -> str:
        """Find the channel's id, so that a renamed channel stays the same one.

        Where the token may not list channels, or none has this name, Slack takes the name itself,
        and says what is wrong with it.
        """
        wanted = self._options.channel
        if _CHANNEL_ID.fullmatch(wanted):
            return wanted
        name, cursor = wanted.removeprefix("#"), None
        for _ in range(_PAGES):
            listing = self._client.conversations_list(
                types="public_channel,private_channel", limit=1000, cursor=cursor
            )
            try:
                answer = await self._call(listing)
            except (SinkRefusedError, PermanentDeliveryError):
                break
            for channel in _dicts(answer.get("channels")):
                found = channel.get("id")
                if channel.get("name") == name and isinstance(found, str):
                    return found
            cursor = _next_cursor(answer)
            if cursor is None:
                break
        return f"#{name}"

    async def _call(self, request: Awaitable[AsyncSlackResponse]) -> Answer:
        try:
            answer = await request
        except SlackApiError as err:
            raise failure_of_answer(err, self._clock.now()) from err
        except TRANSPORT_ERRORS as err:
            raise failure_of_transport(err) from err
        except SlackClientError as err:
            raise TemporaryDeliveryError(f"slack_sdk: {type(err).__name__}") from err
        return answer.data if isinstance(answer.data, dict) else {}


class _NotTakenError(TemporaryDeliveryError):
    """Too many requests: this one has certainly not been carried out."""


def failure_of_answer(err: SlackApiError, now: float) -> Failed:
    """Say what an error of Slack's Web API means for the sink (product.md lists the usual ones).

    An error that is not known is taken for temporary: if it is about this one event, the lane
    gives up on it after `retry_for`; if it is about all, nothing is lost meanwhile.
    """
    data = getattr(err.response, "data", None)
    answer: Answer = data if isinstance(data, dict) else {}
    code = str(answer.get("error") or "an answer that is not Slack's")
    reason = f"Slack: {excerpt_of(code.encode(), secrets=())}{_hint(answer)}"
    if code in _RATE_LIMITED:
        header = err.response.headers.get("Retry-After")
        return _NotTakenError(reason, retry_after=retry_after_seconds(header, now))
    if code in _PERMANENT:
        return PermanentDeliveryError(reason)
    if code in _REFUSED or code.startswith("restricted_action"):
        return SinkRefusedError(reason)
    return TemporaryDeliveryError(reason)


def _hint(answer: Answer) -> str:
    metadata = answer.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    said = [f"needs {answer['needed']}"] if answer.get("needed") else []
    said += map(str, messages) if isinstance(messages, list) else []
    return f" ({excerpt_of('; '.join(said).encode(), secrets=())})" if said else ""


def _dicts(value: object) -> list[Answer]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _event_id_of(message: Answer) -> str | None:
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != DELIVERY:
        return None
    payload = metadata.get("event_payload")
    found = payload.get("id") if isinstance(payload, dict) else None
    return found if isinstance(found, str) else None


def _next_cursor(answer: Answer) -> str | None:
    metadata = answer.get("response_metadata")
    cursor = metadata.get("next_cursor") if isinstance(metadata, dict) else None
    return cursor if isinstance(cursor, str) and cursor else None


def _read_token(options: SlackOptions) -> str:
    try:
        token = options.reveal("token")
    except (OSError, ValueError) as err:
        raise SinkRefusedError("the token's file cannot be read") from err
    if not token or not token.isascii() or not token.isprintable():
        raise SinkRefusedError("the token is empty, or no token")
    return token


def _only_slack(clock: Clock) -> aiohttp.ClientMiddlewareType:
    """Make the guard before slack_sdk, which follows redirects and trips over what is not JSON."""

    async def guard(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status == HTTPStatus.OK:
            if response.content_type == "application/json" and _is_object(await response.read()):
                return response
            failure: Failed | None = TemporaryDeliveryError("an answer that is not Slack's")
        else:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            failure = failure_of_status(
                response.status,
                now=clock.now(),
                retry_after=response.headers.get("Retry-After"),
                excerpt=await read_excerpt(response, secrets=[token]),
            )
        response.close()
        if response.status == HTTPStatus.TOO_MANY_REQUESTS and isinstance(failure, TemporaryDeliveryError):
            failure = _NotTakenError(failure.reason, retry_after=failure.retry_after)
        raise failure or TemporaryDeliveryError(f"HTTP {response.status} is no answer of Slack's")

    return guard


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


@asynccontextmanager
async def open_slack(options: SlackOptions, context: SinkContext) -> AsyncGenerator[Sink]:
    """Open a Slack sink.

    Raises:
        ConfigError: the token or a TLS file cannot be used.
    """
    try:
        token = _read_token(options)
    except SinkRefusedError as err:
        raise ConfigError([Problem(f"sinks.{context.name}.token", err.reason)]) from err
    # Of its own and silent: slack_sdk would log whole messages when debugging is on.
    silent = logging.Logger("slack_sdk", logging.CRITICAL)  # noqa: LOG001 - not in the process-wide tree
    guard = _only_slack(context.clock)
    async with open_session(options, context.name, middlewares=[guard]) as session:
        client = AsyncWebClient(
            token, base_url=options.base_url, session=session, retry_handlers=[], logger=silent
        )
        client.proxy = options.proxy_url  # the constructor would take one from the environment
        yield SlackSink(options, client, context.clock)
