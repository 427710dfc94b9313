"""From a file to a `Config`: read, replace, validate, and report everything that is wrong at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from bridge.config.complaints import complaints
from bridge.config.crossings import crossings
from bridge.config.document import MAX_BYTES, Document, dotted, read_document
from bridge.config.environment import substitute
from bridge.config.models import Config, config_model
from bridge.errors import ConfigError, Problem
from bridge.sinks import SinkKind, sink_kinds


def load(path: FilePath, environ: Mapping[str, str]) -> Config:
    """Read the configuration file at `path`; `environ` is what `${VAR}` stands for.

    Raises:
        ConfigError: with every problem, in the order of the file.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as err:
        raise ConfigError([Problem("", f"{path} cannot be read: {err.strerror}")]) from err
    return parse(raw, environ, sink_kinds())


def parse(raw: bytes, environ: Mapping[str, str], kinds: Mapping[str, SinkKind]) -> Config:
    """Make a configuration of the bytes of a file; `kinds` are the types of sinks by name.

    Raises:
        ConfigError: with every problem, in the order of the file.
    """
    document, problems = substitute(read_document(raw), environ)
    # What stands at a place where a variable is not set is no use to look at.
    blind = {problem.path for problem in problems}
    model = config_model(kinds)
    found: Config | None = None
    try:
        found = model.model_validate(document.data)
    except ValidationError as err:
        problems += [
            Problem(dotted(path), message)
            for path, message in complaints(err, model, document.data)
            if dotted(path) not in blind
        ]
    problems += [problem for problem in crossings(document.data, model) if problem.path not in blind]
    if problems or found is None:
        raise ConfigError(_placed(problems, document))
    # Not of the class made for these kinds of sinks: two equal files are equal.
    return Config.model_construct(found.model_fields_set, **dict(found))


def _placed(problems: Iterable[Problem], document: Document) -> list[Problem]:
    """Give every problem its line, and put them in the order of the file."""
    lines = {dotted(path): line for path, line in document.lines.items()}
    found = [
        Problem(_one_line(problem.path), _one_line(problem.message), _line(problem.path, lines))
        for problem in problems
    ]
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.line or 0, problem.path))


def _one_line(text: str) -> str:
    """Escape what a name in the file may hold and a terminal should not get: line breaks above all."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(path: str, lines: Mapping[str, int]) -> int | None:
    """Return the line of `path`, or of the nearest block around it."""
    while path not in lines and path:
        path = re.sub(r"(\.|^)[^.\[]*$|\[\d+\]$", "", path)
    return lines.get(path)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration file, with every kind of sink, for editors.

    Raises:
        ConfigError: a third party's sink cannot be loaded.
    """
    schema = config_model(sink_kinds()).model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of awx-event-bridge",
        **{key: _with_variables(value) for key, value in schema.items() if key != "title"},
    }


def _with_variables(schema: Any) -> Any:
    """Let `${VAR}` stand where an editor would insist on a number, a boolean or a word."""
    if isinstance(schema, list):
        return [_with_variables(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if "patternProperties" in schema:
        schema = {**schema, "additionalProperties": False}
    inner = {key: value if key == "default" else _with_variables(value) for key, value in schema.items()}
    if schema.get("type") not in ("integer", "number", "boolean") and "enum" not in schema:
        return inner
    outer = {key: inner.pop(key) for key in ("title", "description", "default") if key in inner}
    return {**outer, "anyOf": [inner, {"type": "string", "pattern": r"\$\{[A-Za-z_]"}]}
