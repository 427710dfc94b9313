"""The configuration: one YAML file in, one frozen `Config` out, or every problem at once.

`document` reads YAML, `environment` replaces `${VAR}`, `models` validates, `complaints` puts
pydantic's findings in plain words, `crossings` checks what one block says of another.
"""

from __future__ import annotations

from bridge.config.loading import config_schema, load, parse
from bridge.config.models import Config, LogOptions, RouteOptions, ServerOptions

__all__ = [
    "Config",
    "LogOptions",
    "RouteOptions",
    "ServerOptions",
    "config_schema",
    "load",
    "parse",
]
