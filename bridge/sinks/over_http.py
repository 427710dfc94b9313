"""What sinks that speak HTTP have in common: their options, a session each, and what answers mean.

No sink is made here, and nothing is retried. Secrets never get into a reason: clients' own texts,
which repeat addresses and headers, stay behind as the cause.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, SecretStr

from bridge.backoff import retry_after_seconds
from bridge.errors import (
    ConfigError,
    PartialDeliveryError,
    PermanentDeliveryError,
    Problem,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.model import Event
from bridge.options import Duration, SinkOptions, TlsOptions

READ_AT_MOST: Final = 4096
"""Bytes of an answer that are looked at."""

TRANSPORT_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)
"""Everything that aiohttp raises when a request does not get its answer."""

_EXCERPT: Final = 200
_NEXT: Final = "an earlier event of the same batch failed"

_TEMPORARY: Final = frozenset({408, 409, 425, 429})
# 431: the headers carry this event's attributes, so another event may well pass.
_PERMANENT: Final = frozenset({400, 413, 415, 422, 431})
_UNSAFE: Final = re.compile(r"[^\x20-\x7e\xa0-\u1fff\u2030-\ud7ff\uf900-\ufffd]+")

_MEANINGS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorCertificateError, "the server's certificate is not trusted"),
    (aiohttp.ClientConnectorDNSError, "the server's name cannot be resolved"),
    (aiohttp.ClientHttpProxyError, "the proxy refuses the connection"),
)

Failed = TemporaryDeliveryError | PermanentDeliveryError | SinkRefusedError


class HttpSinkOptions(SinkOptions):
    """What every sink behind an HTTP address has."""

    timeout: Duration = Field(15.0, gt=0, description="for one request, from connecting to its answer")
    tls: TlsOptions = TlsOptions()
    proxy: SecretStr | None = Field(
        None, description="address of an HTTP proxy, http://[user:password@]host:port"
    )

    @property
    def proxy_url(self) -> str | None:
        """The proxy's address in clear."""
        return self.proxy.get_secret_value() if self.proxy else None


@asynccontextmanager
async def open_session(
    options: HttpSinkOptions,
    name: str,
    *,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open the session that belongs to the sink `name` alone.

    Raises:
        ConfigError: the TLS files cannot be used.
    """
    try:
        context = options.tls.context()
    except (OSError, ValueError) as err:  # ssl.SSLError is an OSError
        raise ConfigError([Problem(f"sinks.{name}.tls", f"cannot be used: {_os_reason(err)}")]) from err
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=options.timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=middlewares,
    ) as session:
        yield session


def failure_of_status(
    status: int, *, now: float, retry_after: str | None = None, excerpt: str = ""
) -> Failed | None:
    """Say what an HTTP status means for the sink; None for success, which is 2xx and nothing else.

    408, 409, 425, 429 and 5xx pass; 400, 413, 415, 422 and 431 are about this one event; 3xx
    (redirects are never followed) and every other 4xx are the same for each event, so the address
    or the credentials are wrong. A status outside HTTP's classes says nothing: it passes.
    """
    if 200 <= status < 300:  # noqa: PLR2004 - the classes of RFC 9110, section 15
        return None
    reason = f"HTTP {status}: {excerpt}" if excerpt else f"HTTP {status}"
    if status in _PERMANENT:
        return PermanentDeliveryError(reason)
    if status in _TEMPORARY or not 300 <= status < 500:  # noqa: PLR2004 - as above
        return TemporaryDeliveryError(reason, retry_after=retry_after_seconds(retry_after, now))
    return SinkRefusedError(reason)


def failure_of_transport(err: Exception) -> Failed:
    """Say what a request without an answer means.

    The network heals, so everything passes, except an address that is none.
    """
    if isinstance(err, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return SinkRefusedError("the address is not one that HTTP can reach")
    for kind, meaning in _MEANINGS:
        if isinstance(err, kind):
            return TemporaryDeliveryError(meaning)
    reason = _os_reason(err) if isinstance(err, OSError) else type(err).__name__
    return TemporaryDeliveryError(f"connection failed: {reason}")


async def read_excerpt(response: aiohttp.ClientResponse, *, secrets: Collection[str]) -> str:
    """Read the start of an answer as one short line for people, `secrets` blacked out.

    An answer that breaks off still has its status: what came so far is enough.
    """
    raw = b""
    try:
        while len(raw) < READ_AT_MOST and (chunk := await response.content.read(READ_AT_MOST - len(raw))):
            raw += chunk
    except TRANSPORT_ERRORS:
        pass
    return excerpt_of(raw, secrets=secrets)


def excerpt_of(raw: bytes, *, secrets: Collection[str]) -> str:
    """Make one short printable line of `raw`, `secrets` blacked out."""
    text = raw[:READ_AT_MOST].decode("utf-8", "replace")
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    # Far below what was read: a secret that was cut off at its end is never part of it.
    line = " ".join(_UNSAFE.sub(" ", text[: READ_AT_MOST // 4]).split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def shown_address(url: str) -> str:
    """Name an address without what may be secret in it.

    User and password go; a query counts, since another query can be another destination, but only
    its digest shows.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = f"?{sha256(parts.query.encode()).hexdigest()[:12]}" if parts.query else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"


async def send_each(events: Sequence[Event], deliver: Callable[[Event], Awaitable[None]]) -> None:
    """Deliver one event after the other, and stop at the first that fails.

    Raises:
        DeliveryError: the error of the first event when it speaks for all of them.
        PartialDeliveryError: the events from the failed one on; those behind it were not tried.
    """
    for index, event in enumerate(events):
        try:
            await deliver(event)
        except (TemporaryDeliveryError, PermanentDeliveryError, SinkRefusedError) as err:
            alone = len(events) == 1 or (index == 0 and not isinstance(err, PermanentDeliveryError))
            if alone:
                raise
            rest = {n: TemporaryDeliveryError(_NEXT) for n in range(index + 1, len(events))}
            raise PartialDeliveryError({index: err, **rest}) from err


def _os_reason(err: Exception) -> str:
    return getattr(err, "strerror", None) or type(err).__name__
