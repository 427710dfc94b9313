"""What one field must be: a value, a glob, a list, an operator mapping; parsed once, total after.

Pure. A condition looks at any value a JSON object can hold and never raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bridge.errors import did_you_mean
from bridge.route.glob import TextTest, compile_glob, search_test

MAX_NESTING: Final = 16

Test = Callable[[object], bool]


class Key(NamedTuple):
    """A text that a value must be (`exact`) or start with, for the router's index."""

    text: str
    exact: bool


class Possible(NamedTuple):
    """What can happen to a condition, over a set of values: hold for some, fail for some."""

    hold: bool
    fail: bool


class Condition(NamedTuple):
    """A compiled condition.

    `holds` takes the field's value, None when it is missing. `words` completes "wanted …". A value
    that holds has one of `keys`, unless there are none. `under` says what is possible for texts
    that start with a prefix; it may say "possible" too often, never too rarely.
    """

    holds: Test
    words: str
    keys: tuple[Key, ...]
    under: Callable[[str], Possible]


Report = Callable[[str, str], None]
"""Takes the path below the condition (`.not`, `[1]`) and a sentence."""


def parse_condition(raw: object, report: Report, depth: int = 0) -> Condition | None:
    """Compile one condition; mistakes go to `report`, and then None comes back."""
    if depth > MAX_NESTING:
        report("", f"nested deeper than {MAX_NESTING} levels")
    elif isinstance(raw, bool | int | float):
        return _number_or_bool(raw, report)
    elif isinstance(raw, str):
        return _text(raw, report)
    elif isinstance(raw, Mapping):
        return _operators(raw, report, depth)
    elif isinstance(raw, Sequence):
        return _one_of(raw, report, depth)
    elif raw is None:
        report("", "nothing is given here; write {exists: false} for a field that is missing")
    else:
        report("", "must be a value, a glob, a list or a mapping such as {gt: 600}")
    return None


def show(value: object) -> str:
    """Render a value for people, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


_SHOWN: Final = 80
_EITHER: Final = Possible(hold=True, fail=True)


def _element(test: Test, words: str, keys: tuple[Key, ...], under: Callable[[str], Possible]) -> Condition:
    """Make a condition that holds on a list if any element meets it, and never on a missing field."""

    def holds(value: object) -> bool:
        if isinstance(value, list | tuple):
            return any(test(element) for element in value)
        return value is not None and test(value)

    return Condition(holds, words, keys, under)


def _finite(number: float) -> bool:
    return -math.inf < number < math.inf


def _number_or_bool(raw: float, report: Report) -> Condition | None:
    if not _finite(raw):
        report("", "a number must be finite")
        return None
    is_bool = isinstance(raw, bool)

    def test(value: object) -> bool:
        return isinstance(value, int | float) and isinstance(value, bool) is is_bool and value == raw

    return _element(test, show(raw), (), _never)


def _never(_prefix: str) -> Possible:
    return Possible(hold=False, fail=True)


def _text(raw: str, report: Report) -> Condition | None:
    try:
        glob = compile_glob(raw)
    except ValueError as err:
        report("", str(err))
        return None

    def under(prefix: str) -> Possible:
        if glob.exact:
            return Possible(hold=glob.literal.startswith(prefix), fail=True)
        overlap = glob.literal.startswith(prefix) or prefix.startswith(glob.literal)
        return Possible(hold=overlap, fail=not (glob.open_end and prefix.startswith(glob.literal)))

    keys = (Key(glob.literal, glob.exact),) if glob.exact or glob.literal else ()
    return _element(_on_text(glob.test), show(raw), keys, under)


def _on_text(test: TextTest) -> Test:
    return lambda value: isinstance(value, str) and test(value)


def _one_of(raw: Sequence[object], report: Report, depth: int) -> Condition | None:
    if not raw:
        report("", "an empty list matches nothing: name a value, or remove the entry")
        return None
    parsed = [parse_condition(item, _below(report, f"[{i}]"), depth + 1) for i, item in enumerate(raw)]
    found = [condition for condition in parsed if condition is not None]
    if len(found) < len(raw):
        return None
    if len(found) == 1:
        return found[0]

    def under(prefix: str) -> Possible:
        each = [condition.under(prefix) for condition in found]
        return Possible(any(one.hold for one in each), all(one.fail for one in each))

    tests = tuple(condition.holds for condition in found)
    keyed = all(condition.keys for condition in found)
    return Condition(
        lambda value: any(holds(value) for holds in tests),
        "one of " + ", ".join(condition.words for condition in found),
        tuple(key for condition in found for key in condition.keys) if keyed else (),
        under,
    )


def _below(report: Report, where: str) -> Report:
    return lambda path, message: report(where + path, message)


def _all_of(found: Sequence[Condition]) -> Condition:
    if len(found) == 1:
        return found[0]

    def under(prefix: str) -> Possible:
        each = [condition.under(prefix) for condition in found]
        return Possible(all(one.hold for one in each), any(one.fail for one in each))

    tests = tuple(condition.holds for condition in found)
    return Condition(
        lambda value: all(holds(value) for holds in tests),
        " and ".join(condition.words for condition in found),
        next((condition.keys for condition in found if condition.keys), ()),
        under,
    )


_COMPARISONS: Final[Mapping[str, tuple[str, Callable[[float, float], bool]]]] = {
    "gt": ("more than", lambda value, limit: value > limit),
    "gte": ("at least", lambda value, limit: value >= limit),
    "lt": ("less than", lambda value, limit: value < limit),
    "lte": ("at most", lambda value, limit: value <= limit),
}
_OPERATORS: Final = (*_COMPARISONS, "regex", "not", "exists")


def _operators(raw: Mapping[Any, object], report: Report, depth: int) -> Condition | None:
    """Compile `{gt: 1, lt: 9}` and the like: of a list field, one element must meet all of it."""
    if not raw:
        report("", "an empty mapping: write an operator such as {gt: 600}")
        return None
    elements: list[tuple[Test, str]] = []
    wholes: list[Condition] = []
    good = True
    for name, operand in raw.items():
        made = _operator(name, operand, _below(report, f".{name}"), depth)
        if isinstance(made, Condition):
            wholes.append(made)
        elif made is not None:
            elements.append(made)
        else:
            good = False
    if not good:
        return None
    return _all_of([*_joined(elements, numeric=not {*raw}.isdisjoint(_COMPARISONS)), *wholes])


def _joined(elements: Sequence[tuple[Test, str]], *, numeric: bool) -> list[Condition]:
    if not elements:
        return []
    tests = tuple(test for test, _ in elements)
    words = " and ".join(words for _, words in elements)
    # A comparison never holds on a text; a regex may.
    under = _never if numeric else _either
    return [_element(lambda value: all(test(value) for test in tests), words, (), under)]


def _either(_prefix: str) -> Possible:
    return _EITHER


def _operator(
    name: object, operand: object, report: Report, depth: int
) -> Condition | tuple[Test, str] | None:
    if name == "not":
        inner = parse_condition(operand, report, depth + 1)
        return None if inner is None else _negated(inner)
    if name == "exists":
        return _exists(operand, report)
    if name == "regex":
        return _regex(operand, report)
    if name in _COMPARISONS:
        return _comparison(str(name), operand, report)
    hint = did_you_mean(str(name), _OPERATORS)
    report("", f"unknown operator {show(name)}{hint or '; to reach inside a field write field.inner'}")
    return None


def _negated(inner: Condition) -> Condition:
    def under(prefix: str) -> Possible:
        hold, fail = inner.under(prefix)
        return Possible(hold=fail, fail=hold)

    return Condition(lambda value: not inner.holds(value), f"not {inner.words}", (), under)


def _exists(operand: object, report: Report) -> Condition | None:
    if not isinstance(operand, bool):
        report("", "must be true or false")
        return None
    if operand:
        return Condition(
            lambda value: value is not None,
            "a value",
            (),
            lambda _prefix: Possible(hold=True, fail=False),
        )
    return Condition(lambda value: value is None, "no value", (), _never)


def _regex(operand: object, report: Report) -> tuple[Test, str] | None:
    if not isinstance(operand, str):
        report("", "must be a regular expression in quotes")
        return None
    try:
        return _on_text(search_test(operand)), f"something that the regex {show(operand)} finds"
    except ValueError as err:
        report("", str(err))
        return None


def _comparison(name: str, limit: object, report: Report) -> tuple[Test, str] | None:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not _finite(limit):
        report("", "must be a number, without quotes")
        return None
    words, compare = _COMPARISONS[name]

    def test(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, limit)

    return test, f"{words} {limit}"
