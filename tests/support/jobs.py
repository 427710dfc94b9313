"""Short names for the scripted jobs and the ids that tests of loops compare."""

from bridge.model import JobKey
from tests.support.source import ScriptedJob

NEVER = float("inf")


def key(number, job_type="job"):
    return JobKey("prod", job_type, number)


def ids(*parts, job="prod/job/1"):
    return [f"{job}/{part}" for part in parts]


def events(*counters, job="prod/job/1"):
    return [f"{job}/event/{counter}" for counter in counters]


def simple(number=1, count=5, **facts):
    rows = {counter: 1.0 + counter * 0.1 for counter in range(1, count + 1)}
    return ScriptedJob(key(number), **{"rows": rows, **facts})


def receipt(sink, job="prod/job/1", status="successful"):
    return next(event.read() for event in sink.events if event.id == f"{job}/status/{status}")
