"""What must stand in Kafka, worked out from what the simulated AWX says of its jobs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jsonschema
from aiokafka import ConsumerRecord
from aiokafka.partitioner import murmur2
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from simulator import SECRETS
from tests.support.process import ROOT

SOURCE = "prod"
PLACE_OF_ID = 3


@dataclass(slots=True)
class Told:
    """One record: `id` is the CloudEvent's, `tail` what the id has after its job."""

    record: ConsumerRecord
    id: str
    key: str
    fields: dict[str, Any]

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self.id.split("/")[PLACE_OF_ID:])

    @property
    def terminal(self) -> bool:
        return bool(self.fields.get("terminal"))

    @property
    def moment(self) -> float:
        """When the broker (with LogAppendTime) or AWX put it there, in epoch seconds."""
        return self.record.timestamp / 1000


def read(records: Iterable[ConsumerRecord]) -> list[Told]:
    """Read records by what their headers say."""
    return [
        Told(record, dict(record.headers)["ce_id"].decode(), record.key.decode(), json.loads(record.value))
        for record in records
    ]


def by_job(told: Iterable[Told]) -> dict[str, list[Told]]:
    """Sort by Kafka key, in log order; without the bridge's own events."""
    jobs: defaultdict[str, list[Told]] = defaultdict(list)
    for one in told:
        if not one.fields["type"].startswith("bridge."):
            jobs[one.key].append(one)
    return dict(jobs)


def key_of(job: Mapping[str, Any]) -> str:
    return f"{SOURCE}/{job['type']}/{job['id']}"


def expected_events(job: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Return the tails of the ids of every readable event of a job.

    A counter that was stored twice alike is one event; inventory updates have counters with two
    different rows.
    """
    tails = {("event", str(c)) for low, high in job.get("readable", []) for c in range(low, high + 1)}
    if job["type"] == "inventory_update":
        tails |= {("event", str(counter), "2") for counter in job["repeated"]}
    return tails


def check_everything(told: Sequence[Told], truth: Mapping[str, Any]) -> None:
    """Check Kafka against the truth: every event of every job, once, and nothing else."""
    twice = [one for one, count in Counter(each.id for each in told).items() if count > 1]
    assert twice == [], f"{len(twice)} came twice: {twice[:5]}"
    jobs = by_job(told)
    assert set(jobs) == {key_of(job) for job in truth["jobs"]}
    for job in truth["jobs"]:
        check_job(jobs[key_of(job)], job)


def check_job(told: Sequence[Told], job: Mapping[str, Any]) -> None:
    """Check one job: all its events, in order, closed once by a true receipt."""
    key = key_of(job)
    events = [one for one in told if one.tail[0] == "event"]
    expected = expected_events(job)
    found = {one.tail for one in events}
    assert found == expected, f"{key}: missing {sorted(expected - found)[:9]}, made up {found - expected}"
    in_order = [(one.fields["counter"], one.tail[2:]) for one in events if not one.fields.get("late")]
    assert in_order == sorted(in_order), f"{key}: out of order"
    statuses = [one.fields["status"] for one in told if one.tail[0] == "status"]
    assert set(statuses) <= set(job["statuses"]), f"{key}: made up a status: {statuses}"
    ends = [at for at, one in enumerate(told) if one.terminal]
    assert ends == [len(told) - 1], f"{key}: terminal at {ends} of {len(told)}"
    check_receipt(told[-1].fields, job)


def check_receipt(receipt: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    lost = [c for low, high in job.get("lost", []) for c in range(low, high + 1)]
    said = {name: receipt[name] for name in ("status", "complete", "events_total", "events_missing")}
    assert said == {
        "status": job["final_status"],
        "complete": not lost,
        "events_total": job["emitted_events"],
        "events_missing": lost[:1000],
    }, key_of(job)
    assert receipt["events_missing_total"] == len(lost)


def check_envelopes(told: Iterable[Told], *, partitions: int) -> None:
    """Check keys, partitions and headers with CloudEvents' own library."""
    for one in told:
        headers = dict(one.record.headers)
        assert len(headers) == len(one.record.headers)
        read_back = from_binary_event(
            KafkaMessage(headers=headers, key=one.record.key, value=one.record.value)
        )
        fields = one.fields
        assert read_back.get_specversion() == "1.0"
        assert (read_back.get_id(), read_back.get_type()) == (fields["id"], fields["type"])
        assert (read_back.get_source(), read_back.get_data()) == (fields["source"], fields)
        assert headers["ce_time"].decode() == fields["time"]
        if not fields["type"].startswith("bridge."):
            assert one.key == "/".join(fields["id"].split("/")[:PLACE_OF_ID])
            assert one.key == f"{fields['source']}/{fields['job_type']}/{fields['job_id']}"
        # Kafka's own partitioner: murmur2 without its sign bit
        assert one.record.partition == (murmur2(one.record.key) & 0x7FFFFFFF) % partitions


class Schema:
    """The published schema. Of events that it cannot tell apart only one is validated."""

    def __init__(self) -> None:
        self.text = json.loads((ROOT / "schema" / "event.schema.json").read_text())
        self._validator = jsonschema.Draft202012Validator(self.text)
        self._exact = {
            name
            for name, rule in self.text["properties"].items()
            if any(f'"{word}"' in json.dumps(rule) for word in ("enum", "const", "pattern"))
        }
        self._seen: set[tuple[Any, ...]] = set()

    def check(self, fields: Mapping[str, Any]) -> None:
        datetime.fromisoformat(fields["time"])
        face = tuple((name, self._face(name, value)) for name, value in fields.items())
        if face not in self._seen:
            self._validator.validate(fields)
            self._seen.add(face)

    def _face(self, name: str, value: object) -> object:
        """What of a value can matter: its type, whether it is empty or positive, or all of it."""
        if name == "event_data":  # any object
            return type(value)
        if name in self._exact or isinstance(value, list | dict):
            return json.dumps(value)
        return type(value), (value > 0 if isinstance(value, int | float) else bool(value))


def check_schema(bodies: Iterable[Mapping[str, Any]]) -> None:
    """Validate every body against the published schema."""
    schema = Schema()
    for body in bodies:
        schema.check(body)


def secrets_in(data: bytes, more: Sequence[str] = ()) -> list[str]:
    """Return where planted secrets stand in `data`, as they are or as JSON would write them."""
    found = []
    for secret in (*SECRETS, *more):
        shapes = {secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/")}
        for at in filter(lambda at: at >= 0, (data.find(shape.encode()) for shape in shapes)):
            found.append(data[max(0, at - 200) : at + 200].decode(errors="replace"))
            break
    return found
