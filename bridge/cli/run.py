"""`awx-bridge run`: the daemon."""

# ruff: noqa: PLC0415 - --help must not load the daemon

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.clock import SystemClock
from bridge.cli.exits import Exits, FileProblems
from bridge.cli.files import ConfigFile, read_config
from bridge.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.observe import LogObserver, Metrics

Accepted = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="SINK", help="Go on with this sink although it now delivers elsewhere."),
]


def run(context: typer.Context, file: ConfigFile, *, accept: Accepted = None) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    A first signal lets what is on its way arrive; a second one ends at once. Both are safe.
    """
    # Nobody sits beside a daemon to start it again with --debug.
    context.ensure_object(Exits).debug = True
    config = read_config(file)
    unknown = [name for name in accept or () if name not in config.sinks]
    if unknown:
        raise typer.BadParameter(
            f"no sink is called {unknown[0]!r}{did_you_mean(unknown[0], config.sinks)}", param_hint="--accept"
        )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(config, accept or ()))
    except ConfigError as err:
        raise FileProblems(file, err) from err


async def _run(config: Config, accept: list[str] | tuple[()]) -> None:
    from bridge import app
    from bridge.observe import Metrics, library_logs

    stop = asyncio.Event()
    _stop_on_signals(asyncio.get_running_loop(), stop)
    metrics = Metrics()
    observer = _observer(config, metrics)
    with library_logs(observer):
        outside = app.Outside(stop, SystemClock(), observer, metrics.render)
        await app.run(config, outside, accept=accept)


def _observer(config: Config, metrics: Metrics) -> LogObserver:
    """Log to standard error: for people on a terminal, JSON lines elsewhere."""
    from bridge.observe import LogObserver, open_log

    terminal = sys.stderr.isatty()
    console = terminal if config.log.format == "auto" else config.log.format == "console"
    colour = terminal and not os.environ.get("NO_COLOR")
    log = open_log(sys.stderr, clock=SystemClock(), level=config.log.level, console=console, colour=colour)
    return LogObserver(log, metrics)


def _stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop at the first signal, end at once at the second."""

    def received(number: int) -> None:
        if stop.is_set():
            # Nothing to clean up: a start after kill -9 is a normal start.
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed (the extra `fast`)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
