"""Any JSON value as text that people can read and no terminal runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_CLIP: Final = 20_000
_DEEPEST: Final = 4

# CSI and OSC sequences of terminals (ECMA-48), as ansible writes them into stdout.
_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)", re.DOTALL)
# Control and formatting characters, lone surrogates: invisible, or able to turn text around.
_INVISIBLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def line_of(value: object) -> str:
    """Return any JSON value as one clean line."""
    return " ".join(text_of(value).split())


def text_of(value: object) -> str:
    """Return any JSON value as clean text, cut at 20,000: no terminal codes, nothing invisible."""
    text = _flat(value, 0)[:_CLIP].replace("\r\n", "\n")
    return _INVISIBLE.sub("", _TERMINAL.sub("", text)).strip()


def _flat(value: object, depth: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Mapping | list | tuple):
        return str(value)
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_flat(item, depth + 1)}" for name, item in value.items())
    return ", ".join(filter(None, (_flat(item, depth + 1) for item in value)))


def duration_of(seconds: object) -> str:
    """Return a number of seconds as people say it: `42s`, `3m 12s`, `2h 5m`; else nothing."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:  # noqa: PLR2004 - 31 years
        return ""
    if seconds < 10:  # noqa: PLR2004 - below ten seconds a tenth is worth showing
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"
