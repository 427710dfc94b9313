"""A `match`: conditions on an event's fields that must all hold, and `any: […]` for alternatives.

Pure. Compiled when the configuration is loaded, total afterwards: whatever an event holds, a match
says yes or no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from bridge import contract
from bridge.errors import ConfigError, Problem, did_you_mean
from bridge.route.condition import MAX_NESTING, Condition, Possible, parse_condition, show

NESTED_FIELDS: Final = frozenset({"event_data", "hosts", "failures"})
"""Fields that hold objects: `event_data.res.rc` and `failures.message` reach inside."""

JOB_FIELDS: Final = frozenset({"source", *contract.names(contract.JOB)})
"""Fields of a job itself, known as soon as it is discovered: what `jobs.exclude` may name."""

_ENCODED: Final = (msgspec.Raw, bytes)


class Reading:
    """One event's fields while it is matched; encoded objects are decoded at most once."""

    __slots__ = ("_decoded", "fields")

    def __init__(self, fields: Mapping[str, object]) -> None:
        """Take the event's fields; an object may be the bytes of its JSON (`msgspec.Raw`)."""
        self.fields = fields
        self._decoded: dict[str, object] = {}

    def value(self, path: Sequence[str]) -> object:
        """Return what is at `path`, None when it is missing; a list on the way gives a list."""
        value = self.fields.get(path[0])
        if isinstance(value, _ENCODED):
            if path[0] not in self._decoded:
                self._decoded[path[0]] = _decode(value)
            value = self._decoded[path[0]]
        for part in path[1:]:
            value = _step(value, part)
        return value


def _decode(raw: msgspec.Raw | bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _step(value: object, part: str) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    if not isinstance(value, list | tuple):
        return None
    found: list[object] = []
    for element in value:
        inner = element.get(part) if isinstance(element, Mapping) else None
        if isinstance(inner, list | tuple):
            found += inner
        elif inner is not None:
            found.append(inner)
    return found or None


class Entry(NamedTuple):
    """One line of a match: where to look, and what must be there."""

    path: tuple[str, ...]
    condition: Condition

    @property
    def name(self) -> str:
        """The field as the user wrote it."""
        return ".".join(self.path)


class Match(NamedTuple):
    """A compiled match: every entry holds, and of each group of alternatives at least one."""

    entries: tuple[Entry, ...]
    groups: tuple[tuple[Match, ...], ...]

    def holds(self, reading: Reading) -> bool:
        """Whether the event meets this match."""
        for path, condition in self.entries:
            if not condition.holds(reading.value(path)):
                return False
        return all(any(match.holds(reading) for match in group) for group in self.groups)

    def why_not(self, reading: Reading) -> str | None:
        """Return the first failing condition in words, None when all hold."""
        for entry in self.entries:
            value = reading.value(entry.path)
            if not entry.condition.holds(value):
                found = "missing" if value is None else show(value)
                return f"{entry.name} is {found}, wanted {entry.condition.words}"
        for group in self.groups:
            reasons = [match.why_not(reading) for match in group]
            if None not in reasons:
                return "none of the alternatives holds: " + "; ".join(filter(None, reasons))
        return None

    def possible(self, look: Callable[[Entry], Possible]) -> Possible:
        """Fold what is possible for each entry into what is possible for the match."""
        parts = [look(entry) for entry in self.entries]
        for group in self.groups:
            each = [match.possible(look) for match in group]
            parts.append(Possible(any(one.hold for one in each), all(one.fail for one in each)))
        return Possible(all(one.hold for one in parts), any(one.fail for one in parts))


class MatchParser:
    """Parses matches, and collects every mistake with its path."""

    def __init__(self, known_fields: AbstractSet[str]) -> None:
        """Take the names of the fields that an event can have."""
        self.problems: list[Problem] = []
        self._known = known_fields

    def parse(self, raw: object, path: str, depth: int = 0) -> Match:
        """Compile one match; where something is wrong it is left out and reported."""
        entries: list[Entry] = []
        groups: list[tuple[Match, ...]] = []
        if depth > MAX_NESTING:
            self._report(path, f"nested deeper than {MAX_NESTING} levels")
        elif not isinstance(raw, Mapping):
            self._report(path, "must be a mapping of fields to what they must be")
        else:
            for name, value in raw.items():
                if name == "any":
                    groups.append(self._alternatives(value, f"{path}.any", depth))
                elif self._check_field(str(name), f"{path}.{name}"):
                    entries += self._entry(str(name), value, f"{path}.{name}")
        return Match(tuple(entries), tuple(groups))

    def _entry(self, name: str, raw: object, path: str) -> list[Entry]:
        def report(below: str, message: str) -> None:
            self._report(path + below, message)

        condition = parse_condition(raw, report)
        return [] if condition is None else [Entry(tuple(name.split(".")), condition)]

    def _alternatives(self, raw: object, path: str, depth: int) -> tuple[Match, ...]:
        if isinstance(raw, str) or not isinstance(raw, Sequence) or not raw:
            self._report(path, "must be a list of matches, at least one")
            return ()
        return tuple(self.parse(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(raw))

    def _check_field(self, name: str, path: str) -> bool:
        root, *inner = name.split(".")
        if root == "not":
            self._report(path, "`not` goes under a field: `template: {not: …}`")
        elif root not in self._known:
            hint = did_you_mean(root, (*self._known, "any")) or "; docs/configuration.md lists the fields"
            self._report(path, f"unknown field {show(root)}{hint}")
        elif inner and root not in NESTED_FIELDS:
            self._report(path, f"{root} has nothing inside: write {root}")
        elif "" in inner:
            self._report(path, "a dot without a name")
        else:
            return True
        return False

    def _report(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


class Matcher(NamedTuple):
    """A match on its own, as a source's `jobs.exclude` uses it."""

    match: Match

    def matches(self, fields: Mapping[str, object]) -> bool:
        """Whether these fields meet the match."""
        return self.match.holds(Reading(fields))


def compile_match(raw: object, *, path: str, known_fields: AbstractSet[str]) -> Matcher:
    """Compile the match at `path` of the configuration.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    parser = MatchParser(known_fields)
    match = parser.parse(raw, path)
    if parser.problems:
        raise ConfigError(parser.problems)
    return Matcher(match)
