"""What the bridge says of itself: the list of all log events and metrics, and where they go.

A loop names an event or metric of the lists below and nothing else: an unknown name is a bug and
raises. One line per batch, never per event; never a payload or a secret. A log that cannot be
written never stops a delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TextIO

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.model import JobKey
from bridge.ports import Clock, Observer

Level = Literal["debug", "info", "warning", "error"]

PREFIX: Final = "awx_bridge_"


class LogEvent(NamedTuple):
    """One kind of line in the log: how loud it is, and what it means for the reader."""

    level: Level
    meaning: str


class MetricSpec(NamedTuple):
    """One metric: its labels, what it counts in, and what it tells. Names ending in `_total` count."""

    labels: tuple[str, ...]
    unit: str
    help: str


LOG_EVENTS: Final[Mapping[str, LogEvent]] = {
    "batch.delivered": LogEvent("debug", "A sink has durably accepted a batch."),
    "bridge.started": LogEvent("info", "The bridge follows its sources."),
    "bridge.stopped": LogEvent("info", "The bridge has stopped; every place is on disk."),
    "bridge.stopping": LogEvent("info", "The bridge was asked to stop and finishes what is in flight."),
    "bug.caught": LogEvent(
        "error", "The bridge ends because of a mistake in its own code; please report it."
    ),
    "catch_up.finished": LogEvent("debug", "A job's lagging sinks are level with its live tail."),
    "catch_up.started": LogEvent("debug", "A job is read again from the lowest place of its lagging sinks."),
    "config.loaded": LogEvent("info", "The configuration was read and is in force."),
    "dead_letter.dropped": LogEvent("warning", "Dead letters were dropped by order of an operator."),
    "dead_letter.retried": LogEvent("info", "Dead letters were tried again by order of an operator."),
    "discovery.started": LogEvent("info", "A source is being searched for jobs from its durable mark on."),
    "event.after_close": LogEvent(
        "warning", "Events appeared after their job's receipt; `replay` fetches them."
    ),
    "event.dead_lettered": LogEvent(
        "warning", "A sink refuses events for good; they are kept as dead letters."
    ),
    "event.malformed": LogEvent("warning", "An event could be read only in part and goes out marked."),
    "event.tripped": LogEvent(
        "error", "An event trips the bridge's own code; it is a dead letter, the rest goes on."
    ),
    "event.unreadable": LogEvent("warning", "An event is larger than any page may be and counts as missing."),
    "gap.filled": LogEvent("info", "An event that had been given up has appeared and is delivered late."),
    "gap.given_up": LogEvent(
        "warning", "A counter is not readable; the job goes on without it and it stays wanted."
    ),
    "job.closed": LogEvent("info", "A job's receipt is written: every event was read."),
    "job.closed_incomplete": LogEvent("warning", "A job's receipt is written, but events are missing."),
    "job.deleted": LogEvent("info", "AWX no longer has a job that was being followed."),
    "job.discovered": LogEvent("info", "A job is seen for the first time."),
    "job.status_seen": LogEvent("debug", "A job has a new status."),
    "job.vanished": LogEvent(
        "warning", "AWX answers, but no longer shows a job; it is ended as far as it was read."
    ),
    "library.failed": LogEvent("error", "A library that the bridge uses reports an error."),
    "library.warned": LogEvent("warning", "A library that the bridge uses reports a warning."),
    "order.carried_out": LogEvent("info", "What a command asked for is done."),
    "order.failed": LogEvent("warning", "What a command asked for could not be done, or not all of it."),
    "replay.ended": LogEvent("info", "A replay is through its jobs."),
    "replay.started": LogEvent("info", "An operator has jobs sent to a sink; `resumed` after a restart."),
    "sink.down": LogEvent("error", "Nothing gets through to a sink; its places are kept, it is tried on."),
    "sink.failing": LogEvent("warning", "A sink fails for now; its events wait and are tried again."),
    "sink.gave_up": LogEvent(
        "error", "A sink lagged longer than max_lag; what it missed is counted and left."
    ),
    "sink.parked": LogEvent("error", "A sink refuses the bridge as configured; it is probed every minute."),
    "sink.recovered": LogEvent("info", "A sink that failed accepts events again."),
    "sink.resumed": LogEvent("info", "A parked sink accepts the bridge again and goes on from its places."),
    "source.down": LogEvent("warning", "A source does not answer; it is asked again with growing pauses."),
    "source.refused": LogEvent("error", "A source refuses the credentials; it is asked again."),
    "source.replaced": LogEvent("error", "Another AWX answers behind the same URL; this source is parked."),
    "source.rewound": LogEvent("error", "A source was restored from a backup; it is parked."),
    "source.up": LogEvent("info", "A source answers."),
    "state.committed": LogEvent("debug", "What moved is on disk."),
    "state.recovered": LogEvent(
        "warning", "State was blank; what a sink remembers has taken its place, the rest is lost."
    ),
    "state.waiting": LogEvent(
        "warning", "State is blank, and a sink that may remember does not answer; it is waited for."
    ),
}
"""Every line that the log can hold, by name."""

METRICS: Final[Mapping[str, MetricSpec]] = {
    "build_info": MetricSpec(("version",), "1", "The running version; always 1"),
    "dead_letters_dropped_total": MetricSpec(
        ("sink",), "events", "Dead letters dropped by order of an operator"
    ),
    "dead_letters_retried_total": MetricSpec(
        ("sink", "result"),
        "events",
        "Dead letters tried again; result is sent, sent_copy, refused or left",
    ),
    "deliveries_failed_total": MetricSpec(
        ("sink", "class"), "attempts", "Failed sends; class is temporary, permanent or refused"
    ),
    "events_after_close_total": MetricSpec(
        ("source",), "events", "Events seen only after their job's receipt had said that they are missing"
    ),
    "events_dead_lettered_total": MetricSpec(("sink",), "events", "Events that became dead letters"),
    "events_delivered_total": MetricSpec(("sink",), "events", "Events that a sink has durably accepted"),
    "events_late_total": MetricSpec(
        ("source",), "events", "Events delivered after their gap had been given up"
    ),
    "events_malformed_total": MetricSpec(("source",), "events", "Events that could be read only in part"),
    "events_missing_total": MetricSpec(("source",), "events", "Events missing when their job was closed"),
    "events_read_total": MetricSpec(("source",), "events", "Job events read from AWX"),
    "events_replayed_total": MetricSpec(("sink",), "events", "Events sent by order of an operator"),
    "jobs_closed_total": MetricSpec(("source", "complete"), "jobs", "Jobs closed; complete is true or false"),
    "jobs_open": MetricSpec(("source",), "jobs", "Jobs that are being followed"),
    "lane_bytes": MetricSpec(("sink",), "bytes", "Events waiting in a sink's lane"),
    "loop_lag_seconds": MetricSpec((), "seconds", "How late the event loop woke up at the last look"),
    "orders_total": MetricSpec(
        ("kind", "done"), "orders", "What commands asked for, by kind; done is true or false"
    ),
    "redactions_total": MetricSpec(("source",), "events", "Events in which a secret was found and removed"),
    "requests_total": MetricSpec(
        ("source", "outcome"), "requests", "Requests to AWX by outcome: ok, unavailable, refused, unreadable"
    ),
    "sink_lag_seconds": MetricSpec(
        ("sink",), "seconds", "Age of the oldest event that a sink has not settled"
    ),
    "sink_state": MetricSpec(("sink",), "state", "0 healthy, 1 failing, 2 down, 3 parked"),
    "source_up": MetricSpec(("source",), "boolean", "1 when the source answered the last request"),
    "state_commits_total": MetricSpec((), "commits", "Commits of the state file"),
}
"""Every metric without its prefix, by name."""

_FIRST: Final = ("event", "source", "job", "sink")
_RESERVED: Final = frozenset({"event", "level", "time"})
_LEVELS: Final[Mapping[Level, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def check_note(name: str, facts: Mapping[str, object]) -> LogEvent:
    """Look up a log event.

    Raises:
        KeyError: it is not in the list, or a fact has a name that every line has already.
    """
    if clash := _RESERVED & facts.keys():
        raise KeyError(f"{name}: a fact cannot be called {', '.join(sorted(clash))}")
    return LOG_EVENTS[name]


def check_metric(name: str, labels: Mapping[str, str], *, counter: bool) -> MetricSpec:
    """Look up a metric.

    Raises:
        KeyError: it is not in the list, has other labels, or is of the other kind.
    """
    spec = METRICS[name]
    if labels.keys() != set(spec.labels):
        raise KeyError(f"{name} has the labels {spec.labels}, not {tuple(labels)}")
    if name.endswith("_total") is not counter:
        raise KeyError(f"{name} is a {'gauge' if counter else 'counter'}")
    return spec


class Metrics(Collector):
    """The values of all metrics, with a registry of their own."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in METRICS}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, name: str, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; 0 makes it visible before the first event."""
        spec = check_metric(name, labels, counter=True)
        values = self._values[name]
        where = tuple(labels[label] for label in spec.labels)
        values[where] = values.get(where, 0.0) + amount

    def set(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Set a gauge."""
        spec = check_metric(name, labels, counter=False)
        self._values[name][tuple(labels[label] for label in spec.labels)] = value

    def total(self, name: str) -> float:
        """Return the sum of a metric over all its labels."""
        return sum(self._values[name].values())

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics for prometheus_client."""
        for name, spec in METRICS.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(PREFIX + name.removesuffix("_total"), spec.help, labels=spec.labels)
            for labels, value in self._values[name].items():
                family.add_metric(labels, value)
            yield family

    def render(self) -> bytes:
        """Return the page for Prometheus (text format 0.0.4)."""
        return generate_latest(self._registry)


class LogObserver:
    """`ports.Observer`: the log, and the metrics."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def note(self, name: str, /, **facts: object) -> None:
        """Write a line; see `ports.Observer`."""
        level = _LEVELS[check_note(name, facts).level]
        # A full disk or a closed pipe behind the log is no reason to stop delivering.
        with suppress(OSError):
            self._log.log(level, name, **facts)

    def count(self, metric: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter; see `ports.Observer`."""
        self._metrics.add(metric, amount, labels)

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        """Set a gauge; see `ports.Observer`."""
        self._metrics.set(metric, value, labels)


def open_log(
    stream: TextIO, *, clock: Clock, level: Level = "info", console: bool, colour: bool = False
) -> structlog.typing.FilteringBoundLogger:
    """Make the logger: JSON lines for a pipe, readable lines for a terminal (`console`)."""

    def stamp(_log: object, level: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        moment = datetime.fromtimestamp(clock.now(), UTC).isoformat(timespec="milliseconds")
        head = {"time": moment.replace("+00:00", "Z"), "level": level}
        first = {name: line[name] for name in _FIRST if name in line}
        return {name: _plain(value) for name, value in {**head, **first, **line}.items()}

    processors: list[structlog.typing.Processor] = [stamp]
    if console:
        processors += [_without_controls, _console(colour=colour)]
    else:
        processors += [structlog.processors.JSONRenderer(default=str)]
    made: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return made


@contextmanager
def library_logs(observer: Observer) -> Generator[None]:
    """Send what libraries log at `warning` and above to `observer` for the length of the block."""
    root = logging.getLogger()
    handler = _LibraryHandler(observer)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _LibraryHandler(logging.Handler):
    def __init__(self, observer: Observer) -> None:
        super().__init__(logging.WARNING)
        self._observer = observer

    def emit(self, record: logging.LogRecord) -> None:
        name = "library.failed" if record.levelno >= logging.ERROR else "library.warned"
        error = record.exc_info[1] if record.exc_info else None
        facts = {} if error is None else {"error": error}
        self._observer.note(name, library=record.name, message=record.getMessage(), **facts)


def _plain(value: object) -> object:
    """Show a job as its key, and an error as its text."""
    if isinstance(value, JobKey):
        return str(value)
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return value


def _without_controls(
    _log: object, _level: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape control characters: a job's name must not steer the operator's terminal."""
    return {
        name: value
        if not isinstance(value, str) or value.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in value)
        for name, value in line.items()
    }


def _console(*, colour: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=colour, timestamp_key="time", sort_keys=False, pad_event_to=24
    )
