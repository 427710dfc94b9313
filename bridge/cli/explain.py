"""`awx-bridge explain`: where would this event go, and why not elsewhere?"""

# ruff: noqa: PLC0415 - --help must not load the configuration's classes

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.exits import CommandError
from bridge.cli.files import ConfigFile, check_exists, read_config
from bridge.cli.output import AsJson, say, write_json

if TYPE_CHECKING:
    from bridge.route import Verdict

EventFile = Annotated[
    Path,
    typer.Argument(
        metavar="EVENT.json",
        help="The flat event as a sink gets it; - reads standard input.",
        show_default=False,
    ),
]


def explain(file: ConfigFile, event: EventFile, *, json: AsJson = False) -> None:
    """Show which routes take an event, and why the others do not."""
    from bridge.contract import FIELDS
    from bridge.route import compile_routes

    router = compile_routes(read_config(file).route_specs, known_fields=FIELDS)
    fields = _read_event(event)
    verdicts = router.explain(fields)
    sinks = list(router.sinks_for(fields))
    unknown = sorted(fields.keys() - FIELDS)
    if json:
        routes = [verdict._asdict() for verdict in verdicts]
        write_json({"sinks": sinks, "routes": routes, "unknown_fields": unknown})
        return
    for verdict in verdicts:
        say(_line(verdict), style="green" if verdict.matched else "dim")
    say(f"goes to: {', '.join(sinks) if sinks else 'no sink'}", style="bold")
    if unknown:
        say(f"remark: no event has the field {', '.join(unknown)}", style="yellow")


def _read_event(path: Path) -> dict[str, Any]:
    try:
        if path == Path("-"):
            raw = sys.stdin.buffer.read()
        else:
            check_exists(path)
            raw = path.read_bytes()
        event = json_format.loads(raw)
    except OSError as err:
        raise CommandError(f"{path} cannot be read: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise CommandError(f"{path} is no JSON: {err}") from err
    if not isinstance(event, dict):
        raise CommandError(f"{path} must hold one event: a JSON object")
    return event


def _line(verdict: Verdict) -> str:
    name = f" ({verdict.name})" if verdict.name else ""
    to = ", ".join(verdict.to) if verdict.to else "nowhere"
    return f"routes[{verdict.position}]{name} to {to}: {'yes' if verdict.matched else 'no'}: {verdict.why}"
