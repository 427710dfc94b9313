"""Checks what the demo delivered against what the simulated AWX knows it emitted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Proof:
    """What AWX emitted, lost and showed, and what was delivered of it."""

    jobs: int
    emitted: int
    lost: int
    delivered: int
    doubled: int
    missing: int
    undeclared: int
    late: int
    leaked: int

    @property
    def holds(self) -> bool:
        """Whether every readable event was delivered once, every lost one declared, and no secret left."""
        return not (self.doubled or self.missing or self.undeclared or self.leaked)


def prove(target: Path, truth: Mapping[str, Any], secrets: Iterable[str]) -> Proof:
    """Compare the file of delivered events with the truth about each job that was closed."""
    text = target.read_text(encoding="utf-8")
    delivered = [json.loads(line) for line in text.splitlines()]
    counters: dict[str, list[tuple[int, str]]] = {}
    receipts: dict[str, dict[str, Any]] = {}
    for event in delivered:
        key = f"{event.get('job_type')}/{event.get('job_id')}"
        if "counter" in event:
            counters.setdefault(key, []).append((event["counter"], event["id"]))
        elif "complete" in event:
            receipts[key] = event
    emitted = lost = missing = doubled = undeclared = 0
    for job in truth["jobs"]:
        key = f"{job['type']}/{job['id']}"
        if key not in receipts:
            continue
        readable, gone = _counters(job.get("readable", ())), _counters(job.get("lost", ()))
        ids = [name for _, name in counters.get(key, ())]
        emitted += len(readable) + len(gone)
        lost += len(gone)
        missing += len(readable - {counter for counter, _ in counters.get(key, ())})
        doubled += len(ids) - len(set(ids))
        undeclared += len(gone ^ set(receipts[key]["events_missing"]))
    return Proof(
        jobs=len(receipts),
        emitted=emitted,
        lost=lost,
        delivered=sum(len(found) for found in counters.values()),
        doubled=doubled,
        missing=missing,
        undeclared=undeclared,
        late=sum(bool(event.get("late")) for event in delivered),
        leaked=sum(secret in text for secret in secrets),
    )


def _counters(ranges: Iterable[Sequence[int]]) -> set[int]:
    return {counter for low, high in ranges for counter in range(low, high + 1)}


def summary(proof: Proof, *, target: Path, redactions: int, requests: int) -> Group:
    """Return the end of the demo: the figures, the verdict, and what to do next."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    for number, words in (
        (proof.jobs, "jobs closed, each by one receipt"),
        (proof.emitted, "job events emitted by AWX"),
        (proof.lost, "of them lost inside AWX for good, each declared in its job's events_missing"),
        (proof.delivered, f"delivered to {target}, in order per job"),
        (proof.late, "of them late: readable only after the job had gone on without them"),
        (proof.doubled, "delivered twice"),
        (proof.missing + proof.undeclared, "missing without being declared"),
        (redactions, "events from which secrets were taken out"),
        (proof.leaked, "of the planted secrets in the file"),
        (requests, "requests to AWX"),
    ):
        table.add_row(Text(str(number), style="bold"), words)
    if proof.holds:
        verdict = Text("Complete: emitted - lost = delivered.", style="bold green")
    else:
        verdict = Text("NOT complete: this is a bug of the bridge, please report it.", style="bold red")
    return Group(Text(), table, Text(), verdict, Text(_NEXT.format(target=target)))


_NEXT = """
Look at what a consumer gets:      head -n 3 {target}
Run it against your own AWX:       cp config.example.yaml bridge.yaml   # set sources, sinks, routes
                                   make run CONFIG=bridge.yaml          # or: awx-bridge run bridge.yaml"""
