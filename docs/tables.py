"""Writes the tables of the documentation from the code that they are about: `make docs`.

A table stands between `<!-- table: name -->` and `<!-- end -->`; everything else is written by hand.
`tests/test_docs.py` fails while a table is not what this makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from bridge import contract, observe
from bridge.awx.options import JobOptions, SourceOptions
from bridge.config import Config, LogOptions, RouteOptions, ServerOptions
from bridge.config.document import read_document
from bridge.options import FieldOptions, Options, SinkOptions, TlsOptions
from bridge.redact import RedactOptions
from bridge.sinks import sink_kinds
from bridge.state.options import StateOptions

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


_EXAMPLE: Final = read_document((DOCS.parent / "config.example.yaml").read_bytes()).data
_BLOCKS: Final[Mapping[str, tuple[type[Options], Any]]] = {
    "config": (Config, _EXAMPLE),
    "source": (SourceOptions, _EXAMPLE["sources"]["prod"]),
    "jobs": (JobOptions, _EXAMPLE["sources"]["prod"]["jobs"]),
    "tls": (TlsOptions, _EXAMPLE["sources"]["prod"]["tls"]),
    "sink": (SinkOptions, _EXAMPLE["sinks"]["events"]),
    "fields": (FieldOptions, _EXAMPLE["sinks"]["events"]["fields"]),
    "route": (RouteOptions, _EXAMPLE["routes"][0]),
    "state": (StateOptions, _EXAMPLE["state"]),
    "server": (ServerOptions, _EXAMPLE["server"]),
    "redact": (RedactOptions, _EXAMPLE["redact"]),
    "log": (LogOptions, _EXAMPLE["log"]),
    **{block["type"]: (sink_kinds()[block["type"]].options, block) for block in _EXAMPLE["sinks"].values()},
}
"""Every block of the configuration, and where the example shows it."""


def _options(block: str) -> Callable[[], str]:
    """Make the table of one block; defaults are written as the example, which is tested, writes them."""
    options, shown = _BLOCKS[block]
    kind = issubclass(options, SinkOptions) and options is not SinkOptions
    told_before = {"type", *SinkOptions.model_fields} if kind else set()

    def table() -> str:
        rows = [
            (f"`{name}`", _default(field, shown[name]), _meaning(field))
            for name, field in options.model_fields.items()
            if name not in told_before
        ]
        return _table(("option", "default", "meaning"), rows)

    return table


def _default(field: FieldInfo, shown: Any) -> str:
    if field.is_required():
        return "required"
    nothing = field.get_default(call_default_factory=True, validated_data={}) in (None, "", ())
    if nothing or isinstance(field.default, Options):
        return ""
    return f"`{shown if isinstance(shown, str) else json.dumps(shown)}`"


def _meaning(field: FieldInfo) -> str:
    said = field.description or ""
    if not said and isinstance(field.default, Options):
        said = (type(field.default).__doc__ or "").splitlines()[0]
    if get_origin(field.annotation) is Literal:
        choices = ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
        said = f"{said}: {choices}" if said else choices
    return _escaped(said).replace("|", "\\|")


_KINDS: Final = ("always", "job", "event", "status", "receipt", "optional", "bridge")

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "log-events": _log_events,
    "metrics": _metrics,
    **{f"fields-{kind}": _fields(kind) for kind in _KINDS},
    **{f"options-{block}": _options(block) for block in _BLOCKS},
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
