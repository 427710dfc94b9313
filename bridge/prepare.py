"""One event's way from what AWX says to what any sink may get: normalize, redact, route, encode.

Rules see redacted fields. Nothing is caught here: the tail guards one event at a time, and no
input, however odd, should need that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from bridge.contract import EVENT, JOB, names
from bridge.encode import event_id, iso, status_id, to_event
from bridge.model import SCHEMA_VERSION, AwxEvent, Close, Event, Failure, HostSummary, Job, StatusSeen
from bridge.normalize import Fields, from_bridge, from_row, from_status, job_fields, missing_fields
from bridge.redact import Redactor

_JOB_NAMES: Final = tuple(names(JOB))
_EVENT_NAMES: Final = tuple(names(EVENT))
_STATUS_NAMES: Final = ("job_explanation", "hosts", "failures")
_OWN_NAMES: Final = ("reason",)
_REMEMBERED: Final = 512


class Rules(Protocol):
    """What is needed of the compiled rules."""

    def sinks_for(self, fields: Mapping[str, object], /) -> Sequence[str]:
        """Return the names of the sinks that this event goes to, each once."""
        ...


class Prepared(NamedTuple):
    """One event, the sinks it goes to, and how many secrets were taken out of it."""

    event: Event
    sinks: tuple[str, ...]
    redactions: int


class _Known(NamedTuple):
    """What is the same for every event of one `Job` value. It holds the job, so its id stays taken."""

    job: Job
    base: Fields
    key: str
    extra_vars: str | None
    redactions: int


class Preparer:
    """Prepares the events of the jobs of one source, and the bridge's own that concern it."""

    def __init__(
        self,
        *,
        bridge: str,
        public_urls: Mapping[str, str],
        redactor: Redactor,
        rules: Rules,
        max_hosts: int = 200,
    ) -> None:
        """Take the bridge's name, the base of links per source, and what decides.

        `max_hosts` bounds the list of hosts in a receipt.
        """
        self._bridge = bridge
        self._public_urls = dict(public_urls)
        self._redactor = redactor
        self._rules = rules
        self._max_hosts = max_hosts
        self._known: dict[int, _Known] = {}

    def event(self, row: AwxEvent, job: Job, *, repeat: int = 1, late: bool = False) -> Prepared:
        """Prepare one row of the job's event list, the `repeat`-th different one of its counter."""
        known = self._know(job)
        fields = from_row(
            row, job, base=known.base, event_id=event_id(job.key, row.counter, repeat), late=late
        )
        redactions = self._redactor.fields(fields, _EVENT_NAMES)
        if redactions and fields["event"] != row.event:
            fields["type"] = "awx.event.unknown"
        event = to_event(
            fields, key=known.key, counter=row.counter, repeat=repeat, extra_vars=known.extra_vars
        )
        return self._routed(event, fields, redactions)

    def status(self, seen: StatusSeen, job: Job, close: Close | None = None) -> Prepared:
        """Prepare one entry of the job's status log; a terminal one carries the receipt in `close`."""
        known = self._know(job)
        fields = from_status(
            seen,
            job,
            base=known.base,
            event_id=status_id(job.key, seen.status, seen.repeat),
            close=close,
            max_hosts=self._max_hosts,
        )
        redactions = known.redactions + self._redactor.fields(fields, _STATUS_NAMES)
        event = to_event(fields, key=known.key, status_number=seen.number, extra_vars=known.extra_vars)
        return self._routed(event, fields, redactions)

    def name_of(self, job: Job) -> str:
        """Return the job's name without secrets, for the log."""
        return str(self._know(job).base["job_name"])

    def clean(self, close: Close) -> tuple[Close, int]:
        """Take the secrets out of a receipt before it is kept; return it and how many there were."""
        fields: dict[str, Any] = {
            "hosts": [msgspec.structs.asdict(host) for host in close.hosts],
            "failures": [msgspec.structs.asdict(failure) for failure in close.failures],
        }
        redactions = self._redactor.fields(fields, ("hosts", "failures"))
        if not redactions:
            return close, 0
        hosts, failures = msgspec.convert(
            (fields["hosts"], fields["failures"]), tuple[tuple[HostSummary, ...], tuple[Failure, ...]]
        )
        return msgspec.structs.replace(close, hosts=hosts, failures=failures), redactions

    def own(
        self, kind: str, *, at: float, source: str | None = None, **facts: str | float | None
    ) -> Prepared:
        """Prepare one of the bridge's own events: `bridge.source.down` and the like.

        `at` and a fact `since` are epoch seconds; `source` is the AWX it concerns, if it concerns one;
        further facts are `sink` and `reason`.
        """
        time = iso(at)
        concerned = source or self._bridge
        parts = (concerned, "bridge", kind.removeprefix("bridge."), facts.get("sink"), time)
        if isinstance(since := facts.get("since"), int | float):
            facts["since"] = iso(since)
        fields = from_bridge(
            kind,
            bridge=self._bridge,
            event_id="/".join(str(part) for part in parts if part is not None),
            time=time,
            base={"source": concerned, "schema_version": SCHEMA_VERSION},
            facts=facts,
        )
        redactions = self._redactor.fields(fields, _OWN_NAMES)
        return self._routed(to_event(fields, key=f"{concerned}/bridge"), fields, redactions)

    def missing(
        self,
        job: Job,
        ranges: Sequence[tuple[int, int]],
        *,
        at: float,
        sink: str | None = None,
        reason: str | None = None,
    ) -> Prepared:
        """Prepare `bridge.events.missing`: counters (inclusive ranges) of this job that are lost.

        They are lost for `sink` only where one is named.
        """
        known = self._know(job)
        lost = missing_fields(ranges)
        parts = (job.key, "missing", sink, lost["events_missing_total"])
        fields = from_bridge(
            "bridge.events.missing",
            bridge=self._bridge,
            event_id="/".join(str(part) for part in parts if part is not None),
            time=iso(at),
            base=known.base,
            facts={**lost, "sink": sink, "reason": reason},
        )
        redactions = known.redactions + self._redactor.fields(fields, _OWN_NAMES)
        return self._routed(to_event(fields, key=known.key), fields, redactions)

    def _routed(self, event: Event, fields: Mapping[str, Any], redactions: int) -> Prepared:
        return Prepared(event, tuple(self._rules.sinks_for(fields)), redactions)

    def _know(self, job: Job) -> _Known:
        known = self._known.get(id(job))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[id(job)] = self._learn(job)
        return known

    def _learn(self, job: Job) -> _Known:
        base = job_fields(job, public_url=self._public_urls.get(job.key.source, ""))
        redactions = self._redactor.fields(base, _JOB_NAMES)
        extra_vars = job.extra_vars
        if extra_vars is not None:
            extra_vars, found = self._redactor.text(extra_vars)
            redactions += found
        return _Known(job, base, str(job.key), extra_vars, redactions)
