"""`awx-bridge schema`: the JSON Schemas of the events and of the configuration file."""

# ruff: noqa: PLC0415 - --help must not load the configuration's classes

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bridge.cli.output import write_json


class Of(StrEnum):
    """What there is a schema of."""

    EVENTS = "events"
    CONFIG = "config"


def schema(
    of: Annotated[Of, typer.Argument(help="What the schema is of.", metavar="[events|config]")] = Of.EVENTS,
) -> None:
    """Print the JSON Schema of the events, or of the configuration file for editors."""
    if of is Of.EVENTS:
        from bridge.contract import event_schema

        write_json(event_schema())
    else:
        from bridge.config import config_schema

        write_json(config_schema())
