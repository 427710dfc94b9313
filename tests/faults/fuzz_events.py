"""Events with odd contents, from the row to what each kind of sink would send."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from types import SimpleNamespace

import msgspec
from aiohttp.http_writer import _serialize_headers
from multidict import CIMultiDict

from bridge import encode
from bridge.contract import FIELDS
from bridge.errors import PermanentDeliveryError
from bridge.model import AwxEvent, Close, Failure, HostSummary, Job, JobKey, StatusSeen
from bridge.options import FieldOptions
from bridge.prepare import Preparer
from bridge.redact import Redactor
from bridge.render import plain_text, slack_message
from bridge.route import RouteSpec, compile_routes
from bridge.sinks.kafka.batches import to_record
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.webhook import WebhookOptions, WebhookSink
from tests.faults.mutate import ODD_NUMBERS, ODD_TEXTS, as_json, mutated_bytes, mutated_tree
from tests.support.fakes import BASE
from tests.support.slack_rules import message_problems

CREATED = "2026-01-01T10:00:05.123456Z"
JOB = Job(key=JobKey("prod", "job", 42), status="running", name="deploy", created=CREATED)
TYPES = ("job", "workflow_job", "project_update", "inventory_update", "ad_hoc_command", "system_job")
STATUSES = ("pending", "running", "successful", "failed", "error", "canceled", "deleted", "stalled")
MATCHES = (
    {"type": ["awx.job.failed", "awx.event.*"], "template": "deploy-*"},
    {"labels": {"not": "x"}, "elapsed": {"gt": 600}},
    {"event_data.res.msg": {"regex": "(a*)*b"}, "host": {"exists": True}},
    {"any": [{"stdout": "*fatal*"}, {"job_status": {"not": ["failed", "error"]}}]},
    {"event_data.res.rc": 1, "counter": {"lt": 10**6}},
)
LIMITS = (1, 900, 2_000, 20_000)
TEXTS = ("name", "template", "inventory", "project", "organization", "launch_type", "launched_by", "limit")
TEXTS_TOO = ("created", "started", "finished", "explanation", "extra_vars")
OF_ROW = ("uuid", "parent_uuid", "host_name", "play", "task", "role", "stdout")
INCLUDE = FieldOptions.model_validate({"include": ["extra_vars"], "exclude": ["stdout"]})
KAFKA = [
    KafkaOptions.model_validate(
        {"type": "kafka", "bootstrap_servers": "h:1", "topic": "t", "content_mode": mode}
    )
    for mode in ("binary", "structured")
]
WEBHOOK = [
    WebhookOptions.model_validate(
        {"type": "webhook", "url": "http://h", "secret": "s", "hub_signature": True, "content_mode": mode}
    )
    for mode in ("binary", "structured")
]


@cache
def preparer():
    """Return one for all: what it remembers of one input must not trip the next."""
    routes = [RouteSpec(match, [f"sink{at}"]) for at, match in enumerate(MATCHES)]
    return Preparer(
        bridge="b",
        public_urls={"prod": "https://awx"},
        redactor=Redactor(),
        rules=compile_routes(routes, known_fields=FIELDS),
    )


def make(rng):
    """Return (job, row, status, receipt): facts of the right types, and of no sense."""

    def text():
        return rng.choice(ODD_TEXTS) if rng.random() < 0.1 else rng.choice(("ok", CREATED, "web1", "failed"))

    def number():
        return int(rng.choice(ODD_NUMBERS)) if rng.random() < 0.3 else rng.randint(1, 9)

    job = Job(
        key=JobKey("prod", rng.choice(TYPES), rng.randint(1, 2**63 - 1)),
        status=rng.choice((*STATUSES, text())),
        labels=tuple(text() for _ in range(rng.randrange(3))),
        elapsed=rng.choice((None, 0.0, 1e308, -1.0, 3.5)),
        **{name: text() for name in (*TEXTS, *TEXTS_TOO) if name == "name" or rng.random() < 0.7},
    )
    data = {"res": {"msg": "x", "rc": 1}, "duration": 0.5, "host": "web1", "task_action": "debug"}
    data = as_json(rng, mutated_tree(rng, data, tuple(data), times=rng.randrange(3)))
    row = AwxEvent(
        counter=rng.randint(1, 2**31 - 1),
        event_data=msgspec.Raw(mutated_bytes(rng, data, times=rng.choice((0, 0, 0, 1)))),
        event=rng.choice(("runner_on_failed", "verbose", "playbook_on_stats", text())),
        created=rng.choice((CREATED, CREATED, CREATED, text())),
        start_line=number(),
        failed=rng.random() < 0.5,
        malformed=rng.random() < 0.1,
        **{name: text() for name in OF_ROW if rng.random() < 0.8},
    )
    seen = StatusSeen(
        number=rng.randint(1, 9), status=rng.choice(STATUSES), repeat=rng.randint(1, 3), previous=text(), time=text()
    )  # fmt: skip
    close = Close(
        complete=rng.random() < 0.5,
        events_total=rng.randint(0, 10**6),
        missing=((1, rng.choice((1, 999, 10**9))),)[: rng.randrange(2)],
        hosts=tuple(HostSummary(host=text(), ok=number(), failures=number()) for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 250)))),
        failures=tuple(Failure(host=text(), task=text(), message=text(), counter=None) for _ in range(rng.randrange(4))),
    )  # fmt: skip
    return job, row, seen, close


def check(made):
    """Prepare and deliver all that these facts can become."""
    job, row, seen, close = made
    made_by = preparer()
    tidy, _ = made_by.clean(close)
    prepared = [
        made_by.event(row, job, repeat=2, late=True),
        made_by.status(seen, job, tidy),
        made_by.missing(job, close.missing or [(1, 1)], at=BASE, sink="ops", reason=job.name),
        made_by.own("bridge.source.down", at=BASE, source="prod", reason=job.name, since=BASE - 1),
    ]
    for each in prepared:
        deliver(each)
    return "malformed" if prepared[0].event.read().get("malformed") else "clean"


def deliver(prepared):
    """Make what each sink would send of this event; nothing but "too large" is a reason not to."""
    event = prepared.event
    fields = event.read()
    assert (fields["id"], fields["type"], fields["source"]) == (event.id, event.type, event.source)
    printed = plain_text(fields)
    assert all(sign.isprintable() or sign in "\t\n" or ord(sign) > 0x9F for sign in printed), (
        "control characters"
    )
    written = msgspec.to_builtins(slack_message(fields))
    assert message_problems(json.loads(json.dumps(written))) == []
    for limit in LIMITS:
        with suppress(PermanentDeliveryError):
            body = encode.shape(event, fields=INCLUDE, max_bytes=limit)
            assert len(body) <= limit
            assert msgspec.json.decode(_parts(body)["id"]) == event.id
    assert bytes(_parts(encode.replayed(event).body)["replayed"]) == b"true"
    _to_kafka(event)
    _to_webhook(event)


def _to_kafka(event):
    for options in KAFKA:
        with suppress(PermanentDeliveryError):
            record = to_record(0, event, options, max_bytes=1_000_000, now=BASE)
            assert record.size <= 1_000_000
            assert len(dict(record.headers)) == len(record.headers)
            assert 0 <= record.timestamp <= BASE * 1000
            assert _parts(record.value)


def _to_webhook(event):
    for options in WEBHOOK:
        sink = WebhookSink(options, SimpleNamespace(clock=SimpleNamespace(now=lambda: BASE)), None)
        with suppress(PermanentDeliveryError):
            body, headers = sink._request(event)
            assert len(_parts(body)) > 1
            _serialize_headers("POST / HTTP/1.1", CIMultiDict(headers))
            assert all(value.isascii() for value in headers.values())


def _parts(body):
    """Read an object, but not the numbers inside, which may be too large for any reader."""
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
