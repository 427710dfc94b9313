"""One GET to AWX: credentials, budget, deadline, bounded body, and where the API root is.

Every exception leaves as a `SourceError`. Redirects are never followed. What a credential is stays
inside this file.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar

import aiohttp
from pydantic import SecretStr
from yarl import URL

from bridge import __version__
from bridge.awx.answers import (
    HTTP_ERRORS,
    AnswerUnreadable,
    error_of_exception,
    error_of_status,
    is_json,
)
from bridge.awx.budget import AT_ONCE, RequestBudget
from bridge.awx.options import SourceOptions, bearer_token
from bridge.awx.wire import NotJson, TooDeep, WrongShape, decode_object
from bridge.errors import SourceDataError, SourceError, SourceUnavailable
from bridge.ports import Clock, Purpose

T = TypeVar("T")
Params = Mapping[str, str | int]

_CONNECT_TIMEOUT: Final = 10.0
_CHUNK: Final = 256 * 1024
_HEAD: Final = 64 * 1024
_ERROR_BODY: Final = 64 * 1024
_ROOTS: Final = ("/api/", "/api/controller/")
"""Where a controller lists its API versions: itself, and behind the gateway of AAP 2.5 and later."""


class Answer(NamedTuple):
    """The status, the headers and the whole body of one answer (of an error: how the body begins)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Asks one AWX. `session` belongs to the caller and must not follow environment proxies."""

    def __init__(
        self,
        name: str,
        options: SourceOptions,
        *,
        session: aiohttp.ClientSession,
        budget: RequestBudget,
        clock: Clock,
        counted: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """Ask nothing yet; `counted` hears how each request went: ok, unavailable, refused, unreadable."""
        self._name = name
        self._options = options
        self._session = session
        self._budget = budget
        self._clock = clock
        self._counted = counted
        self._authorization: str | None = None
        self._root: str | None = None
        self._discovering = asyncio.Lock()

    async def get(
        self, path: str, decode: Callable[[bytes], T], *, purpose: Purpose, params: Params | None = None
    ) -> T:
        """Return the decoded body of `path` below the API root (`jobs/`).

        Raises:
            SourceUnavailable: no whole JSON answer; `AnswerTooSlow` when it took too long.
            SourceRefused: 401, 403, 404.
            SourceDataError: the answer makes no sense; `RequestInvalid` for a 400, `AnswerUnreadable`
                when it is longer than `page_bytes` or nested too deeply.
        """
        root = self._root or await self._discover(purpose)
        where = f"source {self._name}, GET {path}"
        answer = await self._ask_renewing(root + path, params or {}, purpose, where)
        if answer.status == HTTPStatus.NOT_FOUND:
            self._root = None  # the thing is gone, or the API moved: look before asking again
        if answer.status != HTTPStatus.OK:
            raise self._error(where, answer)
        try:
            return decode(answer.body)
        except NotJson as err:
            raise SourceUnavailable(f"{where}: {err}") from err
        except TooDeep as err:
            raise AnswerUnreadable(f"{where}: {err}", head=answer.body[:_HEAD]) from err
        except WrongShape as err:
            raise SourceDataError(f"{where}: {err}") from err

    def _error(self, where: str, answer: Answer) -> SourceError:
        return error_of_status(
            where, answer.status, headers=answer.headers, body=answer.body, now=self._clock.now()
        )

    async def _discover(self, purpose: Purpose) -> str:
        async with self._discovering:
            for path in _ROOTS:
                if self._root is not None:
                    break
                self._root = await self._root_at(path, purpose)
            if self._root is None:
                asked = " and ".join(_ROOTS)
                raise SourceUnavailable(f"source {self._name}: no AWX API v2 below url; asked {asked}")
            return self._root

    async def _root_at(self, path: str, purpose: Purpose) -> str | None:
        base = URL(self._options.url).raw_path.rstrip("/")
        where = f"source {self._name}, GET {path}"
        answer = await self._ask_renewing(base + path, {}, purpose, where)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise self._error(where, answer)
        root = root_in(answer.body)
        if root is None or root.startswith(base + "/"):
            return root
        return base + root  # a proxy in front of AWX takes the first part of the path away

    async def _ask_renewing(self, path: str, params: Params, purpose: Purpose, where: str) -> Answer:
        answer = await self._ask(path, params, purpose, where)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._renewed():
            return await self._ask(path, params, purpose, where)
        return answer

    async def _ask(self, path: str, params: Params, purpose: Purpose, where: str) -> Answer:
        try:
            answer = await self._exchange(path, params, purpose, where)
        except AnswerUnreadable:
            self._counted("unreadable")
            raise
        except SourceError:
            self._counted("unavailable")
            raise
        refused = answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
        ok = answer.status < HTTPStatus.MULTIPLE_CHOICES
        self._counted("ok" if ok else "refused" if refused else "unavailable")
        return answer

    async def _exchange(self, path: str, params: Params, purpose: Purpose, where: str) -> Answer:
        url = URL(self._options.url).join(URL(path, encoded=True)).with_query(params)
        headers = {"Authorization": self._credentials()}
        proxy = self._options.proxy
        async with self._budget.turn(purpose):
            try:
                async with self._session.get(
                    url,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy.get_secret_value() if proxy else None,
                ) as response:
                    return await self._read(response, where)
            except HTTP_ERRORS as err:
                raise error_of_exception(where, err) from err

    async def _read(self, response: aiohttp.ClientResponse, where: str) -> Answer:
        if response.status != HTTPStatus.OK:
            body, _ = await _up_to(response, _ERROR_BODY)
            return Answer(response.status, response.headers, body)
        kind = response.headers.get("Content-Type", "")
        if not is_json(kind):
            raise SourceUnavailable(f"{where}: {kind.partition(';')[0] or 'no content type'} instead of JSON")
        body, whole = await _up_to(response, self._options.page_bytes)
        if not whole:
            message = f"{where}: the answer is larger than {self._options.page_bytes} bytes"
            raise AnswerUnreadable(message, head=body[:_HEAD])
        return Answer(response.status, response.headers, body)

    def _credentials(self) -> str:
        if self._authorization is None:
            self._authorization = self._read_credentials()
        return self._authorization

    def _read_credentials(self) -> str:
        try:
            token = self._options.reveal("token")
            password = self._options.reveal("password")
            if token is not None:
                return f"Bearer {bearer_token(SecretStr(token)).get_secret_value()}"
        except OSError as err:
            raise self._unusable(f"cannot be read: {err.strerror}") from err
        except ValueError:  # of text that is not UTF-8 too, which shows its bytes
            raise self._unusable("holds no credential") from None
        pair = f"{self._options.username}:{password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def _unusable(self, why: str) -> SourceUnavailable:
        which = "token_file" if self._options.token_file else "password_file"
        return SourceUnavailable(f"source {self._name}: {which} {why}")

    def _renewed(self) -> bool:
        """Read the credentials again; whether they changed."""
        before, self._authorization = self._authorization, None
        return self._credentials() != before


async def _up_to(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """Read at most `most` bytes of the body; whether that was all. The rest is not waited for."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            response.close()
            return b"".join(chunks)[:most], False
    return b"".join(chunks), True


def root_in(body: bytes) -> str | None:
    """Return the path of API version 2 that AWX's `/api/` names; None when it names none."""
    try:
        answer = decode_object(body)
    except (NotJson, TooDeep, WrongShape):
        return None
    versions = answer.get("available_versions")
    root = versions.get("v2") if isinstance(versions, dict) else None
    root = root or answer.get("current_version")
    if not isinstance(root, str) or not root.startswith("/") or root.startswith("//"):
        return None
    return root.rstrip("/") + "/" if "?" not in root and "#" not in root else None


def open_session(options: SourceOptions) -> aiohttp.ClientSession:
    """Make the session of one source: no cookies, no environment, few connections, deadlines.

    Raises:
        OSError: a file of `tls` cannot be used (ssl.SSLError is one too).
    """
    secure = options.url.startswith("https:")
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=options.tls.context() if secure else True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "application/json", "User-Agent": f"awx-event-bridge/{__version__}"},
        timeout=aiohttp.ClientTimeout(
            total=options.timeout,
            connect=min(_CONNECT_TIMEOUT, options.timeout),
            sock_connect=min(_CONNECT_TIMEOUT, options.timeout),
            sock_read=options.timeout,
        ),
    )
