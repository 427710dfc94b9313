"""The command: one file per group of commands; typer and rich only here.

Commands import what they need when they run, so that `--help` is quick; each command's function
says what it does in its docstring, which is also its help.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import check, demo, explain, letters, replay, run, schema, send
from bridge.cli.exits import Exits


def build() -> typer.Typer:
    """Put the commands together: help with frames for a terminal, plain for a pipe."""
    app = typer.Typer(
        name="awx-bridge",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("run")(run.run)
    app.command("check")(check.check)
    app.command("explain")(explain.explain)
    app.command("schema")(schema.schema)
    app.command("send-test")(send.send_test)
    app.command("replay")(replay.replay)
    app.add_typer(letters.build(), name="dead-letters")
    app.command("demo")(demo.demo)
    return app


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"awx-bridge {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version.",
            is_eager=True,
            callback=lambda wanted: _show_version(wanted=wanted),
        ),
    ] = False,
) -> None:
    """Forward what AWX jobs do to Kafka, Slack and webhooks, durably."""
    if debug:
        context.ensure_object(Exits).debug = True
