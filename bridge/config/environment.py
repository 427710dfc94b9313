"""`${VAR}` and `${VAR:-default}` inside the texts of a configuration; `$${` is a plain `${`.

Replaced after parsing, so a value can never change the file's structure. The environment is
passed in. Messages name variables, never their values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from bridge.config.document import Document, Path, dotted
from bridge.errors import Problem

_REFERENCE: Final = re.compile(
    r"\$(?:(?P<escaped>\$\{)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\{)"
)


def substitute(document: Document, environ: Mapping[str, str]) -> tuple[Document, list[Problem]]:
    """Replace every reference in every text (not in keys); return the problems beside the result."""
    work = _Substitution(document, environ)
    data = work.replace(document.data, ())
    return Document(data, document.lines), work.problems


class _Substitution:
    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._environ = environ

    def replace(self, value: Any, path: Path) -> Any:
        """Return `value` with every reference below it replaced."""
        if isinstance(value, dict):
            return {key: self.replace(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.replace(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _REFERENCE.sub(lambda match: self._one(match, path), value)
        return value

    def _one(self, match: re.Match[str], path: Path) -> str:
        if match["escaped"]:
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            self._problem(path, "`${` without a variable name; write $${ for a plain ${")
            return ""
        value = self._environ.get(name)
        if value is None or (value == "" and default is not None):
            if default is None:
                message = f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
                self._problem(path, message)
            return default or ""
        if not _is_unicode(value):
            self._problem(path, f"the environment variable {name} is not UTF-8")
            return ""
        return value

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(Problem(dotted(path), message, self._document.line(path)))


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
