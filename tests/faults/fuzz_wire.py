"""Answers of AWX, mutated: pages of events, rows of jobs, nodes of workflows, stats of hosts."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache

from bridge.awx.outcome import failed_nodes_in, failures_in, hosts_in
from bridge.awx.rows import id_of, job_from
from bridge.awx.wire import (
    HIGHEST_COUNTER,
    NotJson,
    TooDeep,
    WrongShape,
    count_in,
    counter_in,
    decode_events,
    decode_object,
    decode_results,
    id_in,
)
from simulator import oddities, scenarios
from simulator.world import World
from tests.faults import fuzz_events
from tests.faults.mutate import as_json, mutated_bytes, mutated_tree

REFUSED = (NotJson, TooDeep, WrongShape)
OF_EACH = 8
"""Rows kept of each name of an event: there are thousands that differ in nothing."""

MOST_ROWS = 3
NAMES = (
    "id",
    "counter",
    "event",
    "event_data",
    "stdout",
    "results",
    "created",
    "status",
    "type",
    "res",
    "host",
)


@cache
def corpus():
    """Return (rows of events, rows of jobs) as the simulated AWX shows them, some odd already."""
    moment = [1_780_000_000.0]
    world = World(lambda: moment[0], seed=7)
    world.stage([*scenarios.demo(), *oddities.odd()])
    moment[0] += 3_600
    now = world.now()
    events = {}
    for job in world.jobs.values():
        for row in job.rows(now):
            same = events.setdefault((job.kind, row["event"]), [])
            if len(same) < OF_EACH:
                same.append(row)
    jobs = [job.detail(now) for job in world.jobs.values()]
    return json.loads(json.dumps(([row for same in events.values() for row in same], jobs)))


def make(rng):
    """Return the bytes of one answer."""
    events, jobs = corpus()
    rows = rng.choices(events if rng.random() < 0.8 else jobs, k=rng.randint(1, MOST_ROWS))
    tree = {"count": len(rows), "next": rng.choice((None, "/api/v2/x/?page=2")), "results": rows}
    tree = mutated_tree(rng, tree, NAMES, times=rng.choice((0, 1, 1, 2, 4)))
    return mutated_bytes(rng, as_json(rng, tree), times=rng.choice((0, 0, 0, 1, 1, 3)))


def check(body):
    """Read the answer in every way in which an answer is read; what can be read goes on to the sinks."""
    for read in (counter_in, id_in, count_in):
        number = read(body[:4096])
        assert number is None or number >= 0
    with suppress(*REFUSED):
        decode_object(body)
    jobs = _jobs(body)
    try:
        page = decode_events(body)
    except REFUSED:
        return "refused"
    assert len(page.events) + page.unplaced == page.received
    assert all(1 <= event.counter <= HIGHEST_COUNTER for event in page.events)
    assert [event.counter for event in page.events] == sorted(event.counter for event in page.events)
    failures_in(page.events)
    for event in page.events:
        hosts_in(event)
        fuzz_events.deliver(fuzz_events.preparer().event(event, jobs[0] if jobs else fuzz_events.JOB))
    if any(event.malformed for event in page.events):
        return "malformed"
    return "read" if page.events else "empty"


def _jobs(body):
    try:
        rows = decode_results(body)
    except REFUSED:
        return []
    failed_nodes_in(rows)
    assert all(number is None or number > 0 for number in map(id_of, rows))
    return [job for row in rows if (job := job_from(row, "prod")) is not None]
