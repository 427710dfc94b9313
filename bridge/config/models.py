"""The whole configuration as frozen, validated blocks.

Rooms declare their own options; this file puts them together. Relative paths are relative to the
working directory, like every path that a command is given: a configuration is often mounted
read-only, and its folder is no place for state.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    StringConstraints,
    Tag,
    WithJsonSchema,
    create_model,
    model_validator,
)

from bridge.awx.options import SourceOptions
from bridge.options import Duration, Options, SinkOptions
from bridge.redact import RedactOptions
from bridge.route import RouteSpec
from bridge.sinks import SinkKind
from bridge.state.options import StateOptions

NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_HIGHEST_PORT: Final = 65535

Name = Annotated[str, StringConstraints(pattern=NAME)]


def parse_listen(text: str) -> tuple[str, int]:
    """Split `127.0.0.1:8088`, `localhost:8088` or `[::1]:8088`; port 0 takes a free one.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    good = bool(colon and host) and port.isascii() and port.isdigit() and int(port[:6]) <= _HIGHEST_PORT
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host or any(char.isspace() for char in host):
        good = False
    if not good:
        raise ValueError("write host:port, like 127.0.0.1:8088; 0.0.0.0:8088 listens on every address")
    return host, int(port)


def _listen(text: str) -> str:
    parse_listen(text)
    return text


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class RouteOptions(Options):
    """A rule: a match, and the sinks that get what it matches."""

    name: str | None = Field(None, description="shown by explain and on the status page")
    match: dict[str, Any] = Field(
        {}, description="fields and what each must be; all must hold; an empty match takes everything"
    )
    to: Annotated[
        tuple[str, ...],
        BeforeValidator(_as_list),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
    ] = Field((), description="a sink, or a list of sinks; without any, and with stop, events are dropped")
    stop: bool = Field(default=False, description="true: routes below do not see what this one takes")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.to and not self.stop:
            raise ValueError("this route does nothing: name sinks under `to`, or set `stop: true` to drop")
        return self


class ServerOptions(Options):
    """Where the bridge itself listens."""

    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        "127.0.0.1:8088", description="host:port of the status page, /metrics, /livez, /readyz; null: none"
    )

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on, None for no server."""
        return None if self.listen is None else parse_listen(self.listen)


class LogOptions(Options):
    """What the bridge logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the lowest level shown")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: for people on a terminal, JSON elsewhere"
    )


class Config(Options):
    """One configuration file."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = Field(
        "awx-bridge",
        description="this bridge: part of Kafka's transactional ids and group names",
    )
    sources: dict[Name, SourceOptions] = Field(min_length=1, description="AWX controllers by name")
    sinks: dict[Name, SerializeAsAny[SinkOptions]] = Field(min_length=1, description="destinations by name")
    routes: tuple[RouteOptions, ...] = Field(
        min_length=1, description="every route that matches delivers; `stop: true` ends there"
    )
    state: StateOptions = Field(StateOptions(), description="the bridge's memory")
    server: ServerOptions = Field(ServerOptions(), description="the status page and the probes")
    redact: RedactOptions = Field(RedactOptions(), description="what else is secret")
    log: LogOptions = Field(LogOptions(), description="what the bridge logs on standard error")
    max_hosts: int = Field(
        200, ge=0, le=10_000, description="hosts listed in a job's receipt; its totals count all"
    )
    drain_timeout: Duration = Field(
        20.0, description="how long a stop waits for what is on its way to a sink"
    )

    @property
    def route_specs(self) -> tuple[RouteSpec, ...]:
        """The routes, as `route.compile_routes` takes them."""
        return tuple(RouteSpec(route.match, route.to, route.stop, route.name) for route in self.routes)


def config_model(kinds: Mapping[str, SinkKind]) -> type[Config]:
    """Return `Config` with a block for every kind of sink, told apart by `type`."""
    tagged: list[Any] = [Annotated[_block(name, kind.options), Tag(name)] for name, kind in kinds.items()]
    # Union[…] of a list: the kinds are known only now.
    block: Any = Annotated[Union[tuple(tagged)], Discriminator(_type_of)]  # noqa: UP007 - as just said
    sinks: Any = (dict[Name, block], Config.model_fields["sinks"])
    made: type[Config] = create_model("Config", __base__=Config, sinks=sinks)
    return made


def _type_of(block: object) -> str | None:
    kind = block.get("type") if isinstance(block, Mapping) else getattr(block, "type", None)
    return kind if isinstance(kind, str) else None


def _block(name: str, options: type[SinkOptions]) -> type[SinkOptions]:
    """Return the class of a sink's block, with its `type` where a third party left that out."""
    if "type" in options.model_fields:
        return options
    kind: Any = (Literal[name], ...)
    made: type[SinkOptions] = create_model(options.__name__, __base__=options, type=kind)
    return made
