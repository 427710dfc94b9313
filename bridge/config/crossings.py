"""What one block of the configuration says of another, of the contract, or of the disk.

Works on the raw data, so that these problems show together with pydantic's. Whatever has the wrong
shape is passed over: pydantic says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel

from bridge import contract
from bridge.config.complaints import known_keys
from bridge.config.document import Path, dotted
from bridge.errors import ConfigError, Problem, did_you_mean
from bridge.route import JOB_FIELDS, RouteSpec, compile_match, compile_routes

_READ_FILES: Final = frozenset({"client_cert", "client_key"})
"""Options that name a file to read, beside those that end in `_file`."""


def crossings(data: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    """Yield the problems that concern more than one block; they have no line yet."""
    yield from _matches(data)
    yield from _sinks_of_routes(data)
    yield from _left_out(data)
    for room in ("sources", "sinks"):
        for name, block in _mapping(data.get(room)).items():
            yield from _files((room, name), block, model, data)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _matches(data: Mapping[str, Any]) -> Iterator[Problem]:
    specs = [RouteSpec(_mapping(_mapping(route).get("match")), ()) for route in _list(data.get("routes"))]
    try:
        compile_routes(specs, known_fields=contract.FIELDS)
    except ConfigError as err:
        yield from err.problems
    for name, source in _mapping(data.get("sources")).items():
        exclude = _mapping(_mapping(_mapping(source).get("jobs")).get("exclude"))
        path = dotted(("sources", name, "jobs", "exclude"))
        try:
            compile_match(exclude, path=path, known_fields=JOB_FIELDS)
        except ConfigError as err:
            yield from err.problems


def _sinks_of_routes(data: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(data.get("sinks"), Mapping):
        return
    sinks = data["sinks"]
    for at, route in enumerate(_list(data.get("routes"))):
        to = _mapping(route).get("to")
        paths: dict[Path, object] = {("routes", at, "to"): to}
        if isinstance(to, list):
            paths = {("routes", at, "to", i): name for i, name in enumerate(to)}
        for path, name in paths.items():
            if isinstance(name, str) and name not in sinks:
                hint = did_you_mean(name, sinks) or f"; the sinks are {', '.join(sinks)}"
                yield Problem(dotted(path), f"no sink is called {name!r}{hint}")


def _left_out(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the names of the fields that sinks leave out."""
    for sink, block in _mapping(data.get("sinks")).items():
        names = _list(_mapping(_mapping(block).get("fields")).get("exclude"))
        for at, name in enumerate(names):
            path = dotted(("sinks", sink, "fields", "exclude", at))
            if not isinstance(name, str):
                continue
            if name in contract.CORE:
                yield Problem(path, f"{name} cannot be left out")
            elif name not in contract.FIELDS:
                yield Problem(path, f"unknown field {name!r}{did_you_mean(name, contract.FIELDS)}")


def _files(path: Path, block: Any, model: type[BaseModel], data: Any) -> Iterator[Problem]:
    """Check the files that a block and the blocks below it name."""
    known = known_keys(model, path, data)
    for key in known & {*_mapping(block)}:
        value = block[key]
        if isinstance(value, Mapping):
            yield from _files((*path, key), value, model, data)
        elif isinstance(value, str) and (key.endswith("_file") or key in _READ_FILES):
            yield from _file(path, key, block, known)


def _file(path: Path, key: str, block: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    plain = key.removesuffix("_file")
    secret = plain != key and plain in known
    if secret and block.get(plain) is not None:
        yield Problem(dotted((*path, key)), f"give {plain} or {key}, not both")
    complaint = _unreadable(block[key], secret=secret)
    if complaint:
        yield Problem(dotted((*path, key)), f"the file {block[key]} {complaint}")


def _unreadable(name: str, *, secret: bool) -> str | None:
    try:
        found = FilePath(name).stat()
    except (OSError, ValueError) as err:
        return f"cannot be read: {getattr(err, 'strerror', None) or 'this is no path'}"
    if stat.S_ISDIR(found.st_mode):
        return "is a directory"
    if not os.access(name, os.R_OK):
        return "cannot be read: Permission denied"
    if secret and stat.S_ISREG(found.st_mode) and found.st_size == 0:
        return "is empty"
    return None
