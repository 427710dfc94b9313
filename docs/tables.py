"""Writes the tables of the documentation from the code that they are about: `make docs`.

A table stands between `<!-- table: name -->` and `<!-- end -->`; everything else is written by hand.
`tests/test_docs.py` fails while a table is not what this makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from bridge import contract, observe

DOCS: Final = Path(__file__).parent
_TABLE: Final = re.compile(
    r"(?P<begin><!-- table: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def rewritten(text: str) -> str:
    """Return `text` with every table made anew.

    Raises:
        KeyError: there is no table of that name.
    """
    return _TABLE.sub(lambda found: f"{found['begin']}\n{TABLES[found['name']]()}\n{found['end']}", text)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _fields(kind: str) -> Callable[[], str]:
    def table() -> str:
        fields = [field for field in contract.ALL_FIELDS if field.kinds[0] == kind]
        rows = [(f"`{field.name}`", _type(field.schema), _escaped(field.description)) for field in fields]
        return _table(("field", "type", "meaning"), rows)

    return table


def _log_events() -> str:
    rows = [(f"`{name}`", event.level, event.meaning) for name, event in observe.LOG_EVENTS.items()]
    return _table(("event", "level", "meaning"), rows)


def _metrics() -> str:
    rows = [
        (f"`{observe.PREFIX}{name}`", ", ".join(f"`{label}`" for label in spec.labels), spec.unit, spec.help)
        for name, spec in observe.METRICS.items()
    ]
    return _table(("metric", "labels", "unit", "meaning"), rows)


def _escaped(text: str) -> str:
    """Keep `<source>` from being read as a tag."""
    return text.replace("<", "&lt;")


def _type(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    names = ["list of " + _type(schema["items"]) if kind == "array" else kind for kind in kinds]
    if "object" in kinds and "properties" in schema:
        names = [f"{{{', '.join(schema['properties'])}}}"]
    return " or ".join("time" if schema.get("format") and name == "string" else name for name in names)


_KINDS: Final = ("always", "job", "event", "status", "receipt", "optional", "bridge")

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "log-events": _log_events,
    "metrics": _metrics,
    **{f"fields-{kind}": _fields(kind) for kind in _KINDS},
}


def main() -> None:
    """Write every page whose tables are not as they should be."""
    for page in sorted(DOCS.glob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            page.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
