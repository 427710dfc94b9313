"""Every recorded event of a real AWX goes through, fits the schema and loses nothing."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from bridge.contract import event_schema
from bridge.model import AwxEvent, Job, JobKey, StatusSeen
from bridge.prepare import Preparer
from bridge.redact import Redactor

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "awx-recordings" / "events"
NAMES = sorted(path.name.removesuffix(".jsonl.gz") for path in RECORDINGS.glob("*.jsonl.gz"))
MOST = 400
"""Of a longer recording only so many are held against the schema, which is slow."""

VALIDATOR = Draft202012Validator(event_schema())
ROW = msgspec.json.Decoder(AwxEvent)


class NoRules:
    def sinks_for(self, _fields):
        return ()


def recorded_job(name):
    detail = json.loads((RECORDINGS / f"{name}.job.json").read_text(encoding="utf-8"))
    kept = (
        "name",
        "status",
        "created",
        "started",
        "finished",
        "elapsed",
        "launch_type",
        "limit",
        "extra_vars",
    )
    return Job(
        key=JobKey("prod", detail["type"], detail["id"]),
        **{k: detail[k] for k in kept if detail.get(k) is not None},
    )


@pytest.mark.skipif(not NAMES, reason="no recordings of a real AWX beside this repository")
def test_there_are_recordings():
    assert len(NAMES) > 15


@pytest.mark.parametrize("name", NAMES)
def test_recorded_events(name):
    made = Preparer(bridge="b", public_urls={"prod": "https://awx"}, redactor=Redactor(), rules=NoRules())
    job = recorded_job(name)
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz") as lines:
        for number, line in enumerate(lines):
            prepared = made.event(ROW.decode(line), job)
            fields = prepared.event.read()
            recorded = json.loads(line)
            assert "malformed" not in fields
            assert fields["event_data"] == recorded["event_data"], "nothing in the recordings is a secret"
            assert (fields["stdout"], fields["counter"]) == (recorded["stdout"], recorded["counter"])
            assert fields["type"] == f"awx.event.{recorded['event']}"
            assert fields["host"] == (recorded.get("host_name") or recorded["event_data"].get("host"))
            if number < MOST:
                VALIDATOR.validate(fields)
    seen = StatusSeen(number=1, status=job.status, repeat=1, previous="running", time=job.finished)
    fields = made.status(seen, job).event.read()
    VALIDATOR.validate(fields)
    assert fields["elapsed"] == job.elapsed
