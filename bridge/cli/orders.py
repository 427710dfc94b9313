"""How a command has the running bridge do something: it writes an order into the state file and waits."""

# ruff: noqa: PLC0415 - --help must not load the state

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bridge.cli.clock import SystemClock
from bridge.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model import Outcome
    from bridge.state.visit import Visit

LOOK_EVERY: Final = 0.1
"""Seconds between two looks for the outcome."""

RESTART: Final = 60.0
"""Seconds for which a bridge may be away while a command waits without a limit."""

WaitFor = Annotated[
    float, typer.Option("--timeout", min=0.0, help="How many seconds to wait.", metavar="SECONDS")
]


@contextmanager
def look_at(config: Config) -> Generator[Visit]:
    """Open the configured state file to look, whether the bridge runs or not.

    Raises:
        CommandError: there is none (exit 66).
        StateError: it cannot be read.
    """
    from bridge.state.visit import visit

    path = config.state.path.absolute()
    if not path.exists():
        raise CommandError(
            f"there is no state file {path}: no bridge has run here with this configuration",
            code=ExitCode.NO_FILE,
        )
    with visit(path) as state:
        yield state


def carry_out(
    config: Config,
    kind: str,
    arguments: Mapping[str, Any],
    *,
    timeout: float | None,
    tell: Callable[[Mapping[str, Any]], None] = lambda _progress: None,
) -> Outcome:
    """Have the running bridge do something; wait for the outcome at most `timeout` seconds.

    `tell` hears how far the order is, whenever that changes. Without a timeout this waits as long as a
    bridge runs.

    Raises:
        CommandError: no bridge runs, or it does not answer in time (exit 69).
        StateError: the state file cannot be written.
    """
    with _giving(config) as state:
        number = state.give(kind, arguments, who=_user(), at=SystemClock().now())
        begun = alive = time.monotonic()
        told: Mapping[str, Any] | None = None
        while (outcome := state.outcome(number)) is None:
            if (progress := state.progress(number)) not in (None, told):
                told = progress
                tell(progress or {})
            now = time.monotonic()
            alive = now if timeout is None and state.is_owned() else alive
            waited = now - begun if timeout is not None else now - alive
            if waited >= (RESTART if timeout is None else timeout):
                waited = timeout if timeout is not None else round(now - begun)
                raise _no_answer(state, number, config.state.path.absolute(), waited=waited)
            time.sleep(LOOK_EVERY)
    return outcome


def give(config: Config, kind: str, arguments: Mapping[str, Any]) -> int:
    """Have the running bridge do something, and do not wait; return the order's number.

    Raises:
        CommandError: no bridge runs (exit 69).
        StateError: the state file cannot be written.
    """
    with _giving(config) as state:
        return state.give(kind, arguments, who=_user(), at=SystemClock().now())


@contextmanager
def _giving(config: Config) -> Generator[Visit]:
    from bridge.state.visit import visit

    path = config.state.path.absolute()
    if not path.exists():
        raise _nobody_there(path)
    with visit(path, giving=True) as state:
        if not state.is_owned():
            raise _nobody_there(path)
        yield state


def _no_answer(state: Visit, number: int, path: Path, *, waited: float) -> CommandError:
    gone = "" if state.is_owned() else ", and the bridge has ended meanwhile"
    return CommandError(
        f"no answer within {waited:g} seconds{gone}; order {number} stays in {path}, "
        "and the bridge carries it out when it comes to it",
        code=ExitCode.UNAVAILABLE,
    )


def _nobody_there(path: Path) -> CommandError:
    return CommandError(
        f"no bridge runs on {path}: commands that change something write an order into the state file, "
        "and the running bridge carries it out",
        code=ExitCode.UNAVAILABLE,
    )


def _user() -> str:
    """Name the user of the operating system: what nobody can set in the environment."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container that runs under any number
        return f"uid {number}"
