"""What an HTTP answer of AWX, or the lack of one, means for the caller: errors made at one door.

Messages name the source, what was asked and AWX's own sentence; never a header, a credential or a
query, and never the text of a library's exception, which may hold an address with a password.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite
from typing import Final

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from bridge.errors import SourceDataError, SourceError, SourceRefused, SourceUnavailable

HTTP_ERRORS: Final = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError)
"""Everything that aiohttp raises while it asks; a test walks aiohttp's exception classes."""

_LONGEST_WAIT: Final = 3600.0
_LONGEST_DETAIL: Final = 300
_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_TEMPORARY: Final = frozenset(
    {
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_REASONS: Final[Mapping[type[BaseException], str]] = {
    aiohttp.ClientConnectorDNSError: "the name of the host cannot be resolved",
    aiohttp.ClientSSLError: "no TLS connection",
    ssl.SSLError: "no TLS connection",
    aiohttp.ClientPayloadError: "the answer was cut off",
    aiohttp.ServerDisconnectedError: "the connection was closed before the answer",
}
_SLOW: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})


class AnswerTooSlow(SourceUnavailable):
    """No whole answer in time: what was asked may have been too much at once."""


class AnswerUnreadable(SourceDataError):
    """The answer is larger than allowed, or nested too deeply; `head` is how it begins."""

    def __init__(self, message: str, *, head: bytes) -> None:
        """Keep the first bytes of the body."""
        self.head = head
        super().__init__(message)


class RequestInvalid(SourceDataError):
    """AWX answers 400: it does not know a parameter that was sent."""


def error_of_status(
    where: str, status: int, *, headers: Mapping[str, str], body: bytes, now: float
) -> SourceError:
    """Say what the answer `status` (anything but 200) to the question `where` means.

    `now` is in epoch seconds and serves a Retry-After that is a date, where there is no Date header.
    """
    detail = detail_of(body, headers.get("Content-Type", ""))
    said = f"{where}: HTTP {status}" + (f": {detail}" if detail else "")
    if status in _REFUSED:
        return _refusal(said, status, is_json(headers.get("Content-Type", "")))
    if status == HTTPStatus.BAD_REQUEST:
        return RequestInvalid(said)
    if status in _SLOW:
        return AnswerTooSlow(said, retry_after=retry_after(headers, now))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return _redirect(where, status, headers.get("Location", ""))
    if status in _TEMPORARY or not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return SourceUnavailable(said, retry_after=retry_after(headers, now))
    return SourceDataError(said)


def _refusal(said: str, status: int, from_awx: bool) -> SourceError:  # noqa: FBT001 - private, named by its caller
    # AWX answers 404 in JSON for a thing that does not exist. Any other 404 is an ingress without a
    # backend or an API that moved, and must not be taken for a deleted job.
    if status == HTTPStatus.NOT_FOUND and not from_awx:
        return SourceUnavailable(f"{said}: not AWX's own answer")
    return SourceRefused(said, status=status)


def _redirect(where: str, status: int, location: str) -> SourceUnavailable:
    # Every path leads there while AWX migrates its database (awx/main/middleware.py).
    if "migrations_notran" in location:
        return SourceUnavailable(f"{where}: AWX is migrating its database")
    return SourceUnavailable(f"{where}: HTTP {status}: redirects are not followed; check url")


def error_of_exception(where: str, err: BaseException) -> SourceError:
    """Say what one of `HTTP_ERRORS` means: AWX cannot be reached, or did not answer whole."""
    if isinstance(err, aiohttp.ConnectionTimeoutError):
        return SourceUnavailable(f"{where}: no connection in time")
    if isinstance(err, TimeoutError):
        return AnswerTooSlow(f"{where}: no answer in time")
    return SourceUnavailable(f"{where}: {_reason(err)}")


def _reason(err: BaseException) -> str:
    if isinstance(err, aiohttp.ClientConnectorCertificateError):
        why = getattr(err.certificate_error, "verify_message", "") or "it does not match"
        return f"the certificate is not trusted: {why}"
    if isinstance(err, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {err.status}"
    for kind, reason in _REASONS.items():
        if isinstance(err, kind):
            return reason
    if isinstance(err, OSError) and err.strerror:
        return err.strerror
    return f"no proper answer ({type(err).__name__})"


def is_json(content_type: str) -> bool:
    """Whether a Content-Type says JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def detail_of(body: bytes, content_type: str) -> str:
    """Return AWX's own sentence about an error, in one line; empty when there is none."""
    if not is_json(content_type):
        return ""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    detail = answer.get("detail", "") if isinstance(answer, dict) else ""
    return " ".join(detail.split())[:_LONGEST_DETAIL] if isinstance(detail, str) else ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the wait in seconds that Retry-After asks for (RFC 9110, section 10.2.3), at most an hour."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until = _moment(text)
        if until is None:
            return None
        seconds = until - (_moment(headers.get("Date", "")) or now)
    return min(max(seconds, 0.0), _LONGEST_WAIT) if isfinite(seconds) else None


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
