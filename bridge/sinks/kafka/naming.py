"""Which topic an event goes to: a pattern whose fields are the same in every event of one job.

Pure. Since the topic never changes within a job, neither does the partition, and order is kept.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Any, Final

import msgspec

from bridge.contract import FIELDS, JOB_FIXED
from bridge.model import Event

MAX_LENGTH: Final = 249
"""Kafka's limit, for a name of a topic (org.apache.kafka.common.internals.Topic)."""

ABSENT: Final = "none"
"""Stands for a field that an event does not have, or has as null or empty."""

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9._-]")


class TopicPattern:
    """A topic, or a pattern like `awx.{source}.{job_type}`."""

    def __init__(self, pattern: str) -> None:
        """Check and compile `pattern`.

        Raises:
            ValueError: it is no pattern, or uses a field that it may not; the message says what to do.
        """
        self._parts = _parse(pattern)
        used = sorted({name for _, name in self._parts if name is not None})
        self._constant = None if used else legal("".join(text for text, _ in self._parts))
        self._fields: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("TopicFields", [(name, Any, None) for name in used])
        )

    def topic(self, event: Event) -> str:
        """Return the topic of `event`, in Kafka's legal characters."""
        if self._constant is not None:
            return self._constant
        fields = self._fields.decode(event.body)
        filled = (
            text if name is None else text + _shown(getattr(fields, name)) for text, name in self._parts
        )
        return legal("".join(filled))


def _parse(pattern: str) -> list[tuple[str, str | None]]:
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError as err:
        raise ValueError(f"{pattern!r} is no topic pattern: {err}") from err
    checked: list[tuple[str, str | None]] = []
    for text, name, spec, conversion in parts:
        if bad := _ILLEGAL.search(text):
            raise ValueError(f"{bad[0]!r} cannot be in a Kafka topic: use letters, digits, '.', '_' and '-'")
        if name is not None:
            _check_field(name)
            if spec or conversion:
                raise ValueError(f"write {{{name}}} without '!' and ':'")
        checked.append((text, name))
    if not checked or pattern in {".", ".."} or len(pattern) > MAX_LENGTH:
        raise ValueError(f"a topic has 1 to {MAX_LENGTH} characters and is neither '.' nor '..'")
    return checked


def _check_field(name: str) -> None:
    if name in JOB_FIXED:
        return
    usable = ", ".join(sorted(JOB_FIXED))
    if name in FIELDS:
        raise ValueError(f"{{{name}}} can change within a job, which would break its order; usable: {usable}")
    raise ValueError(f"{{{name}}} is no field of an event; usable: {usable}")


def _shown(value: object) -> str:
    return ABSENT if value is None or value == "" else str(value)


def legal(name: str) -> str:
    """Return `name` in Kafka's legal characters and length."""
    found = _ILLEGAL.sub("_", name)[:MAX_LENGTH]
    return "_" if found in {".", ".."} else found
