"""Draws the board: live on a terminal, as plain lines into a pipe."""

from __future__ import annotations

import asyncio
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge.cli.show.board import Board, Line

_COLOURS: Final = {
    "successful": "green",
    "failed": "bold red",
    "error": "bold red",
    "canceled": "yellow",
    "running": "cyan",
}
_BEAT: Final = 0.25


async def show(board: Board, console: Console) -> None:
    """Show `board` until cancelled."""
    if not console.is_terminal:
        await _print(board, console)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while True:
            live.update(_picture(board, console.height))
            await asyncio.sleep(_BEAT)


async def _print(board: Board, console: Console) -> None:
    try:
        while True:
            await asyncio.sleep(_BEAT)
            _flush(board, console)
    finally:
        _flush(board, console)


def _flush(board: Board, console: Console) -> None:
    while board.news:
        console.print(Text(board.news.popleft()), soft_wrap=True)


def jobs_table(board: Board, most: int) -> Table:
    """Return the newest `most` jobs as a table."""
    table = Table(expand=True, box=None, header_style="bold")
    table.add_column("job", no_wrap=True)
    table.add_column("name", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("events", justify="right")
    table.add_column("failed", justify="right")
    table.add_column("late", justify="right")
    table.add_column("receipt", ratio=1)
    for line in list(board.jobs.values())[-most:]:
        table.add_row(*_cells(line))
    return table


def _cells(line: Line) -> list[Text]:
    receipt_style = "green" if line.complete else "yellow"
    return [
        Text(line.key, style="dim"),
        Text(line.name),
        Text(line.status, style=_COLOURS.get(line.status, "")),
        Text(str(line.events)),
        Text(str(line.failed or ""), style="red"),
        Text(str(line.late or ""), style="yellow"),
        Text(line.receipt, style=receipt_style),
    ]


def _picture(board: Board, height: int) -> Group:
    parts: list[Panel | Text] = []
    alerts = [Text(text.splitlines()[0] + _first_failure(text)) for text in board.alerts]
    room = max(3, height - len(alerts) - 8)
    parts.append(
        Panel(jobs_table(board, room), title="jobs of AWX, as a consumer sees them", border_style="cyan")
    )
    if alerts:
        parts.append(Panel(Group(*alerts), title="alerts, as a channel would show them", border_style="red"))
    parts.append(
        Text(f" {board.delivered} events delivered · {board.alerted} alerts · {board.closed} jobs closed")
    )
    return Group(*parts)


def _first_failure(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()[1:] if ": " in line]
    return f"  {lines[-1][:100]}" if lines else ""
