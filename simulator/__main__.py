"""`python -m simulator`: serve a scenario as an AWX, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from simulator import recorded, scenarios
from simulator.access import PASSWORD, TOKEN, Access
from simulator.receiver import Receiver
from simulator.server import serve
from simulator.world import World


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve what the command line asks for."""
    options = _parser().parse_args(arguments)
    return asyncio.run(_run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Serve a simulated AWX.")
    names = (*scenarios.NAMES, "forever", "recorded")
    parser.add_argument("--scenario", choices=names, default="demo")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0, help="divide every duration by this")
    parser.add_argument(
        "--jitter", type=float, default=2.0, help="longest ordinary delay of an event, in seconds"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=TOKEN, help="bearer token to accept")
    parser.add_argument("--prefix", default="", help="serve below /api/PREFIX/v2/, as behind a gateway")
    parser.add_argument("--recordings", type=Path, help="folder of recorded jobs (recorded)")
    parser.add_argument("--jobs", type=int, help="how many jobs (storm, bulk)")
    parser.add_argument("--events", type=int, help="storm: events in all; bulk: events per job")
    parser.add_argument("--live", action="store_true", help="bulk: jobs start now instead of being finished")
    return parser


def _world(options: argparse.Namespace) -> World:
    world = World(time.time, seed=options.seed, speed=options.speed, receiver=Receiver(jitter=options.jitter))
    sizes = {name: value for name in ("jobs", "events") if (value := getattr(options, name)) is not None}
    match options.scenario:
        case "forever":
            world.follow(scenarios.forever())
        case "storm":
            world.stage(scenarios.storm(seed=options.seed, **sizes))
        case "bulk":
            world.stage(scenarios.bulk(finished=not options.live, **sizes))
        case "recorded":
            world.stage(recorded.everything(options.recordings or Path()))
        case name:
            world.stage(scenarios.NAMES[name]())
    return world


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    access = Access(tokens={options.token: "admin"}, passwords={"admin": PASSWORD})
    world = _world(options)
    async with serve(
        world, host=options.host, port=options.port, prefix=options.prefix, access=access
    ) as awx:
        sys.stdout.write(f"simulator listening on {awx.url}\n")
        sys.stdout.flush()
        await stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
