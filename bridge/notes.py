"""What a sink that keeps its own places is told beside them, so that it can stand in for a lost disk.

Pure. A note has a name and is JSON: a job's record, or what is known of a source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bridge.model import Close, JobKey, JobRecord, SourceRecord

LARGEST: Final = 256 << 10
"""Bytes of one note. A job's hosts are left out where they would exceed it: its totals are not."""


def name_of_job(key: JobKey) -> str:
    """Return the name of the note about a job."""
    return f"job/{key}"


def name_of_source(source: str) -> str:
    """Return the name of the note about a source."""
    return f"source/{source}"


def job_note(record: JobRecord) -> bytes:
    """Return the note about a job, without its extra variables."""
    bare = msgspec.structs.replace(record, job=msgspec.structs.replace(record.job, extra_vars=None))
    note = msgspec.json.encode(bare)
    if len(note) > LARGEST and isinstance(bare.close, Close):
        short = msgspec.structs.replace(bare.close, hosts=())
        note = msgspec.json.encode(msgspec.structs.replace(bare, close=short))
    return note


def source_note(record: SourceRecord) -> bytes:
    """Return the note about a source."""
    return msgspec.json.encode(record)


def notes_of(jobs: Iterable[JobRecord], sources: Mapping[str, SourceRecord]) -> dict[str, bytes]:
    """Return the notes about all of these."""
    notes = {name_of_job(record.job.key): job_note(record) for record in jobs}
    return notes | {name_of_source(name): source_note(record) for name, record in sources.items()}


def read_notes(notes: Mapping[str, bytes]) -> tuple[dict[JobKey, JobRecord], dict[str, SourceRecord]]:
    """Return the jobs and the sources that `notes` speak of.

    Raises:
        ValueError: a note cannot be read.
    """
    jobs: dict[JobKey, JobRecord] = {}
    sources: dict[str, SourceRecord] = {}
    try:
        for name, note in notes.items():
            if name.startswith("job/"):
                record = msgspec.json.decode(note, type=JobRecord)
                jobs[record.job.key] = record
            elif name.startswith("source/"):
                sources[name.removeprefix("source/")] = msgspec.json.decode(note, type=SourceRecord)
    except msgspec.DecodeError as err:
        raise ValueError(f"the note {name} cannot be read: {err}") from err
    return jobs, sources
