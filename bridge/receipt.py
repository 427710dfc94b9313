"""A job's receipt from what AWX shows now, for a job whose receipt is not known any more."""

from __future__ import annotations

from typing import Final

from bridge.model import Close, Job
from bridge.ports import Purpose, Source

_ASKED: Final = Purpose.BACKFILL


async def receipt_now(
    source: Source, job: Job, *, rows: int, top: int, missing: tuple[tuple[int, int], ...]
) -> Close:
    """Make the receipt of a finished job of which `rows` up to `top` are readable, but for `missing`.

    Raises:
        SourceError: AWX does not answer.
    """
    key = job.key
    total, complete = rows, True
    if job.has_events and not await source.emitted_is(key, rows, purpose=_ASKED):
        total, complete = await _emitted(source, job, top), False
        missing = (*missing, (top + 1, total)) if total > top else missing
    hosts = await source.hosts(key, purpose=_ASKED) if total else ()
    failures = () if job.status == "successful" else await source.failures(key, purpose=_ASKED)
    return Close(
        complete=complete,
        events_total=total,
        last_counter=top,
        missing=() if complete else missing,
        hosts=tuple(hosts),
        failures=tuple(failures),
    )


async def _emitted(source: Source, job: Job, top: int) -> int:
    """Find the total that AWX emitted, at least `top`."""
    step = 1
    if not await source.emitted_above(job.key, top, purpose=_ASKED):
        return top
    while await source.emitted_above(job.key, top + step, purpose=_ASKED):
        step *= 2
    low, high = top + step // 2, top + step
    while low + 1 < high:
        middle = (low + high) // 2
        if await source.emitted_above(job.key, middle, purpose=_ASKED):
            low = middle
        else:
            high = middle
    return high
