"""The methods of Slack's Web API that the sink calls: the only one here that awaits slack_sdk.

slack_sdk's own retries are off: they would post twice.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from bridge.ports import Clock
from bridge.render import slack_message
from bridge.sinks.over_http import (
    TRANSPORT_ERRORS,
    Failed,
    failure_of_status,
    failure_of_transport,
    read_excerpt,
)
from bridge.sinks.slack.errors import Answer, NotTakenError, UnreadableError, failure_of_answer
from bridge.sinks.slack.messages import DELIVERY, Mark

CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9]{7,}")

_PER_PAGE: Final = 200
_PAGES: Final = 50
_NOT_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)
_ABSENT: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


class Page(NamedTuple):
    """Messages, newest first, and where the next page begins."""

    messages: Sequence[Answer]
    cursor: str | None


class Api:
    """One workspace as the sink needs it. Every method raises what `Sink.send` raises, of one event."""

    def __init__(self, client: AsyncWebClient, clock: Clock) -> None:
        """Use `client`, which belongs to this sink alone."""
        self.client = client
        self._clock = clock

    async def post(self, channel: str, fields: dict[str, Any], mark: Mark) -> tuple[str, str]:
        """Post an event's message; return the channel's id and the message's `ts`.

        A plain `TemporaryDeliveryError` leaves open whether the message was posted.
        """
        message = slack_message(fields)
        answer = await self._call(
            self.client.chat_postMessage(
                channel=channel,
                text=message.text,
                blocks=message.blocks,
                attachments=message.attachments,
                metadata={"event_type": DELIVERY, "event_payload": msgspec.to_builtins(mark)},
                unfurl_links=False,
                unfurl_media=False,
            )
        )
        found = answer.get("channel")
        return found if isinstance(found, str) and found else channel, str(answer.get("ts") or "")

    async def history(self, channel_id: str, *, oldest: float | None, cursor: str | None = None) -> Page:
        """Read one page of a channel's messages after `oldest`, epoch seconds by Slack's clock.

        Raises:
            UnreadableError: the token may not.
        """
        answer = await self._call(
            self.client.conversations_history(
                channel=channel_id,
                oldest=None if oldest is None else f"{oldest:.6f}",
                cursor=cursor,
                limit=_PER_PAGE,
                include_all_metadata=True,
            )
        )
        return Page(_dicts(answer.get("messages")), _next_cursor(answer))

    async def find_channel(self, wanted: str) -> str:
        """Find the channel's id, so that a renamed channel stays the same one.

        Where the token may not list channels, or none has this name, Slack takes the name itself,
        and says what is wrong with it.
        """
        if CHANNEL_ID.fullmatch(wanted):
            return wanted
        name, cursor = wanted.removeprefix("#"), None
        for _ in range(_PAGES):
            listing = self.client.conversations_list(
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
            failure = failure_of_transport(err)
            if isinstance(err, _NOT_SENT) and isinstance(failure, TemporaryDeliveryError):
                failure = NotTakenError(failure.reason)
            raise failure from err
        except SlackClientError as err:
            raise TemporaryDeliveryError(f"slack_sdk: {type(err).__name__}") from err
        return answer.data if isinstance(answer.data, dict) else {}


def only_slack(clock: Clock, *, answered: Callable[[str | None], None]) -> aiohttp.ClientMiddlewareType:
    """Make the guard before slack_sdk, which follows redirects and trips over what is not JSON.

    `answered` hears the Date header of every answer.
    """

    async def guard(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        answered(response.headers.get("Date"))
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
            failure = NotTakenError(failure.reason, retry_after=failure.retry_after)
        if response.status in _ABSENT and isinstance(failure, SinkRefusedError):
            failure = UnreadableError(failure.reason)
        raise failure or TemporaryDeliveryError(f"HTTP {response.status} is no answer of Slack's")

    return guard


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


def _dicts(value: object) -> list[Answer]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _next_cursor(answer: Answer) -> str | None:
    metadata = answer.get("response_metadata")
    cursor = metadata.get("next_cursor") if isinstance(metadata, dict) else None
    return cursor if isinstance(cursor, str) and cursor else None
