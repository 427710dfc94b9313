"""What the demo knows of the jobs it shows, from delivered events alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.render import plain_text


@dataclass
class Line:
    """One job on the board."""

    key: str
    name: str
    status: str = ""
    events: int = 0
    failed: int = 0
    late: int = 0
    receipt: str = ""
    complete: bool | None = None


@dataclass
class Board:
    """Everything that is shown. `news` are lines that have not been printed yet (plain output)."""

    jobs: dict[str, Line] = field(default_factory=dict)
    alerts: deque[str] = field(default_factory=lambda: deque(maxlen=3))
    news: deque[str] = field(default_factory=lambda: deque(maxlen=1000))
    delivered: int = 0
    alerted: int = 0

    def event(self, fields: Mapping[str, Any]) -> None:
        """Take in one delivered event."""
        self.delivered += 1
        if "job_id" not in fields:
            self.news.append(f"bridge    {plain_text(fields).splitlines()[0]}")
            return
        key = f"{fields['job_type']}/{fields['job_id']}"
        line = self.jobs.setdefault(key, Line(key, str(fields["job_name"])))
        if "counter" in fields:
            line.events += 1
            line.failed += bool(fields["failed"]) and fields["event"].startswith("runner_on")
            line.late += bool(fields.get("late"))
        elif "status" in fields:
            line.status = fields["status"]
            line.receipt, line.complete = _receipt(fields), fields.get("complete")
            self.news.append(
                f"{key:<20} {line.name:<22} {line.status}{', ' if line.receipt else ''}{line.receipt}"
            )

    def alert(self, fields: Mapping[str, Any]) -> None:
        """Take in one alert: what a chat channel would show."""
        self.alerted += 1
        text = plain_text(fields)
        self.alerts.append(text)
        self.news.append("ALERT     " + text.replace("\n", "\n          "))

    @property
    def closed(self) -> int:
        """How many jobs have their receipt."""
        return sum(line.complete is not None for line in self.jobs.values())


def _receipt(fields: Mapping[str, Any]) -> str:
    if "complete" not in fields:
        return ""
    if fields["complete"]:
        return f"complete: {fields['events_total']} events"
    missing = ", ".join(map(str, fields["events_missing"][:5]))
    return f"{fields['events_missing_total']} of {fields['events_total']} events missing: {missing}"
