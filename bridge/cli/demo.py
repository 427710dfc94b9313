"""`awx-bridge demo`: the bridge at work beside a simulated AWX, with nothing else needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path, typer.Option("--output", help="Where events.jsonl and bridge.log are written.", metavar="FOLDER")
]
Forever = Annotated[bool, typer.Option("--forever", help="Go on until Ctrl-C.")]


def demo(*, output: Output = Path("demo-output"), forever: Forever = False) -> None:
    """Show the bridge at work: a simulated AWX runs jobs of every kind, the bridge forwards them.

    Events go to a file, alerts to the screen. It ends by itself with a proof that nothing was lost.
    """
    from bridge.cli.show.stage import play  # noqa: PLC0415 - --help must not load the daemon

    if not play(output, forever=forever):
        raise typer.Exit(1)
