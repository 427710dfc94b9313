r"""Globs: `*`, `?`, `[abc]`, `[a-z]`, `[!abc]`; whole string, case-sensitive, `\` escapes.

Pure. A pattern that needs more than a comparison runs on RE2, so none can hang the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import re2

TextTest = Callable[[str], bool]

_STAR: Final = r"(?s:.*)"
_ONE: Final = r"(?s:.)"


class Glob(NamedTuple):
    """A compiled glob.

    `literal` is the text in front of the first wildcard. `exact`: there is no wildcard at all;
    `open_end`: nothing but stars follow, so every text that starts with `literal` matches.
    """

    test: TextTest
    literal: str
    exact: bool
    open_end: bool


def compile_glob(pattern: str) -> Glob:
    r"""Compile `pattern`.

    Raises:
        ValueError: a `[` is not closed, a range is empty, or a `\` escapes nothing.
    """
    literal, wild = _split(pattern)
    if not wild:
        return Glob(literal.__eq__, literal, exact=True, open_end=False)
    if all(part == _STAR for part in wild):
        return Glob(_starts(literal), literal, exact=False, open_end=True)
    test = search_test(rf"\A{_quote(literal)}{''.join(wild)}\z")
    return Glob(test, literal, exact=False, open_end=False)


def search_test(pattern: str) -> TextTest:
    """Compile an RE2 pattern into a test that finds it anywhere in a text.

    Raises:
        ValueError: the pattern is no RE2.
    """
    options: Any = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern.encode(), options).search
    except re2.error as err:
        raise ValueError(f"this is no RE2 regular expression: {_reason(err)}") from err

    def test(text: str) -> bool:
        # Bytes, because RE2 wants them; half a surrogate pair must not raise in the middle of routing.
        return search(text.encode("utf-8", "surrogatepass")) is not None

    return test


def _starts(literal: str) -> TextTest:
    return lambda text: text.startswith(literal)


def _quote(literal: str) -> str:
    quoted: str = re2.escape(literal)
    return quoted


def _reason(err: Exception) -> str:
    reason = err.args[0] if err.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _split(pattern: str) -> tuple[str, list[str]]:
    """Split into the literal start and RE2 pieces for the rest."""
    literal: list[str] = []
    wild: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            wild.append(_STAR)
        elif char == "?":
            wild.append(_ONE)
        elif char == "[":
            piece, at = _set(pattern, at)
            wild.append(piece)
        else:
            if char == "\\":
                char, at = _escaped(pattern, at)
            if wild:
                wild.append(_quote(char))
            else:
                literal.append(char)
    return "".join(literal), wild


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise ValueError(r"a \ at the end escapes nothing; write \\ for a plain backslash")
    return pattern[at], at + 1


def _set(pattern: str, at: int) -> tuple[str, int]:
    """Read a `[…]` whose content starts at `at`; a `]` that comes first is an ordinary character."""
    negated = pattern[at : at + 1] in ("!", "^")
    at += negated
    ranges: list[str] = []
    while at < len(pattern) and (pattern[at] != "]" or not ranges):
        low, at = _set_char(pattern, at)
        high = low
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("", "]"):
            high, at = _set_char(pattern, at + 1)
        if high < low:
            raise ValueError(f"the range {low}-{high} is empty: turn it round")
        ranges.append(rf"\x{{{ord(low):x}}}-\x{{{ord(high):x}}}")
    if at >= len(pattern):
        raise ValueError(r"a [ that is not closed; write \[ for a plain bracket")
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _set_char(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at]
    return _escaped(pattern, at + 1) if char == "\\" else (char, at + 1)
