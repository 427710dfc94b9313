"""`awx-bridge check`: is this configuration good, and what will it do?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bridge.cli.exits import ExitCode, FileProblems
from bridge.cli.files import ConfigFile, read_config
from bridge.cli.output import AsJson, say, write_json

if TYPE_CHECKING:
    from bridge.config import Config


def check(file: ConfigFile, *, json: AsJson = False) -> None:
    """Check a configuration: every mistake at once, each with its line.

    Nothing is connected to; `send-test` tries a sink.
    """
    if not json:
        _say_good(read_config(file))
        return
    try:
        found = read_config(file)
    except FileProblems as err:
        write_json({"ok": False, "problems": [problem._asdict() for problem in err.problems]})
        raise SystemExit(ExitCode.CONFIG) from err
    write_json({"ok": True, "problems": [], "remarks": list(_remarks(found)), **_summary(found)})


def _summary(config: Config) -> dict[str, Any]:
    return {
        "name": config.name,
        "sources": {name: options.url for name, options in config.sources.items()},
        "sinks": {name: options.destination for name, options in config.sinks.items()},
        "routes": len(config.routes),
    }


def _say_good(config: Config) -> None:
    found = _summary(config)
    say(
        f"OK: {_count(found['sources'], 'source')}, {_count(found['sinks'], 'sink')},"
        f" {_count(config.routes, 'route')}",
        style="green",
    )
    for name, url in found["sources"].items():
        say(f"  source {name}: {url}")
    for name, destination in found["sinks"].items():
        say(f"  sink {name}: {destination}")
    for remark in _remarks(config):
        say(f"  remark: {remark}", style="yellow")


def _count(things: Any, word: str) -> str:
    return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")


def _remarks(config: Config) -> Iterator[str]:
    """Yield what is no mistake but perhaps not meant."""
    used = {name for route in config.routes for name in route.to}
    for name in config.sinks:
        if name not in used:
            yield f"no route sends anything to sink {name}"
    for at, route in enumerate(config.routes[:-1]):
        if route.stop and not route.match:
            yield f"routes[{at}] takes everything and stops: the routes below it never see an event"
            return
