"""What is left when the disk is lost: a sink that keeps its own places stands in for it.

Only where state remembers nothing at all: a state file that knows anything wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from bridge.errors import SinkRefusedError, StateError, TemporaryDeliveryError
from bridge.keep import Keeper
from bridge.model import JobKey, Place
from bridge.notes import read_notes
from bridge.ports import Observer, Sink, Snapshot, TransactionalSink

ASK_EVERY: Final = 5.0
"""Seconds between two tries to reach a sink that may remember."""


async def recovered(
    snapshot: Snapshot,
    sinks: Mapping[str, Sink],
    *,
    keeper: Keeper,
    stop: asyncio.Event,
    observer: Observer,
) -> Snapshot:
    """Return `snapshot`, or where it is blank what the sinks that keep their own places remember.

    Such a sink is waited for until it answers, or `stop`: it may hold the only memory there is. What
    is found goes to the disk by `keeper`.

    Raises:
        StateError: what a sink remembers cannot be read.
        StateOwnedError: another bridge has taken the sink over.
    """
    if snapshot.sources or snapshot.jobs or snapshot.done:
        return snapshot
    for name, sink in sinks.items():
        if not isinstance(sink, TransactionalSink):
            continue
        places = await _ask(name, sink, stop=stop, observer=observer)
        try:
            jobs, sources = read_notes(sink.notes())
        except ValueError as err:
            raise StateError(f"what sink {name} remembers cannot be read: {err}") from err
        if sources and not snapshot.sources:
            snapshot.sources = sources
            snapshot.jobs = {key: record for key, record in jobs.items() if not record.done}
            snapshot.done = {key: record for key, record in jobs.items() if record.done}
            lost = sorted(set(sinks) - {name})
            observer.note("state.recovered", sink=name, jobs=len(snapshot.jobs), lost=_lost(lost))
        if snapshot.sources:
            snapshot.places |= {(job, name): place for job, place in places.items()}
    for record in (*snapshot.jobs.values(), *snapshot.done.values()):
        keeper.job(record)
    for (job, name), place in snapshot.places.items():
        keeper.place(job, name, place)
    for source, known in snapshot.sources.items():
        keeper.source(source, known)
    return snapshot


def _lost(sinks: list[str]) -> str:
    others = f"the places of {', '.join(sinks)}; " if sinks else ""
    return f"{others}dead letters, orders, and what sinks remember of messages"


async def _ask(
    name: str, sink: TransactionalSink, *, stop: asyncio.Event, observer: Observer
) -> Mapping[JobKey, Place]:
    said = False
    while not stop.is_set():
        try:
            return await sink.places()
        except (TemporaryDeliveryError, SinkRefusedError) as error:
            if not said:
                observer.note("state.waiting", sink=name, reason=error.reason)
            said = True
            try:
                async with asyncio.timeout(ASK_EVERY):
                    await stop.wait()
            except TimeoutError:
                continue
    return {}
