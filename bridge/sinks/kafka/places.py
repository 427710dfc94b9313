"""What stands in the places topic: each job's place under the job's key, and two records of the writer's.

Pure. The topic is compacted, so the last record of a key is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from bridge.ledger import Ranges
from bridge.model import JobKey, Place
from bridge.sinks.kafka.batches import Record, keyed

OWNER: Final = b"_owner"
"""Key of the record that says who writes; no job's key starts so (a source's name begins with a letter)."""

TRANSACTION: Final = b"_transaction"
"""Key of the record that every transaction moves."""

NOTE: Final = b"_note/"
"""What the keys of notes begin with: what the bridge wants to find here when its disk is lost."""

_Decoded = TypeVar("_Decoded")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """One running sink. `instance` is its own in all the world; `since` is ISO 8601."""

    instance: str
    transactional_id: str
    bridge: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        """Say for people which process this is."""
        return f"{self.bridge} (process {self.pid} on {self.host}, since {self.since})"


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """The last committed transaction: counted from 1, over all instances that ever wrote."""

    number: int
    instance: str


class Kept(NamedTuple):
    """What the topic says."""

    places: dict[JobKey, Place]
    owner: Owner | None
    last: Transaction | None
    notes: dict[str, bytes]


def read(records: Mapping[bytes, bytes]) -> Kept:
    """Read what is left of the topic after compaction.

    Raises:
        ValueError: a record is none of ours.
    """
    places = {
        _key(key): _decoded(key, value, Place) for key, value in records.items() if not key.startswith(b"_")
    }
    owner, last = records.get(OWNER), records.get(TRANSACTION)
    return Kept(
        places,
        None if owner is None else _decoded(OWNER, owner, Owner),
        None if last is None else _decoded(TRANSACTION, last, Transaction),
        {
            key.removeprefix(NOTE).decode(errors="replace"): value
            for key, value in records.items()
            if key.startswith(NOTE)
        },
    )


def moves(
    places: Mapping[JobKey, Place | None],
    last: Transaction,
    *,
    now: float,
    notes: Mapping[str, bytes | None] = MappingProxyType({}),
) -> list[Record]:
    """Return the records of one transaction: its own, each place and each note (for None a tombstone)."""
    encode = msgspec.json.encode
    records = [keyed(TRANSACTION, encode(last), now=now)]
    for key, place in places.items():
        records.append(keyed(str(key).encode(), None if place is None else encode(place), now=now))
    records += [keyed(NOTE + name.encode(), note, now=now) for name, note in notes.items()]
    return records


def claim(owner: Owner, *, now: float) -> list[Record]:
    """Return the record by which `owner` takes the sink over."""
    return [keyed(OWNER, msgspec.json.encode(owner), now=now)]


def union(one: Place, other: Place) -> Place:
    """Return the place at which everything is settled that is settled in either."""
    low, high = sorted((one, other), key=lambda place: place.through)
    wanted = Ranges(
        (max(first, theirs), min(last, end))
        for first, last in low.wanted
        for theirs, end in high.wanted
        if first <= end and theirs <= last
    )
    for first, last in high.wanted:
        wanted.add(max(first, low.through + 1), last)
    counters = one.repeats.keys() | other.repeats.keys()
    return Place(
        through=high.through,
        wanted=wanted.pairs(),
        status_number=max(one.status_number, other.status_number),
        repeats={
            counter: max(one.repeats.get(counter, 0), other.repeats.get(counter, 0)) for counter in counters
        },
    )


def _key(key: bytes) -> JobKey:
    try:
        source, job_type, job_id = key.decode().split("/")
        return JobKey(source, job_type, int(job_id))
    except ValueError as err:  # UnicodeDecodeError among them
        raise ValueError(f"a record's key is no job: {key[:80]!r}") from err


def _decoded(key: bytes, value: bytes, kind: type[_Decoded]) -> _Decoded:
    try:
        found: Any = msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as err:
        raise ValueError(f"the record of {key.decode()} cannot be read: {err}") from err
    return found  # type: ignore[no-any-return]
