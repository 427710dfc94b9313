"""The demo itself: a simulated AWX, the bridge, a screen, and at the end a proof."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console

from bridge import app
from bridge.cli.clock import SystemClock
from bridge.cli.show.board import Board
from bridge.cli.show.proof import Proof, prove, summary
from bridge.cli.show.screen import show
from bridge.config import parse
from bridge.model import Event
from bridge.observe import LogObserver, Metrics, library_logs, open_log
from bridge.options import SinkOptions
from bridge.parts import Bridge
from bridge.ports import SinkContext
from bridge.sinks import SinkKind, builtin_kinds
from simulator import SECRETS, scenarios
from simulator.access import TOKEN
from simulator.server import Simulator, serve
from simulator.world import World

LONGEST: Final = 60.0
"""Seconds after which the demo ends, whatever is still open."""

CONFIG: Final = """
name: demo
sources:
  awx: {{url: "{url}", token: "{token}", start: all, max_requests: 20, gap_wait: 2s, close_wait: 5s}}
sinks:
  events: {{type: file, path: "{target}"}}
  board: {{type: board}}
  alerts: {{type: alerts}}
routes:
  - to: [events, board]
  - match: {{type: [awx.job.failed, awx.job.error]}}
    to: alerts
state: {{path: "{state}"}}
server: {{listen: null}}
"""


class BoardOptions(SinkOptions):
    """A sink that feeds the demo's screen."""

    type: Literal["board", "alerts"]

    @property
    def destination(self) -> str:
        """Where this sink delivers."""
        return "the screen"


class BoardSink:
    """Puts events on the board."""

    def __init__(self, board: Board, *, alerts: bool) -> None:
        """Feed the list of alerts, or the table of jobs."""
        self._take = board.alert if alerts else board.event

    async def send(self, events: Sequence[Event], /) -> None:
        """Show `events`."""
        for event in events:
            self._take(event.read())


def play(output: Path, *, forever: bool) -> bool:
    """Show the bridge at work and print the proof; whether it holds."""
    console = Console()
    output.mkdir(parents=True, exist_ok=True)
    metrics, target = Metrics(), output / "events.jsonl"
    target.unlink(missing_ok=True)
    proof = asyncio.run(_play(target, console, metrics, forever=forever))
    redactions, requests = (round(metrics.total(name)) for name in ("redactions_total", "requests_total"))
    console.print(summary(proof, target=target, redactions=redactions, requests=requests), soft_wrap=True)
    return proof.holds


async def _play(target: Path, console: Console, metrics: Metrics, *, forever: bool) -> Proof:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    world = World(time.time)
    if forever:
        world.follow(scenarios.forever())
    else:
        world.stage(scenarios.demo())
    async with serve(world) as awx:
        ending = "Ctrl-C ends it" if forever else "this takes about 30 seconds"
        console.print(
            f"A simulated AWX runs at {awx.url}; {ending}. What a consumer gets is in {target}.",
            soft_wrap=True,
        )
        await _forward(awx, target, console, metrics, stop=stop, forever=forever)
        return prove(target, awx.world.truth(), SECRETS)


async def _forward(
    awx: Simulator, target: Path, console: Console, metrics: Metrics, *, stop: asyncio.Event, forever: bool
) -> None:
    """Run the bridge against `awx` until it has everything, or until it is stopped."""
    board, kinds = Board(), builtin_kinds()

    @asynccontextmanager
    async def open_board(options: BoardOptions, _context: SinkContext) -> AsyncGenerator[BoardSink]:
        yield BoardSink(board, alerts=options.type == "alerts")

    kinds |= dict.fromkeys(("board", "alerts"), SinkKind(BoardOptions, open_board))
    with (
        tempfile.TemporaryDirectory(prefix="awx-bridge-demo-") as state,
        target.with_name("bridge.log").open("w", encoding="utf-8") as log_file,
    ):
        text = CONFIG.format(url=awx.url, token=TOKEN, target=target, state=f"{state}/bridge.db")
        observer = LogObserver(open_log(log_file, clock=SystemClock(), console=False), metrics)
        outside = app.Outside(stop, SystemClock(), observer, metrics.render)
        started: list[Bridge] = []
        with library_logs(observer):
            async with asyncio.TaskGroup() as tasks:
                helpers = [tasks.create_task(show(board, console))]
                if not forever:
                    helpers.append(tasks.create_task(_end(awx.world, started, stop)))
                await app.run(parse(text.encode(), {}, kinds), outside, kinds=kinds, started=started.append)
                for helper in helpers:
                    helper.cancel()


async def _end(world: World, started: list[Bridge], stop: asyncio.Event) -> None:
    """Stop the bridge once the simulated AWX is through and every job is finished with."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        truth: dict[str, Any] = world.truth()
        done = [len(following.done) for bridge in started for following in bridge.followings.values()]
        if truth["settled"] and sum(done) >= len(truth["jobs"]):
            break
    stop.set()
