"""Where commands write: colour for a terminal, plain text for a pipe, JSON when asked for."""

# ruff: noqa: PLC0415 - --help must not load rich

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def say(text: str, *, style: str | None = None) -> None:
    """Write one line to standard output, styled on a terminal only."""
    from rich.console import Console

    Console(file=sys.stdout).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def write_json(value: Any) -> None:
    """Write `value` to standard output as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # A lone surrogate can only be written as the escape that it was.
    sys.stdout.write(text.encode(errors="backslashreplace").decode() + "\n")
