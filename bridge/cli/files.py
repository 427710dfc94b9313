"""What every command does with the files it is given."""

# ruff: noqa: PLC0415 - --help must not load pydantic

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.exits import CommandError, ExitCode, FileProblems
from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.config import Config

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.", show_default=False)]


def read_config(path: Path) -> Config:
    """Load the configuration at `path` with this process's environment.

    Raises:
        CommandError: there is no such file (exit 66).
        FileProblems: it cannot be used (exit 78).
    """
    from bridge import config

    check_exists(path)
    try:
        return config.load(path, os.environ)
    except ConfigError as err:
        raise FileProblems(path, err) from err


def check_exists(path: Path) -> None:
    """Refuse a file that does not exist.

    Raises:
        CommandError: exit 66.
    """
    if not path.exists():
        raise CommandError(f"there is no file {path}", code=ExitCode.NO_FILE)
