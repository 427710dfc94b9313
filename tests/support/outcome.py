"""What every test of the whole command checks at its end, beside Kafka."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.process import Bridge
from tests.support.scene import OWN_SECRETS, SECRET, Scene
from tests.support.truth import Told, check_schema, key_of, secrets_in


def check_failures(scene: Scene, truth: Mapping[str, Any], *, repeats: bool = False) -> None:
    """Each failed job is one message in Slack and one signed delivery; `repeats`: or more of the latter."""
    failed = [job for job in truth["jobs"] if job["final_status"] in {"failed", "error"}]
    assert failed
    ends = Counter(f"{key_of(job)}/status/{job['final_status']}" for job in failed)
    assert Counter(scene.slack.ids()) == ends
    assert scene.slack.refused == []
    delivered = Counter(got.headers["webhook-id"] for got in scene.receiver.received)
    assert set(delivered) == set(ends) if repeats else delivered == ends
    scene.receiver.verify(SECRET)
    check_schema(json.loads(got.body) for got in scene.receiver.received)
    assert scene.dead_letters() == []


def check_secrets(scene: Scene, bridges: Iterable[Bridge], told: Sequence[Told]) -> None:
    """No planted secret, and none of the bridge's own, leaves it or stays in what it keeps."""
    kept = {
        "Kafka": b"\n".join(part for one in told for part in _bytes_of(one)),
        "webhook": b"\n".join(got.body + repr(got.headers).encode() for got in scene.receiver.attempts),
        "Slack": json.dumps(scene.slack.messages()).encode(),
        "log": "\n".join(bridge.errors() for bridge in bridges).encode(),
        "standard output": b"\n".join(bridge.out.read_bytes() for bridge in bridges),
        "state": scene.remembered(),
    }
    leaks = {where: found for where, data in kept.items() if (found := secrets_in(data, OWN_SECRETS))}
    assert leaks == {}


def _bytes_of(told: Told) -> list[bytes]:
    record = told.record
    return [record.key, record.value, *(f"{name}: ".encode() + value for name, value in record.headers)]
