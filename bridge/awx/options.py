"""How a source is configured: one AWX controller in the `sources` block.

Field descriptions end up in the JSON Schema of the configuration file.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from yarl import URL

from bridge.model import JOB_TYPES
from bridge.options import Duration, Options, Secret, Size, TlsOptions

JobType = Literal[
    "job",
    "workflow_job",
    "project_update",
    "inventory_update",
    "ad_hoc_command",
    "system_job",
    "workflow_approval",
]


def http_url(text: str) -> str:
    """Check an http or https address and return it without a trailing slash.

    Raises:
        ValueError: it is none, or carries credentials, a query or a fragment.
    """
    try:
        url = URL(text)
    except ValueError as err:
        raise ValueError("write an address like https://awx.example.com") from err
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("write an address like https://awx.example.com")
    if url.user is not None or url.password is not None:
        raise ValueError("an address carries no credentials: use token, or username and password")
    if url.query_string or url.fragment:
        raise ValueError("an address carries no query and no fragment")
    return text.rstrip("/")


def proxy_url(secret: SecretStr) -> SecretStr:
    """Check a proxy's address, which may carry credentials.

    Raises:
        ValueError: it is no http or https address.
    """
    try:
        url = URL(secret.get_secret_value())
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("write an address like http://proxy.example.com:3128")
    return secret


def start_moment(text: str) -> str:
    """Check `start`; a timestamp comes back in UTC, ending in Z.

    Raises:
        ValueError: it is neither now, nor all, nor a timestamp with a time zone.
    """
    if text in {"now", "all"}:
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        raise ValueError("write now, all, or a timestamp like 2026-11-01T00:00:00Z") from err
    if moment.tzinfo is None:
        raise ValueError("a timestamp needs a time zone, like 2026-11-01T00:00:00Z")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def at_least_one(types: tuple[JobType, ...]) -> tuple[JobType, ...]:
    """Check that some job type is followed.

    Raises:
        ValueError: none is.
    """
    if not types:
        raise ValueError("name at least one job type, or leave types out for all of them")
    return types


def bearer_token(secret: SecretStr) -> SecretStr:
    """Check that `secret` can be sent as a bearer token (RFC 6750, section 2.1).

    Raises:
        ValueError: it is empty, or has characters that no token has.
    """
    text = secret.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("this is no token: it is empty, or has blanks or characters beyond ASCII")
    return secret


HttpUrl = Annotated[str, AfterValidator(http_url)]
ProxyUrl = Annotated[Secret, AfterValidator(proxy_url)]


class JobOptions(Options):
    """Which jobs of the source are followed."""

    types: Annotated[tuple[JobType, ...], AfterValidator(at_least_one)] = Field(
        JOB_TYPES, description="unified job types to follow; default: all"
    )
    exclude: dict[str, Any] = Field(
        default_factory=dict,
        description="a match, as in routes: jobs that meet it are not followed at all",
    )


class SourceOptions(Options):
    """One AWX controller: where it is, how to log in, what to follow, how politely."""

    url: HttpUrl = Field(
        description="AWX's address; the API root is discovered below it (/api/v2/ or /api/controller/v2/)"
    )
    public_url: HttpUrl = Field("", description="AWX's address in links for people; default: url")
    token: Annotated[Secret, AfterValidator(bearer_token)] | None = Field(
        None, description="OAuth 2 token, scope read is enough; a System Auditor's shows every job"
    )
    token_file: Path | None = Field(
        None, description="file that holds the token; read again when AWX refuses it"
    )
    username: str | None = Field(
        None, description="user for basic authentication; a token costs AWX far less"
    )
    password: Secret | None = Field(None, description="the user's password")
    password_file: Path | None = Field(None, description="file that holds the password")
    start: Annotated[str, AfterValidator(start_moment)] = Field(
        "now",
        description="where the very first start begins: now (jobs that run then), all, or a timestamp"
        " like 2026-11-01T00:00:00Z (jobs created since)",
    )
    jobs: JobOptions = Field(JobOptions(), description="which jobs are followed")
    max_requests: float = Field(
        5.0, gt=0, le=1000, description="requests per second to AWX, on average: be polite"
    )
    gap_wait: Duration = Field(
        10.0, description="how long a counter that is not readable holds back its job's later events"
    )
    close_wait: Duration = Field(
        120.0, description="how long a finished job may go without movement before it is closed as it is"
    )
    timeout: Duration = Field(30.0, gt=0, description="deadline of one request, from start to last byte")
    page_limit: int = Field(200, ge=1, le=10_000, description="events asked for at once")
    page_bytes: Size = Field(
        16 * 1024**2, description="a larger answer is cut off and asked again in smaller parts"
    )
    tls: TlsOptions = Field(TlsOptions(), description="whom to trust, and how to show who we are")
    proxy: ProxyUrl | None = Field(None, description="HTTP proxy, like http://proxy.example.com:3128")

    @model_validator(mode="after")
    def _public_by_default(self) -> Self:
        if not self.public_url:
            object.__setattr__(self, "public_url", self.url)  # frozen for everybody but its maker
        return self

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        bearer = self.token is not None or self.token_file is not None
        password = self.password is not None or self.password_file is not None
        if bearer and (password or self.username is not None):
            raise ValueError("give either a token or a username with its password, not both")
        if not bearer and not password and self.username is None:
            raise ValueError("credentials are missing: give token, token_file, or username and password")
        if not bearer and not (password and self.username):
            raise ValueError("username and password go together")
        if self.username is not None and ":" in self.username:
            raise ValueError("a username for basic authentication has no colon")
        return self
