"""Query strings as AWX reads them: Django lookups, `or__` and `not__`, and AWX's error sentences.

Pure. Sources: ansible_base/rest_filters/rest_framework/field_lookup_backend.py for the rules, the
recorded answers of AWX 24.6.1 for the sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from simulator.fields import FORBIDDEN, Kind, Model

RESERVED: Final = frozenset(
    {
        "page",
        "page_size",
        "format",
        "order",
        "order_by",
        "search",
        "type",
        "host_filter",
        "count_disabled",
        "no_truncate",
        "limit",
        "validate",
    }
)
"""Query keys that are no filters (ANSIBLE_BASE_REST_FILTERS_RESERVED_NAMES)."""

_RELATED_FIELDS: Final = {
    "name": Kind.TEXT,
    "description": Kind.TEXT,
    "username": Kind.TEXT,
    "status": Kind.TEXT,
    "id": Kind.INTEGER,
    "pk": Kind.INTEGER,
    "failed": Kind.BOOLEAN,
    "workflow_job": Kind.INTEGER,
}
_TRUE: Final = frozenset({"true", "1", "yes", "y", "t", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "n", "f", "off"})


class QueryError(Exception):
    """A query that AWX refuses: `status` is 400 or 403, the text is its sentence."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        """Keep AWX's sentence."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter: the values at `path` must meet `lookup` with `value`, or must not."""

    path: tuple[str, ...]
    lookup: str
    value: Any
    negated: bool

    def holds(self, values: Iterable[object]) -> bool:
        """Whether any of the values meets the lookup (none of them, when negated)."""
        test = LOOKUPS[self.lookup]
        return any(test(value, self.value) for value in values) is not self.negated


@dataclass(frozen=True, slots=True)
class Where:
    """All of `every` must hold, and one of `either` when there are any."""

    every: tuple[Condition, ...] = ()
    either: tuple[Condition, ...] = ()

    def holds(self, values: Callable[[tuple[str, ...]], Iterable[object]]) -> bool:
        """Whether a row matches; `values` gives what it has at a path."""
        if not all(condition.holds(values(condition.path)) for condition in self.every):
            return False
        return not self.either or any(condition.holds(values(condition.path)) for condition in self.either)


def parse(query: Iterable[tuple[str, str]], model: Model) -> Where:
    """Read the filters of a query; raise `QueryError` with AWX's sentence."""
    every: list[Condition] = []
    either: list[Condition] = []
    for key, text in query:
        if key in RESERVED:
            continue
        name, negated, alternative = key, False, False
        while name.startswith(("or__", "not__", "chain__")):
            prefix, _, name = name.partition("__")
            negated = negated or prefix == "not"
            alternative = alternative or prefix == "or"
        path, lookup, kind = _resolve(name.removesuffix("__int"), model)
        condition = Condition(path, lookup, _value(text, path, lookup, kind), negated)
        (either if alternative else every).append(condition)
    return Where(tuple(every), tuple(either))


def parse_order(text: str | None, model: Model) -> Sequence[tuple[str, bool]]:
    """Read `order_by`: fields with whether each is descending, in order of weight."""
    order: list[tuple[str, bool]] = []
    for part in (text or "").split(","):
        name = part.strip().removeprefix("-")
        if not name:
            continue
        if name in FORBIDDEN:
            raise QueryError(f"cannot order by field {name}", 403)
        if name.partition("__")[0] not in model.fields:
            raise QueryError(f"{model.name} has no field named '{name}'")
        order.append((name, part.strip().startswith("-")))
    return order


def _resolve(name: str, model: Model) -> tuple[tuple[str, ...], str, Kind]:
    first, *rest = name.split("__")
    first = "id" if first == "pk" else first
    if first not in model.fields:
        raise QueryError(f"{model.name} has no field named '{first}'")
    if first in FORBIDDEN:
        raise QueryError(f"Filtering on field {first} is not allowed.", 403)
    kind = model.fields[first]
    path = [first]
    while rest and rest[0] not in LOOKUPS:
        if kind not in {Kind.KEY, Kind.MANY}:
            raise QueryError(f"No related model for field {rest[0]}.")
        if rest[0] not in _RELATED_FIELDS:
            raise QueryError(f"{first.title().replace('_', '')} has no field named '{rest[0]}'")
        path.append(rest[0])
        kind = _RELATED_FIELDS[rest.pop(0)]
    if len(rest) > 1:
        raise QueryError(f"No related model for field {rest[1]}.")
    return tuple(path), rest[0] if rest else "exact", kind


def _value(text: str, path: tuple[str, ...], lookup: str, kind: Kind) -> Any:
    if lookup == "isnull":
        return to_bool(text)
    if lookup == "in":
        if not text:
            raise QueryError("cannot provide empty value for __in")
        return frozenset(_one(part, path, kind) for part in text.split(","))
    if lookup in {"regex", "iregex"}:
        try:
            return re.compile(text, re.IGNORECASE if lookup == "iregex" else 0)
        except re.error as err:
            raise QueryError(str(err)) from err
    if lookup not in {"exact", "gt", "gte", "lt", "lte"}:
        return text
    return _one(text, path, kind)


def _one(text: str, path: tuple[str, ...], kind: Kind) -> Any:
    match kind:
        case Kind.INTEGER:
            return _integer(text, f'["“{text}” value must be an integer."]')
        case Kind.KEY | Kind.MANY:
            return _integer(text, f"Invalid {path[-1]} id: {text}")
        case Kind.NUMBER:
            try:
                return float(text)
            except ValueError as err:
                raise QueryError(f'["“{text}” value must be a decimal number."]') from err
        case Kind.BOOLEAN:
            return to_bool(text)
        case Kind.TIME:
            return _time(text)
        case _:
            return text


def _integer(text: str, sentence: str) -> int:
    try:
        return int(text)
    except ValueError as err:
        raise QueryError(sentence) from err


def to_bool(text: str) -> bool:
    """Read a boolean as AWX does."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise QueryError(f'Unable to convert "{text}" to boolean')


def _time(text: str) -> str:
    """Normalize a moment to the form of the rows, so that texts compare as times."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as err:
        sentence = "value has an invalid format. It must be in YYYY-MM-DD HH:MM[:ss[.uuuuuu]][TZ] format."
        raise QueryError(f'["“{text}” {sentence}"]') from err
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda have, want: have is not None and test(have, want)


def _text(test: Callable[[str, str], bool], *, fold: bool = False) -> Callable[[Any, Any], bool]:
    def holds(have: Any, want: Any) -> bool:
        if have is None:
            return False
        text = have if isinstance(have, str) else str(have)
        return test(text.lower(), want.lower()) if fold else test(text, want)

    return holds


LOOKUPS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "exact": lambda have, want: have == want,
    "iexact": _text(str.__eq__, fold=True),
    "gt": _ordered(lambda have, want: have > want),
    "gte": _ordered(lambda have, want: have >= want),
    "lt": _ordered(lambda have, want: have < want),
    "lte": _ordered(lambda have, want: have <= want),
    "in": lambda have, want: have in want,
    "isnull": lambda have, want: (have is None) is want,
    "contains": _text(str.__contains__),
    "icontains": _text(str.__contains__, fold=True),
    "startswith": _text(str.startswith),
    "istartswith": _text(str.startswith, fold=True),
    "endswith": _text(str.endswith),
    "iendswith": _text(str.endswith, fold=True),
    "regex": lambda have, want: have is not None and want.search(str(have)) is not None,
    "iregex": lambda have, want: have is not None and want.search(str(have)) is not None,
    "search": _text(str.__contains__, fold=True),
}
"""Django's lookups, as AWX's `SUPPORTED_LOOKUPS` names them."""
