import errno
import ssl
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import http_exceptions
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from bridge.awx.answers import (
    HTTP_ERRORS,
    AnswerTooSlow,
    RequestInvalid,
    detail_of,
    error_of_exception,
    error_of_status,
    retry_after,
)
from bridge.errors import SourceDataError, SourceError, SourceRefused, SourceUnavailable

JSON = {"Content-Type": "application/json"}
NOW = 1_780_000_000.0


def error(status, headers=JSON, body=b'{"detail": "No Job matches the given query."}'):
    return error_of_status("source prod, GET jobs/7/", status, headers=headers, body=body, now=NOW)


@pytest.mark.parametrize("status", [*range(201, 209), *range(300, 309), *range(400, 452), *range(500, 600)])
def test_every_status_has_a_decision(status):
    made = error(status)
    if status in {401, 403, 404}:
        assert isinstance(made, SourceRefused)
        assert made.status == status
    elif status < 400 or status >= 500 or status in {407, 408, 421, 425, 429}:
        assert isinstance(made, SourceUnavailable)
    else:
        assert isinstance(made, SourceDataError)
    assert isinstance(made, RequestInvalid) == (status == 400)
    assert isinstance(made, AnswerTooSlow) == (status in {502, 504})
    assert "GET jobs/7/" in str(made)


def test_a_404_that_is_not_awxs_own_is_no_deleted_job():
    made = error(404, {"Content-Type": "text/html"}, b"default backend - 404")
    assert isinstance(made, SourceUnavailable)


def test_the_message_has_awxs_sentence():
    assert str(error(404)).endswith("HTTP 404: No Job matches the given query.")


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("/migrations_notran/", "migrating"),
        ("https://sso.example.com/?token=s3cret", "redirects are not followed"),
    ],
)
def test_redirects(location, sentence):
    made = error(302, {"Location": location})
    assert isinstance(made, SourceUnavailable)
    assert sentence in str(made)
    assert "s3cret" not in str(made)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "86400000"}, 3600.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        (
            {
                "Retry-After": "Mon, 23 Nov 2026 07:00:30 GMT",
                "Date": "Mon, 23 Nov 2026 07:00:00 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "Thu, 28 May 2026 20:26:50 GMT"}, 10.0),
        ({"Retry-After": "Thu, 28 May 2020 20:26:50 GMT"}, 0.0),
        ({"Retry-After": "Thu, 99 May 99999 20:26:50 GMT"}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == seconds
    assert error(503, {**JSON, **headers}).retry_after == seconds


@given(st.text(), st.text())
def test_retry_after_may_be_anything(text, date):
    seconds = retry_after({"Retry-After": text, "Date": date}, NOW)
    assert seconds is None or 0 <= seconds <= 3600


@given(st.binary(), st.sampled_from(["application/json", "text/html", ""]))
def test_the_body_of_an_error_may_be_anything(body, kind):
    assert isinstance(detail_of(body, kind), str)


def test_a_detail_stays_one_line_of_bounded_length():
    assert detail_of(b'{"detail": "a\\n  b"}', "application/json; charset=utf-8") == "a b"
    assert len(detail_of(b'{"detail": "' + b"x" * 9999 + b'"}', "application/json")) == 300
    assert detail_of(b'{"detail": {"a": 1}}', "application/json") == ""


def all_classes(base):
    yield base
    for child in base.__subclasses__():
        yield from all_classes(child)


KEY = ConnectionKey(
    "awx.example.com", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)
REQUEST = SimpleNamespace(real_url="http://me:s3cret@proxy.example.com")
MADE_FROM = [
    (aiohttp.ClientConnectorCertificateError, (KEY, ssl.SSLCertVerificationError(1, "s3cret"))),
    (aiohttp.client_exceptions.UnixClientConnectorError, ("/s3cret", KEY, OSError(errno.ECONNREFUSED, "refused"))),
    (aiohttp.ClientConnectorError, (KEY, OSError(errno.ECONNREFUSED, "refused"))),
    (aiohttp.ClientResponseError, (REQUEST, ())),
    (aiohttp.ServerFingerprintMismatch, (b"a", b"b", "awx.example.com", 443)),
    (aiohttp.InvalidURL, ("http://me:s3cret@awx",)),
    (http_exceptions.LineTooLong, (b"s3cret",)),
    (http_exceptions.InvalidHeader, (b"Authorization: s3cret",)),
    (http_exceptions.BadStatusLine, ("s3cret",)),
    (http_exceptions.InvalidURLError, ("s3cret",)),
    (http_exceptions.BadHttpMessage, ("s3cret",)),
    (http_exceptions.HttpProcessingError, ()),
    (OSError, (errno.ECONNRESET, "Connection reset by peer")),
]  # fmt: skip
CLASSES = sorted(
    {
        *all_classes(aiohttp.ClientError),
        *all_classes(http_exceptions.HttpProcessingError),
        TimeoutError,
        ConnectionResetError,
        BrokenPipeError,
        ssl.SSLError,
    },
    key=lambda kind: kind.__name__,
)


def make(kind):
    arguments = next((args for base, args in MADE_FROM if issubclass(kind, base)), ("s3cret",))
    return kind(*arguments)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_is_mapped(kind):
    made = make(kind)
    assert isinstance(made, HTTP_ERRORS)
    said = error_of_exception("source prod, GET jobs/", made)
    assert isinstance(said, SourceUnavailable)
    assert isinstance(said, AnswerTooSlow) == (
        isinstance(made, TimeoutError) and not isinstance(made, aiohttp.ConnectionTimeoutError)
    )
    assert "s3cret" not in str(said)


def test_the_walk_found_the_classes():
    assert len(CLASSES) > 30
    public = [getattr(aiohttp, name) for name in dir(aiohttp)]
    errors = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Exception)}
    # of websockets and of servers: a GET raises none of these
    strangers = {kind.__name__ for kind in errors - set(CLASSES)}
    assert strangers <= {
        "BadContentDispositionHeader",
        "BadContentDispositionParam",
        "EofStream",
        "PayloadAccessError",
        "WSMessageTypeError",
        "WebSocketError",
    }
    assert all(issubclass(kind, Exception) for kind in HTTP_ERRORS)
    assert not issubclass(SourceError, HTTP_ERRORS)
