"""Who may read: bearer tokens, Basic, and a user who is let in and sees nothing."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from simulator.answers import NO_CREDENTIALS, ApiError

TOKEN = "simulator-token"  # noqa: S105  # opens a simulator and nothing else
PASSWORD = "simulator-password"  # noqa: S105  # as above


@dataclass(slots=True)
class Access:
    """Tokens and passwords by user; `readers` see everything, others are users without a role.

    May be changed while the server runs: take a token away and its next request answers 401.
    """

    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: "admin"})
    passwords: dict[str, str] = field(default_factory=lambda: {"admin": PASSWORD})
    readers: set[str] = field(default_factory=lambda: {"admin"})

    def user(self, request: web.Request) -> str:
        """Return the name of the user who asks; raise 401 when nobody known does."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        user = None
        if scheme.lower() == "bearer":
            user = self.tokens.get(credentials.strip())
        elif scheme.lower() == "basic":
            user = self._basic(credentials)
        if user is None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, NO_CREDENTIALS)
        return user

    def _basic(self, credentials: str) -> str | None:
        try:
            name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return name if self.passwords.get(name) == password else None
