"""The compiled routes of one configuration: where an event goes, and why not elsewhere.

Pure. An index by one field per route keeps a thousand routes cheap: only routes whose text could
match are looked at, in the order of the file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from bridge import contract
from bridge.errors import ConfigError
from bridge.model import JOB_TYPES, TYPES_WITHOUT_EVENTS
from bridge.route.condition import Condition, Key, Possible
from bridge.route.match import Entry, Match, MatchParser, Reading

EVENT_PREFIX: Final = "awx.event."
_ON_EVENTS: Final = frozenset(
    contract.names(contract.ALWAYS, contract.JOB, contract.EVENT, contract.OPTIONAL)
)
_JOB_TYPES_WITH_EVENTS: Final = tuple(kind for kind in JOB_TYPES if kind not in TYPES_WITHOUT_EVENTS)


class RouteSpec(NamedTuple):
    """One route as the configuration has it. A route without sinks drops, if it has `stop`."""

    match: Mapping[str, object]
    to: Sequence[str]
    stop: bool = False
    name: str | None = None


class Verdict(NamedTuple):
    """What one route says of one event; `why` is a sentence. `position` counts from 0."""

    position: int
    name: str | None
    to: tuple[str, ...]
    matched: bool
    why: str


class _Route(NamedTuple):
    match: Match
    to: tuple[str, ...]
    stop: bool
    name: str | None


def compile_routes(routes: Sequence[RouteSpec], *, known_fields: AbstractSet[str]) -> Router:
    """Compile the routes.

    Raises:
        ConfigError: with every mistake of every match, at paths like `routes[2].match.template`.
    """
    parser = MatchParser(known_fields)
    compiled = [
        _Route(parser.parse(spec.match, f"routes[{i}].match"), tuple(spec.to), spec.stop, spec.name)
        for i, spec in enumerate(routes)
    ]
    if parser.problems:
        raise ConfigError(parser.problems)
    return Router(compiled)


class Router:
    """Implements `ports.Routes`."""

    def __init__(self, routes: Sequence[_Route]) -> None:
        """Take compiled routes; `compile_routes` makes them."""
        self._routes = tuple(routes)
        self._index = _Index([route.match for route in self._routes])
        self._sinks_with_events = frozenset(_sinks_with_events(self._routes))

    def sinks_for(self, fields: Mapping[str, object], /) -> Sequence[str]:
        """Return the names of the sinks that this event goes to, each once, in the routes' order.

        `fields` are the event's; `event_data` may still be the bytes of its JSON.
        """
        reading = Reading(fields)
        found: dict[str, None] = {}
        for at in self._index.candidates(fields):
            route = self._routes[at]
            if route.match.holds(reading):
                found.update(dict.fromkeys(route.to))
                if route.stop:
                    break
        return list(found)

    def wants_events(self, sink: str, /) -> bool:
        """Whether any route could send an `awx.event.*` to `sink`; yes when that is not certain."""
        return sink in self._sinks_with_events

    def explain(self, fields: Mapping[str, object], /) -> list[Verdict]:
        """Say for every route whether it takes this event, and if not, what fails first."""
        reading = Reading(fields)
        verdicts: list[Verdict] = []
        stopped_by: int | None = None
        for at, route in enumerate(self._routes):
            if stopped_by is not None:
                matched, why = False, f"not looked at: {route_name(stopped_by, self._routes)} stops"
            else:
                reason = route.match.why_not(reading)
                matched, why = reason is None, reason or "matches"
                if matched and route.stop:
                    stopped_by, why = at, "matches, and stops here"
            verdicts.append(Verdict(at, route.name, route.to, matched, why))
        return verdicts


def route_name(at: int, routes: Sequence[_Route]) -> str:
    """Name a route for people: `routes[2]`, and its name where it has one."""
    name = routes[at].name
    return f"routes[{at}]" + (f" ({name})" if name else "")


class _Index:
    """Which routes could match, by the text that one of their conditions needs."""

    def __init__(self, matches: Sequence[Match]) -> None:
        choices = [list(_keyed(match)) for match in matches]
        load = Counter((path, key) for options in choices for path, keys in options for key in keys)
        self._always: list[int] = []
        self._fields: dict[str, _Texts] = defaultdict(_Texts)
        for at, options in enumerate(choices):
            if not options:
                self._always.append(at)
                continue
            # The rarest keys say most about the event.
            field, keys = min(options, key=lambda option: sum(load[option[0], key] for key in option[1]))
            self._fields[field].add(at, keys)

    def candidates(self, fields: Mapping[str, object]) -> Sequence[int]:
        """Return the positions of the routes that could match, ascending."""
        found: set[int] = set()
        for name, texts in self._fields.items():
            value = fields.get(name)
            for text in value if isinstance(value, list | tuple) else (value,):
                if isinstance(text, str):
                    found.update(texts.find(text))
        return sorted((*self._always, *found)) if found else self._always


def _keyed(match: Match) -> Iterator[tuple[str, tuple[Key, ...]]]:
    """Yield the fields of a match, with keys of which any event that it takes has one."""
    for entry in match.entries:
        if len(entry.path) == 1 and entry.condition.keys:
            yield entry.path[0], entry.condition.keys


class _Texts:
    """Positions of routes by a whole text, or by how it starts."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._starts: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def add(self, at: int, keys: Iterable[Key]) -> None:
        """Put route `at` under each of its keys."""
        for key in keys:
            if key.exact:
                self._exact[key.text].append(at)
            else:
                self._starts[len(key.text)][key.text].append(at)

    def find(self, text: str) -> Iterator[int]:
        """Yield the routes that have a key for `text`."""
        yield from self._exact.get(text, ())
        for length, starts in self._starts.items():
            yield from starts.get(text[:length], ())


def _sinks_with_events(routes: Iterable[_Route]) -> Iterator[str]:
    """Yield the sinks that an `awx.event.*` could reach."""
    for route in routes:
        possible = route.match.possible(_on_events)
        if possible.hold:
            yield from route.to
        if route.stop and not possible.fail:
            return


def _on_events(entry: Entry) -> Possible:
    """Say what is possible for one entry over all `awx.event.*`; "both" where that is not known."""
    name, condition = entry.path[0], entry.condition
    if name == "type":
        return condition.under(EVENT_PREFIX)
    if name == "job_type":
        return _over(condition, _JOB_TYPES_WITH_EVENTS)
    if name not in _ON_EVENTS:
        return _over(condition, (None,))
    return Possible(hold=True, fail=True)


def _over(condition: Condition, values: Iterable[object]) -> Possible:
    outcomes = {condition.holds(value) for value in values}
    return Possible(hold=True in outcomes, fail=False in outcomes)
