"""What pydantic found wrong, in sentences that say what to do.

Never shows a value: it may be a secret. Names of keys are no secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bridge.config.document import Path
from bridge.errors import did_you_mean

_LISTED: Final = 16
"""With more known keys than this, a message does not list them."""

Complaint = tuple[Path, str]


def complaints(error: ValidationError, model: type[BaseModel], data: Any) -> list[Complaint]:
    """Translate every error of validating `data`; one per path, alternatives joined."""
    found: dict[Path, list[str]] = {}
    for details in error.errors(include_url=False, include_input=False):
        path = _path(details["loc"], data, missing=details["type"] == "missing")
        if details["type"] == "too_short" and value_at(data, path):
            continue  # the entries are there, and wrong: each has its own error
        message = _sentence(details, path, model, data)
        messages = found.setdefault(path, [])
        if message not in messages:
            messages.append(message)
    return [(path, "; or ".join(messages)) for path, messages in found.items()]


def _path(loc: Path, data: Any, *, missing: bool) -> Path:
    """Return pydantic's location without what is not in the file: a union's branch, `[key]`."""
    path: list[str | int] = []
    for at, part in enumerate(loc):
        if _has(data, part):
            data = data[part]
        elif not (missing and at == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path)


def _has(data: Any, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, Mapping) and part in data


def value_at(data: Any, path: Path) -> Any:
    """Return what is at `path`; None when there is nothing."""
    for part in path:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def known_keys(model: type[BaseModel], path: Path, data: Any) -> set[str]:
    """Return the keys that the block at `path` may have; nothing where any key may be."""
    block = value_at(data, path)
    kind = block.get("type") if isinstance(block, Mapping) else None
    found = _models_at(model, path)
    chosen = [one for one in found if kind in _kinds(one)] or found
    return {name for one in chosen for name in one.model_fields}


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the alternatives of an annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _parts(inner)
    else:
        yield annotation


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    for one in _parts(annotation):
        origin = get_origin(one)
        if origin is dict:
            yield get_args(one)[1]
        elif origin in (tuple, list):
            yield get_args(one)[0]
        elif isinstance(one, type) and issubclass(one, BaseModel) and part in one.model_fields:
            yield one.model_fields[str(part)].annotation


def _models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """Return the classes that the block at `path` may be of."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for outer in annotations for inner in _step(outer, part)]
    parts = [part for annotation in annotations for part in _parts(annotation)]
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("type")
    literal = field is not None and get_origin(field.annotation) is Literal
    return get_args(field.annotation) if field is not None and literal else ()


def _sentence(details: Any, path: Path, model: type[BaseModel], data: Any) -> str:
    kind, context = details["type"], details.get("ctx") or {}
    if details["loc"][-1:] == ("[key]",):
        return "a name is up to 63 characters of a-z, 0-9, _ and -, the first a letter or a digit"
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), known_keys(model, path[:-1], data))
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        kinds = [name for one in _models_at(model, path) for name in _kinds(one)]
        return _sink_type(kinds, value_at(data, path))
    if kind.endswith("_type") and value_at(data, path) is None:
        hint = "; put a text that starts with # in quotes" if kind == "string_type" else ""
        return f"nothing is given here{hint}"
    if kind == "value_error":
        return str(context["error"])
    told = _SENTENCES.get(kind)
    return told(context) if told else _plain(details["msg"])


def _unknown_key(key: str, known: set[str]) -> str:
    hint = did_you_mean(key, known)
    if not hint and 0 < len(known) <= _LISTED:
        hint = f"; the keys here are {', '.join(sorted(known))}"
    return f"unknown key {key!r}{hint}"


def _sink_type(known: list[str], block: Any) -> str:
    listed = f"known types are {', '.join(sorted(known))}"
    if not isinstance(block, Mapping):
        return f"must be a mapping with a `type`; {listed}"
    if not isinstance(block.get("type"), str):
        return f"`type` is missing; {listed}"
    return f"unknown sink type {block['type']!r}{did_you_mean(block['type'], known)}; {listed}"


def _plain(message: str) -> str:
    return message.replace("Input should be", "must be").replace("Input should have", "must have")


def _at(word: str, key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda context: f"must be {word} {context[key]}"


def _always(sentence: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _context: sentence


_MAPPING: Final = _always("must be a mapping: keys with values below")
_LIST: Final = _always("must be a list")
_WHOLE: Final = _always("must be a whole number")
_NUMBER: Final = _always("must be a number")
_TEXT: Final = _always("must be a text: put it in quotes")

_SENTENCES: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "missing": _always("is required"),
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _always("must be true or false"),
    "bool_parsing": _always("must be true or false"),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "literal_error": lambda context: f"must be {str(context['expected']).replace(chr(39), '')}",
    "greater_than": _at("more than", "gt"),
    "greater_than_equal": _at("at least", "ge"),
    "less_than": _at("less than", "lt"),
    "less_than_equal": _at("at most", "le"),
    "too_short": lambda context: f"must have at least {context['min_length']} entry",
    "string_too_short": lambda context: f"must have at least {context['min_length']} character(s)",
    "string_pattern_mismatch": lambda context: f"must match {context['pattern']}",
}
