"""Events to an HTTP address: CloudEvents, signed the way of Standard Webhooks, one request each.

At least once and in order per job: only a 2xx counts as accepted. Redirects are never followed,
and an answer is never read beyond a few kilobytes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import AfterValidator, Field, SecretStr, model_validator

from bridge import encode
from bridge.errors import ConfigError, Problem, SinkRefusedError
from bridge.model import Event
from bridge.options import Batching, Secret, Size
from bridge.ports import Sink, SinkContext
from bridge.sinks.over_http import (
    TRANSPORT_ERRORS,
    HttpSinkOptions,
    failure_of_status,
    failure_of_transport,
    open_session,
    read_excerpt,
    send_each,
    shown_address,
)

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\U0010ffff]*")
_OURS: Final = ("ce-", "webhook-")
_OURS_TOO: Final = frozenset({"content-type", "content-length", "transfer-encoding", "connection"})
# Standard Webhooks signs `id.timestamp.body`, so a dot in the id would make that ambiguous.
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_/:@+=-]+")
# CloudEvents 1.0.2, HTTP binding 3.1.3.2: everything printable but space, quote and percent.
_UNENCODED: Final = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
_STANDARD_PREFIX: Final = "whsec_"


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an address that begins with https:// or http://")
    return url


class WebhookOptions(HttpSinkOptions):
    """A webhook."""

    type: Literal["webhook"]
    url: Annotated[str, AfterValidator(_http_url)] = Field(description="where events are posted to")
    secret: Secret | None = Field(
        None, description="signing secret: whsec_ and base64 (Standard Webhooks), or any text"
    )
    secret_file: Path | None = Field(None, description="file with the signing secret")
    previous_secret: Secret | None = Field(
        None, description="the secret before: requests are signed with both while receivers change over"
    )
    previous_secret_file: Path | None = Field(None, description="file with the secret before")
    hub_signature: bool = Field(
        default=False,
        description="also sign the body alone, sha256=<hex>, as Ansible's eda.webhook source reads it",
    )
    hub_signature_header: str = Field("x-hub-signature-256", description="header of that signature")
    headers: dict[str, SecretStr] = Field({}, description="further headers, for instance Authorization")
    content_mode: Literal["binary", "structured"] = Field(
        "binary", description="CloudEvents: attributes as ce- headers, or one JSON envelope"
    )
    in_flight: int = Field(8, ge=1, le=64, description="requests at a time, never two of one job")
    max_event_bytes: Size = Field(256 * 1024, description="a larger event is cut")

    @model_validator(mode="after")
    def _consistent(self) -> WebhookOptions:
        signed = self.secret is not None or self.secret_file is not None
        if not signed and (self.previous_secret or self.previous_secret_file or self.hub_signature):
            raise ValueError("previous_secret and hub_signature need a secret")
        if not _TOKEN.fullmatch(self.hub_signature_header):
            raise ValueError("hub_signature_header is no name of a header")
        for name, value in self.headers.items():
            lowered = name.lower()
            if not _TOKEN.fullmatch(name) or not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"headers: {name!r} is no header that HTTP allows")
            if lowered.startswith(_OURS) or lowered in _OURS_TOO:
                raise ValueError(f"headers: {name!r} is set by the bridge itself")
        return self

    @property
    def batching(self) -> Batching:
        """One event a request."""
        return Batching(max_events=1, max_bytes=self.max_event_bytes, in_flight=self.in_flight)

    @property
    def destination(self) -> str:
        """The address without its secret parts."""
        return shown_address(self.url)


class Keys(NamedTuple):
    """The signing secrets as they were read: the current one first."""

    texts: tuple[str, ...]
    keys: tuple[bytes, ...]


def signing_key(secret: str) -> bytes:
    """Turn a configured secret into the key: `whsec_` and base64, or any other text as it is.

    Raises:
        ValueError: what follows `whsec_` is no base64, or nothing is left.
    """
    if not secret.startswith(_STANDARD_PREFIX):
        key = secret.encode()
    else:
        encoded = secret.removeprefix(_STANDARD_PREFIX)
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    if not key:
        raise ValueError("the secret is empty")
    return key


def read_keys(options: WebhookOptions) -> Keys:
    """Read the secrets, files anew.

    Raises:
        OSError: a file cannot be read.
        ValueError: a secret cannot be used.
    """
    read = (options.reveal("secret"), options.reveal("previous_secret"))
    texts = tuple(text for text in read if text is not None)
    return Keys(texts, tuple(map(signing_key, texts)))


def webhook_id(event_id: str) -> str:
    """Return the event's id, or its UUID where the id has what Standard Webhooks forbids."""
    return event_id if _PLAIN_ID.fullmatch(event_id) else encode.message_uuid(event_id)


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign one request (Standard Webhooks, symmetric signature `v1`)."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class WebhookSink:
    """Posts events to one address."""

    def __init__(self, options: WebhookOptions, context: SinkContext, session: aiohttp.ClientSession) -> None:
        """Use `session`, which belongs to this sink alone."""
        self._options = options
        self._clock = context.clock
        self._session = session
        self._keys: Keys | None = None

    async def send(self, events: Sequence[Event], /) -> None:
        """Post one event after the other."""
        await send_each(events, self._post)

    async def _post(self, event: Event) -> None:
        body, headers = self._request(event)
        try:
            async with self._session.post(
                self._options.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._options.proxy_url,
            ) as response:
                failure = failure_of_status(
                    response.status,
                    now=self._clock.now(),
                    retry_after=response.headers.get("Retry-After"),
                    excerpt=await read_excerpt(response, secrets=self._secrets()),
                )
        except TRANSPORT_ERRORS as err:
            raise failure_of_transport(err) from err
        if failure is not None:
            if isinstance(failure, SinkRefusedError):
                self._keys = None  # the secret's file may hold a newer one by the next probe
            raise failure

    def _request(self, event: Event) -> tuple[bytes, dict[str, str]]:
        options = self._options
        body = encode.shape(event, fields=options.fields, max_bytes=options.max_event_bytes)
        headers = {name: value.get_secret_value() for name, value in options.headers.items()}
        headers["User-Agent"] = headers.get("User-Agent", "awx-event-bridge")
        if options.content_mode == "structured":
            body = encode.structured(event, body)
            headers["Content-Type"] = "application/cloudevents+json"
        else:
            headers["Content-Type"] = "application/json"
            headers |= _attributes(event)
        return body, headers | self._signatures(event, body)

    def _signatures(self, event: Event, body: bytes) -> dict[str, str]:
        keys = self._current_keys()
        message_id, timestamp = webhook_id(event.id), int(self._clock.now())
        headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if keys.keys:
            headers["webhook-signature"] = " ".join(
                signature(key, message_id, timestamp, body) for key in keys.keys
            )
        if self._options.hub_signature:
            # Receivers of this style take the secret as text, whatever it looks like.
            digest = hmac.digest(keys.texts[0].encode(), body, hashlib.sha256)
            headers[self._options.hub_signature_header] = f"sha256={digest.hex()}"
        return headers

    def _current_keys(self) -> Keys:
        if self._keys is None:
            try:
                self._keys = read_keys(self._options)
            except (OSError, ValueError) as err:
                raise SinkRefusedError("the signing secret cannot be read or used") from err
        return self._keys

    def _secrets(self) -> list[str]:
        given = [value.get_secret_value() for value in self._options.headers.values()]
        password = urlsplit(self._options.url).password or ""
        words = [word for value in given for word in value.split()]  # the token of "Bearer token"
        return [*given, *words, password, *(self._keys.texts if self._keys else ())]


def _attributes(event: Event) -> dict[str, str]:
    return {
        f"ce-{name}": quote(value, safe=_UNENCODED)
        for name, value in encode.cloudevents(event)
        if name != "datacontenttype"  # binary mode says it as Content-Type
    }


@asynccontextmanager
async def open_webhook(options: WebhookOptions, context: SinkContext) -> AsyncGenerator[Sink]:
    """Open a webhook sink.

    Raises:
        ConfigError: a secret or a TLS file cannot be used.
    """
    try:
        read_keys(options)
    except (OSError, ValueError) as err:
        where = f"sinks.{context.name}.secret"
        raise ConfigError([Problem(where, f"cannot be used: {type(err).__name__}")]) from err
    async with open_session(options, context.name) as session:
        yield WebhookSink(options, context, session)
