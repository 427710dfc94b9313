"""What happened, told without any markup: the one story that every medium writes down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from bridge.render.clean import duration_of, line_of, text_of

SHOWN_FAILURES: Final = 5
"""Failures that a message spells out; the others are counted."""

_RED: Final = "#d72b3f"
_GREEN: Final = "#2eb67d"
_GREY: Final = "#868686"
_AMBER: Final = "#ecb22e"
_BLUE: Final = "#36a3eb"

Fields = Mapping[str, Any]


class Look(NamedTuple):
    """How an outcome shows, and its words behind the job's name."""

    emoji: str
    colour: str
    words: str


class Detail(NamedTuple):
    """One thing that went wrong: where, and what was said."""

    where: str
    message: str


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One event in words, without markup.

    The headline reads `<before> <subject> <after>`; the subject carries the link.
    """

    look: Look
    before: str = ""
    subject: str = ""
    after: str = ""
    link: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    details: tuple[Detail, ...] = ()
    more: str = ""
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The whole first line."""
        return " ".join(filter(None, (self.before, self.subject, self.after)))


_STATUS: Final[Mapping[str, Look]] = {
    "new": Look("⏳", _GREY, "is new"),
    "pending": Look("⏳", _GREY, "is pending"),
    "waiting": Look("⏳", _GREY, "is waiting"),
    "running": Look("▶️", _BLUE, "is running"),
    "successful": Look("✅", _GREEN, "succeeded"),
    "failed": Look("❌", _RED, "failed"),
    "error": Look("💥", _RED, "ended with an error"),
    "canceled": Look("🚫", _GREY, "was canceled"),
    "deleted": Look("🗑️", _GREY, "was deleted in AWX"),
    "stalled": Look("🐌", _AMBER, "has stalled"),
}
_EVENT: Final[Mapping[str, Look]] = {
    "runner_on_failed": Look("❌", _RED, "failed"),
    "runner_item_on_failed": Look("❌", _RED, "failed for one item"),
    "runner_on_async_failed": Look("❌", _RED, "failed in the background"),
    "runner_on_unreachable": Look("🔌", _RED, "could not be reached"),
    "runner_retry": Look("🔁", _AMBER, "is tried again"),
    "error": Look("💥", _RED, "error"),
    "warning": Look("⚠️", _AMBER, "warning"),
    "deprecated": Look("⚠️", _AMBER, "deprecation"),
}
_IGNORED: Final = Look("⚠️", _AMBER, "failed, which is ignored")
_PLAIN: Final = Look("🔹", _GREY, "")
_BRIDGE: Final[Mapping[str, Look]] = {
    "bridge.source.down": Look("🔴", _RED, "The bridge cannot read from AWX {source}"),
    "bridge.source.up": Look("🟢", _GREEN, "The bridge reads from AWX {source} again"),
    "bridge.sink.parked": Look("🔴", _RED, "The sink {sink} refuses everything and is parked"),
    "bridge.sink.resumed": Look("🟢", _GREEN, "The sink {sink} accepts events again"),
    "bridge.events.missing": Look("⚠️", _AMBER, "Job events never became readable"),
    "bridge.heartbeat": Look("💓", _GREY, "The bridge is alive"),
}
_JOB_FACTS: Final = (
    ("Template", "template"),
    ("Inventory", "inventory"),
    ("Project", "project"),
    ("Launched by", "launched_by"),
    ("Limit", "job_limit"),
)


_LINK: Final = re.compile(r"https?://[\x21\x23-\x3b\x3d\x3f-\x7b\x7d\x7e]+")


def tell(fields: Fields) -> Story:
    """Put an event into words."""
    kind = line_of(fields.get("type"))
    if kind.startswith("awx.job."):
        return _tell_status(fields, kind.removeprefix("awx.job."))
    if kind.startswith("awx.event."):
        return _tell_event(fields, kind.removeprefix("awx.event."))
    return _tell_bridge(fields, kind)


def _tell_status(fields: Fields, status: str) -> Story:
    look = _STATUS.get(status, Look("🔹", _GREY, f"is {status}"))
    failures = _records(fields.get("failures"))
    details = tuple(
        Detail(_place(failure.get("host"), failure.get("task")), text_of(failure.get("message")))
        for failure in failures[:SHOWN_FAILURES]
    )
    left = len(failures) - len(details)
    return Story(
        look=look,
        subject=_name_of(fields),
        after=" ".join(filter(None, (look.words, _job_number(fields)))),
        link=_link_of(fields),
        facts=tuple(_job_facts(fields)),
        details=details,
        more=f"and {left} more" if left > 0 else "",
        notes=tuple(_status_notes(fields)),
    )


def _job_facts(fields: Fields) -> Iterator[tuple[str, str]]:
    for name, field in _JOB_FACTS:
        value = line_of(fields.get(field))
        if value and not (field == "template" and value == line_of(fields.get("job_name"))):
            yield name, value
    duration = duration_of(fields.get("elapsed")) if fields.get("terminal") is True else ""
    if duration:
        yield "Duration", duration
    total = _count(fields.get("hosts_total"))
    if total:
        counts = (
            (name, _count(fields.get(f"hosts_{name}"))) for name in ("failed", "unreachable", "changed")
        )
        yield "Hosts", " · ".join([str(total), *(f"{count} {name}" for name, count in counts if count)])


def _status_notes(fields: Fields) -> Iterator[str]:
    yield from filter(None, (line_of(fields.get("job_explanation")),))
    corrected = line_of(fields.get("corrects"))
    if corrected:
        yield f"This corrects the status {corrected} that was sent before."
    if fields.get("complete") is False:
        missing, total = _count(fields.get("events_missing_total")), _count(fields.get("events_total"))
        lost = (
            f"{missing} of {total} job events are missing"
            if missing
            else "its events could not all be counted"
        )
        yield f"⚠️ The record of this job is not complete: {lost}."
    yield from _delivery_notes(fields)


def _tell_event(fields: Fields, event: str) -> Story:
    look = _EVENT.get(event, _PLAIN)
    if look.colour == _RED and fields.get("ignore_errors") is True:
        look = _IGNORED
    host, task = line_of(fields.get("host")), line_of(fields.get("task"))
    said = _said(fields)
    words = look.words or line_of(event.replace("_", " "))
    before = " ".join(filter(None, (host, words, f"at task “{task}”" if task else "", "in")))
    return Story(
        look=look,
        before=before,
        subject=_name_of(fields),
        after=_job_number(fields),
        link=_link_of(fields),
        details=(Detail("", said),) if said else (),
        notes=tuple(_delivery_notes(fields)),
    )


def _said(fields: Fields) -> str:
    data = fields.get("event_data")
    result = data.get("res") if isinstance(data, Mapping) else None
    message = result.get("msg") if isinstance(result, Mapping) else None
    return text_of(message) or text_of(fields.get("stdout"))


def _delivery_notes(fields: Fields) -> Iterator[str]:
    if fields.get("late") is True:
        yield "Late: AWX showed this event only after the bridge had given it up."
    if fields.get("replayed") is True:
        yield "Sent again on request."


def _tell_bridge(fields: Fields, kind: str) -> Story:
    look = _BRIDGE.get(kind, _PLAIN)
    names = {name: line_of(fields.get(name)) or "?" for name in ("source", "sink")}
    words = look.words.format_map(names) or kind or "An event without a type"
    missing = _count(fields.get("events_missing_total"))
    facts = [("Missing", str(missing))] if missing else []
    facts += [
        (name, line_of(fields.get(field))) for name, field in (("Reason", "reason"), ("Since", "since"))
    ]
    job = _name_of(fields) if fields.get("job_id") is not None else ""
    return Story(
        look=look,
        before=words + (" in" if job else "."),
        subject=job,
        after=_job_number(fields) if job else "",
        link=_link_of(fields),
        facts=tuple((name, value) for name, value in facts if value),
        notes=tuple(_delivery_notes(fields)),
    )


def _name_of(fields: Fields) -> str:
    return line_of(fields.get("job_name")) or line_of(fields.get("template")) or "a job without a name"


def _job_number(fields: Fields) -> str:
    number, source = line_of(fields.get("job_id")), line_of(fields.get("source"))
    kind = line_of(fields.get("job_type")).replace("_", " ") or "job"
    return f"({kind} {number} on {source})" if number and source else ""


def _link_of(fields: Fields) -> str | None:
    url = fields.get("job_url")
    return url if isinstance(url, str) and _LINK.fullmatch(url) else None


def _place(host: object, task: object) -> str:
    return " · ".join(filter(None, (line_of(host), line_of(task)))) or "somewhere in the job"


def _records(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12 else 0
