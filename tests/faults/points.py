"""The boundaries at which the bridge is killed: each is a place where something has just become true.

They stand around the ports (source, sink, state) and around the Kafka client's calls; the product
knows nothing of them.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

POINTS = (
    "awx.jobs.answered",
    "awx.events.asked",
    "awx.events.answered",
    "awx.proof.answered",
    "state.commit.begins",
    "state.commit.done",
    "state.receipt.begins",
    "state.receipt.done",
    "state.mark.done",
    "kafka.started",
    "kafka.places.read",
    "kafka.begun",
    "kafka.sent",
    "kafka.commit.called",
    "kafka.commit.done",
    "webhook.send.begins",
    "webhook.send.done",
    "slack.send.begins",
    "slack.send.done",
)
"""Every fail point, in the order of the way of the data."""


class Points:
    """Counts how often each point is passed, and kills the process at one of them.

    `armed` is the point, `at` the number of its passing (from 1). The kill is noted in `note` first:
    the file is how the outside knows that it was this one. `by` is the signal: SIGSTOP only holds it.
    """

    def __init__(self, armed: str, at: int, note: Path, by: signal.Signals = signal.SIGKILL) -> None:
        if armed and armed not in POINTS:
            raise ValueError(f"no such fail point: {armed}")
        self._armed = armed
        self._left = at
        self._note = note
        self._by = by

    def is_armed(self, name: str) -> bool:
        """Whether the next passing of `name` is the one that kills."""
        return name == self._armed and self._left == 1

    def passed(self, name: str) -> None:
        """Note that `name` was passed; die if it was the one."""
        assert name in POINTS, name
        if name != self._armed:
            return
        self._left -= 1
        if self._left == 0:
            self._note.write_text(name)
            os.kill(os.getpid(), self._by)
