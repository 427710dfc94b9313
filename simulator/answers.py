"""What the HTTP answers look like: JSON, HTML pages and errors in AWX's and nginx's words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

_JSON: Final = "application/json"


def _page(title: str, text: str) -> str:
    head = f"<head>\n  <title>{title}</title>\n</head>"
    body = f"<body>\n  <h1>{title}</h1><p>{text}</p>\n</body>"
    return f'\n<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


NOT_FOUND_PAGE: Final = _page("Not Found", "The requested resource was not found on this server.")
SERVER_ERROR_PAGE: Final = _page("Server Error (500)", "")
PROXY_PAGE: Final = (
    "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n"
    "<center><h1>{status}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


NO_CREDENTIALS: Final = (
    "Authentication credentials were not provided. To establish a login session, visit /api/login/."
)
"""AWX's sentence of 401, for a wrong credential as for none."""


class ApiError(Exception):
    """An answer other than 200 with AWX's `detail` sentence."""

    def __init__(self, status: int, detail: str) -> None:
        """Keep status and sentence."""
        super().__init__(detail)
        self.status = status
        self.detail = detail


def encoded(body: bytes, status: int = 200) -> web.Response:
    """Answer with JSON that is already encoded."""
    return web.Response(body=body, status=status, content_type=_JSON)


def json(body: Any, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return encoded(msgspec.json.encode(body), status)


def html(page: str, status: int = 200) -> web.Response:
    """Answer with a page as Django sends it."""
    return web.Response(text=page, status=status, content_type="text/html", charset="utf-8")


def proxy_error(status: int) -> web.Response:
    """Answer as nginx does when nobody is behind it."""
    page = PROXY_PAGE.format(status=f"{status} {HTTPStatus(status).phrase}")
    return web.Response(body=page.encode(), status=status, content_type="text/html")


def refusal(error: ApiError) -> web.Response:
    """Answer with AWX's sentence; 401 names the way to authenticate, as recorded."""
    response = json({"detail": error.detail}, error.status)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer realm=api authorization_url=/api/o/authorize/"
    return response


def missing(model: str) -> ApiError:
    """Make AWX's 404 for an object that is not there."""
    return ApiError(HTTPStatus.NOT_FOUND, f"No {model} matches the given query.")


def forbidden() -> ApiError:
    """Make AWX's 403."""
    return ApiError(HTTPStatus.FORBIDDEN, "You do not have permission to perform this action.")
