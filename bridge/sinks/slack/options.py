"""What the configuration says of a Slack sink."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from bridge.options import Batching, Secret
from bridge.sinks.over_http import HttpSinkOptions, shown_address


class SlackOptions(HttpSinkOptions):
    """A channel in a Slack workspace."""

    type: Literal["slack"]
    token: Secret | None = Field(None, description="bot token with the scope chat:write (xoxb-…)")
    token_file: Path | None = Field(None, description="file with the token")
    channel: str = Field(min_length=1, description='"#name" or the id of the channel')
    base_url: str = Field("https://slack.com/api/", description="a server that speaks Slack's Web API")

    on_ambiguous: Literal["repost", "drop"] = Field(
        "repost",
        description="what becomes of a message whose post had no clear answer where the token may not read "
        "the channel: it may come twice, or becomes a dead letter",
    )

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
