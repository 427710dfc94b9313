"""The configuration file as data: YAML 1.2's core schema, with the line of every value.

Knows nothing of what the options mean. Any bytes give a `Document` or a `ConfigError`; size,
depth and what aliases expand to are bounded. Messages never quote a value: it may be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from bridge.errors import ConfigError, Problem

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000

Path = tuple[str | int, ...]
"""Where a value is: keys of mappings and indexes of lists, from the top."""

_STR_TAG: Final = "tag:yaml.org,2002:str"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INTEGERS: Final = (
    (re.compile(r"[-+]?[0-9]{1,30}"), 10),
    (re.compile(r"0o[0-7]{1,30}"), 8),
    (re.compile(r"0x[0-9a-fA-F]{1,30}"), 16),
)
_INTEGER_LIMIT: Final = 1 << 63
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Document(NamedTuple):
    """A configuration file: plain dicts (text keys), lists and scalars; 1-based lines by path."""

    data: dict[str, Any]
    lines: dict[Path, int]

    def line(self, path: Path) -> int | None:
        """Return the line of `path`, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            found = self.lines.get(path[:end])
            if found is not None:
                return found
        return None


class _Scalar(NamedTuple):
    value: object
    text: str
    line: int
    plain: bool = False


class _List(NamedTuple):
    items: list[_Node]
    line: int


class _Mapping(NamedTuple):
    pairs: list[tuple[_Scalar, _Node]]
    line: int


_Node = _Scalar | _List | _Mapping


def dotted(path: Path) -> str:
    """Render a path as `routes[1].match.template`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(raw: bytes) -> Document:
    """Parse a configuration file.

    Raises:
        ConfigError: it is no YAML 1.2 mapping, or a key appears twice.
    """
    composer = _Composer(_decode(raw))
    root = composer.document()
    builder = _Builder()
    data = builder.build(root, ())
    problems = [*composer.problems, *builder.problems]
    if problems:
        raise ConfigError(problems)
    if not isinstance(data, dict):
        raise _refuse("the file must be a mapping: `sources:`, `sinks:`, `routes:`", 1)
    return Document(data, builder.lines)


def _refuse(message: str, line: int | None, path: Path = ()) -> ConfigError:
    return ConfigError([Problem(dotted(path), message, line)])


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _refuse(f"the file is larger than {MAX_BYTES} bytes", None)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise _refuse("the file is not UTF-8", raw.count(b"\n", 0, err.start) + 1) from err


class _Composer:
    """Turns PyYAML's events into nodes; PyYAML's own composer has no bound on depth."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._anchors: dict[str, _Node] = {}
        self._events = _events(text)

    def document(self) -> _Node:
        """Read the one document that the file must hold."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise _refuse("the file is empty", None)
        node = self._node(next(self._events), ())
        next(self._events)
        rest = next(self._events)
        if not isinstance(rest, yaml.StreamEndEvent):
            raise _refuse("the file must hold one document: remove the `---` here", _line(rest))
        return node

    def _node(self, event: yaml.Event, path: Path) -> _Node:
        line = _line(event)
        if len(path) > MAX_DEPTH:
            raise _refuse(f"nested deeper than {MAX_DEPTH} levels", line, path[:4])
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._anchored(event.anchor, _scalar(event, path))
        if isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event.tag, line, path)
            return self._anchored(event.anchor, _List(self._items(path), line))
        if isinstance(event, yaml.MappingStartEvent):
            _check_tag(event.tag, line, path)
            return self._anchored(event.anchor, _Mapping(self._pairs(path), line))
        raise _refuse("this is no YAML", line, path)

    def _anchored(self, anchor: str | None, node: _Node) -> _Node:
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, path: Path) -> _Node:
        found = self._anchors.get(str(event.anchor))
        if found is None:
            raise _refuse(
                "an alias to an anchor that does not exist; put a text that starts with * in quotes",
                _line(event),
                path,
            )
        return found

    def _items(self, path: Path) -> list[_Node]:
        items: list[_Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _pairs(self, path: Path) -> list[tuple[_Scalar, _Node]]:
        pairs: list[tuple[_Scalar, _Node]] = []
        seen: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path)
            if not isinstance(key, _Scalar):
                raise _refuse("a key must be a plain text; put { or [ in quotes", key.line, path)
            pairs.append((key, self._node(next(self._events), (*path, key.text))))
            if key.text in seen:
                message = f"this key is here twice, first on line {seen[key.text]}: remove one"
                self.problems.append(Problem(dotted((*path, key.text)), message, key.line))
            seen.setdefault(key.text, key.line)
        return pairs


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield PyYAML's events, its errors translated."""
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise _refuse("a character that YAML does not allow", line) from err
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise _refuse(_syntax(err), None if mark is None else mark.line + 1) from err
    except (yaml.YAMLError, ValueError, OverflowError) as err:
        # PyYAML lets int() and chr() fail on absurd escapes and directives.
        raise _refuse("this is no YAML", None) from err


def _syntax(err: yaml.MarkedYAMLError) -> str:
    """Say what PyYAML stumbled over, without what it read there."""
    problem = str(err.problem or "")
    if "tab" in problem or r"'\t'" in problem:
        return "a tab: YAML indents with spaces"
    if problem.startswith("mapping values are not allowed"):
        return "a `:` that is out of place: check the indentation, or put the text in quotes"
    if problem.startswith("found character") and "cannot start" in problem:
        return "a text cannot start with this character: put it in quotes"
    plain = re.split(r", but (?:found|got)|[:'\"]", problem)[0].strip()
    return f"this is no YAML: {plain}" if plain else "this is no YAML"


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return 1 if mark is None else mark.line + 1


def _check_tag(tag: str | None, line: int, path: Path) -> None:
    if tag is not None and tag != "!":
        raise _refuse("tags are not supported here: put a text that starts with ! in quotes", line, path)


def _scalar(event: yaml.ScalarEvent, path: Path) -> _Scalar:
    line = _line(event)
    try:
        # JSON writes characters beyond U+FFFF as two escapes, which PyYAML leaves apart.
        text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as err:
        raise _refuse("a text with half a surrogate pair: this is no Unicode", line, path) from err
    if event.tag is None and not event.style:
        return _Scalar(_resolve(text, line, path), text, line, plain=True)
    if event.tag != _STR_TAG:
        _check_tag(event.tag, line, path)
    return _Scalar(text, text, line)


def _resolve(text: str, line: int, path: Path) -> object:
    """Read a plain scalar by YAML 1.2's core schema (YAML 1.2.2, section 10.3.2)."""
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            number = int(text, base)
            if abs(number) >= _INTEGER_LIMIT:
                raise _refuse("a number that large must be a text: put it in quotes", line, path)
            return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isfinite(value):
            return value
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise _refuse("a number must be finite; a text goes in quotes", line, path)


class _Builder:
    """Turns nodes into data; counts what aliases expand to."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def build(self, node: _Node, path: Path) -> Any:
        """Build the value of `node`, which is at `path`."""
        self._count += 1
        if self._count > MAX_VALUES or len(path) > 2 * MAX_DEPTH:
            raise _refuse(f"aliases make more than {MAX_VALUES} values of this file", node.line)
        self.lines.setdefault(path, node.line)
        if isinstance(node, _Scalar):
            return node.value
        if isinstance(node, _List):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.items)]
        return self._mapping(node, path)

    def _mapping(self, node: _Mapping, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key, value in self._own_and_merged(node, path):
            if key.text not in built:
                self.lines[(*path, key.text)] = key.line
                built[key.text] = self.build(value, (*path, key.text))
        return built

    def _own_and_merged(self, node: _Mapping, path: Path) -> Iterator[tuple[_Scalar, _Node]]:
        """Yield the mapping's own pairs, then those that `<<` takes over from elsewhere."""
        merges: list[_Node] = []
        for key, value in node.pairs:
            if key.text == "<<" and key.plain:
                merges += value.items if isinstance(value, _List) else [value]
            else:
                yield key, value
        for merged in merges:
            if isinstance(merged, _Mapping):
                yield from self._own_and_merged(merged, path)
            else:
                self.problems.append(
                    Problem(dotted((*path, "<<")), "only a mapping can be merged", merged.line)
                )
