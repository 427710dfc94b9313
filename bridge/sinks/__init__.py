"""Which kinds of sinks there are: the one list that a new sink joins.

A sink is one file: its options, its sink, its opener. This bridge's own kinds are one line each
below; third parties add theirs by an entry point and touch nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NamedTuple

from bridge.errors import ConfigError, Problem
from bridge.options import SinkOptions
from bridge.ports import Sink, SinkContext
from bridge.sinks.file import FileOptions, open_file
from bridge.sinks.kafka import KafkaOptions, open_kafka
from bridge.sinks.slack import SlackOptions, open_slack
from bridge.sinks.stdout import StdoutOptions, open_stdout
from bridge.sinks.webhook import WebhookOptions, open_webhook

ENTRY_POINTS: Final = "awx_event_bridge.sinks"
"""Group of entry points; the name is the `type` in the configuration, the object a `SinkKind`."""


class SinkKind(NamedTuple):
    """One kind of sink.

    `options` is the class of its block in the configuration. `open(options, context)` connects as
    long as it is entered; it raises `ConfigError` for what only shows when it is used, such as a
    broken certificate file, and leaves everything else to `Sink.send`.
    """

    options: type[SinkOptions]
    open: Callable[[Any, SinkContext], AbstractAsyncContextManager[Sink]]


def builtin_kinds() -> dict[str, SinkKind]:
    """Return the kinds that come with the bridge, by their `type`."""
    return {
        "file": SinkKind(FileOptions, open_file),
        "kafka": SinkKind(KafkaOptions, open_kafka),
        "slack": SinkKind(SlackOptions, open_slack),
        "stdout": SinkKind(StdoutOptions, open_stdout),
        "webhook": SinkKind(WebhookOptions, open_webhook),
    }


def sink_kinds() -> dict[str, SinkKind]:
    """Return all kinds, third parties' included.

    Raises:
        ConfigError: a third party's sink cannot be loaded, or takes a name that is taken.
    """
    kinds = builtin_kinds()
    problems = []
    for entry in entry_points(group=ENTRY_POINTS):
        kind, complaint = _load(entry)
        if entry.name in kinds:
            complaint = "this type of sink exists already"
        if kind is None or complaint:
            problems.append(Problem("", f"sink {entry.name!r} from {entry.value}: {complaint}"))
        else:
            kinds[entry.name] = kind
    if problems:
        raise ConfigError(problems)
    return kinds


def _load(entry: EntryPoint) -> tuple[SinkKind | None, str]:
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as err:
        return None, f"cannot be loaded: {err}"
    if not isinstance(loaded, SinkKind):
        return None, "is no SinkKind"
    return loaded, ""
