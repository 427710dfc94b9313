"""What every sink promises. A new sink adds one factory here."""

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bridge.errors import (
    ConfigError,
    DeliveryError,
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.options import SinkOptions
from bridge.ports import SinkContext
from bridge.sinks import SinkKind, builtin_kinds, sink_kinds
from bridge.sinks.stdout import StdoutOptions, StdoutSink
from tests.support.fakes import FakeSinkMemory
from tests.support.kafka import read_all
from tests.support.kafka_proxy import running_proxy
from tests.support.kafka_sink import new_topic
from tests.support.samples import sample, status_sample
from tests.support.slack import TOKEN, running_slack
from tests.support.wallclock import WallClock
from tests.support.webhook import running_receiver

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="
CONTEXT = SinkContext(bridge="b", name="s", clock=WallClock())


class FakeSink:
    """The simplest thing that keeps the promise."""

    def __init__(self):
        self.ids = []
        self.failures = []

    async def send(self, events, /):
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.ids += [event.id for event in events]


@asynccontextmanager
async def fake(tmp_path, name):
    sink = FakeSink()
    kinds = {
        "temporary": TemporaryDeliveryError,
        "permanent": PermanentDeliveryError,
        "refused": SinkRefusedError,
    }
    yield SimpleNamespace(
        sink=sink,
        ids=lambda: sink.ids,
        fail=lambda how: sink.failures.append(kinds[how](how)),
    )


@asynccontextmanager
async def to_file(tmp_path, name):
    path = tmp_path / name / "events.jsonl"
    kind = builtin_kinds()["file"]

    def fail(how):
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        path.mkdir()

    def ids():
        if path.is_dir():
            path.rmdir()
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []

    async with kind.open(kind.options(type="file", path=path), CONTEXT) as sink:
        yield SimpleNamespace(sink=sink, ids=ids, fail=fail)


@asynccontextmanager
async def to_stdout(tmp_path, name):
    reader, writer = os.pipe()
    lines = []

    def read_on():
        with os.fdopen(reader, "rb") as stream:
            lines.extend(json.loads(line)["id"] for line in stream)

    reading = threading.Thread(target=read_on)
    reading.start()
    closed = []

    def ids():
        if not closed:
            os.close(writer)
            closed.append(True)
        reading.join(20)
        return lines

    try:
        yield SimpleNamespace(
            sink=StdoutSink(StdoutOptions(type="stdout"), writer),
            ids=ids,
            fail=lambda how: ids(),
        )
    finally:
        ids()


@asynccontextmanager
async def to_webhook(tmp_path, name):
    kind = builtin_kinds()["webhook"]
    statuses = {"temporary": 503, "permanent": 422, "refused": 401}
    async with running_receiver() as receiver:
        options = kind.options(type="webhook", url=receiver.url, secret=SECRET, headers={"X-Token": TOKEN})

        def fail(how):
            receiver.reply(statuses[how], body=f"no {SECRET} {TOKEN}".encode())

        async with kind.open(options, CONTEXT) as sink:
            yield SimpleNamespace(
                sink=sink,
                ids=lambda: [request.headers["webhook-id"] for request in receiver.received],
                fail=fail,
            )


@asynccontextmanager
async def to_slack(tmp_path, name):
    kind = builtin_kinds()["slack"]
    errors = {"temporary": "internal_error", "permanent": "invalid_blocks", "refused": "token_revoked"}
    async with running_slack() as slack:
        options = kind.options(type="slack", token=TOKEN, channel="#ops", base_url=slack.url)
        context = SinkContext(bridge="b", name=name, clock=WallClock(), memory=FakeSinkMemory())
        async with kind.open(options, context) as sink:
            yield SimpleNamespace(
                sink=sink,
                ids=slack.ids,
                fail=lambda how: slack.fail("chat.postMessage", error=errors[how]),
            )


@asynccontextmanager
async def to_kafka(tmp_path, name, *, broker, delivery="at_least_once"):
    """Behind a network that fails; what was delivered is read without it."""
    kind = builtin_kinds()["kafka"]
    topic = new_topic()
    context = SinkContext(bridge=topic, name=name, clock=WallClock())

    def ids():
        network.mend()
        with ThreadPoolExecutor(1) as aside:
            records = aside.submit(asyncio.run, read_all(broker.bootstrap, topic)).result()
        return [dict(record.headers)["ce_id"].decode() for record in records]

    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with running_proxy(broker.bootstrap) as network:
        options = kind.options(
            type="kafka",
            bootstrap_servers=network.address,
            topic=topic,
            delivery=delivery,
            request_timeout=1,
            delivery_timeout=5,
        )
        async with kind.open(options, context) as sink:
            if delivery == "exactly_once":
                await sink.places()
            yield SimpleNamespace(sink=sink, ids=ids, fail=lambda how: network.cut())


@asynccontextmanager
async def to_kafka_exactly_once(tmp_path, name, *, broker):
    async with to_kafka(tmp_path, name, broker=broker, delivery="exactly_once") as place:
        yield place


ERRORS = {
    "temporary": TemporaryDeliveryError,
    "permanent": PermanentDeliveryError,
    "refused": SinkRefusedError,
}
FACTORIES = {
    fake: ERRORS,
    to_file: ["refused"],
    to_stdout: ["refused"],
    to_webhook: ERRORS,
    to_slack: ERRORS,
    to_kafka: ["temporary"],
    to_kafka_exactly_once: ["temporary"],
}
"""Every kind of sink, and how its destination can be made to fail here."""

FAILURES = [(factory, how) for factory, kinds in FACTORIES.items() for how in kinds]


def named(case):
    return f"{case[0].__name__}-{case[1]}"


failures = pytest.mark.parametrize("failing", FAILURES, indirect=True, ids=named)
passing_failures = pytest.mark.parametrize(
    "failing", [case for case in FAILURES if case[0] is not to_stdout], indirect=True, ids=named
)


def with_broker(factory, request):
    if factory in {to_kafka, to_kafka_exactly_once}:
        return partial(factory, broker=request.getfixturevalue("kafka_broker"))
    return factory


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def factory(request):
    return with_broker(request.param, request)


@pytest.fixture
async def place(factory, tmp_path):
    async with factory(tmp_path, "one") as place:
        yield place


@pytest.fixture
async def failing(request, tmp_path):
    """Yield a sink, and the way in which it fails from now on."""
    factory, how = request.param
    async with with_broker(factory, request)(tmp_path, "one") as place:
        place.fail(how)
        yield place, how


async def test_returning_means_that_it_is_there_in_order(place):
    events = [*(sample(n) for n in range(1, 8)), status_sample()]
    await place.sink.send(events[:1])
    await place.sink.send(events[1:])
    assert place.ids() == [event.id for event in events]


@failures
async def test_failures_are_typed_and_nothing_is_retried(failing):
    place, how = failing
    with pytest.raises(DeliveryError) as caught:
        await place.sink.send([sample(1)])
    assert isinstance(caught.value, ERRORS[how])
    assert place.ids() == []


@passing_failures
async def test_after_a_failure_the_sink_still_works(failing):
    place, _ = failing
    with pytest.raises(DeliveryError):
        await place.sink.send([sample(1)])
    place.ids()
    await place.sink.send([sample(1)])
    assert place.ids() == [sample(1).id]


@failures
async def test_a_batch_says_what_was_accepted(failing):
    place, _ = failing
    events = [sample(1), sample(2)]
    with pytest.raises(DeliveryError) as caught:
        await place.sink.send(events)
    failed = caught.value.errors if isinstance(caught.value, PartialDeliveryError) else {0: None, 1: None}
    assert place.ids() == [event.id for n, event in enumerate(events) if n not in failed]


@failures
async def test_no_secret_shows_in_an_error(failing):
    place, _ = failing
    with pytest.raises(DeliveryError) as caught:
        await place.sink.send([sample(1)])
    for secret in (SECRET, TOKEN):
        assert secret not in f"{caught.value} {caught.value!r} {vars(caught.value)} {place.sink!r}"


async def test_a_cancelled_send_leaves_the_sink_usable(place):
    for turns in range(6):
        sending = asyncio.create_task(place.sink.send([sample(1)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    await place.sink.send([sample(2)])
    ids = place.ids()
    assert ids[-1] == sample(2).id
    assert set(ids) <= {sample(1).id, sample(2).id}


async def test_two_side_by_side_share_nothing(factory, tmp_path):
    whose = getattr(factory, "func", factory)
    async with factory(tmp_path, "two") as two:
        async with factory(tmp_path, "one") as one:
            await asyncio.gather(one.sink.send([sample(1)]), two.sink.send([sample(2)]))
            if (whose, "refused") in FAILURES and whose is not to_stdout:
                one.fail("refused")
                with pytest.raises(SinkRefusedError):
                    await one.sink.send([sample(3)])
            one.ids()
        await two.sink.send([sample(4)])
        assert two.ids() == [sample(2).id, sample(4).id]


def test_every_kind_has_its_options_and_its_name():
    for name, kind in builtin_kinds().items():
        assert issubclass(kind.options, SinkOptions)
        assert kind.options.model_fields["type"].annotation.__args__ == (name,)


def entry(name, loaded=None, error=None):
    def load():
        if error:
            raise error
        return loaded

    return SimpleNamespace(name=name, value="a_package:kind", load=load)


def test_third_parties_add_theirs_by_an_entry_point(monkeypatch):
    theirs = SinkKind(SinkOptions, fake)
    monkeypatch.setattr("bridge.sinks.entry_points", lambda group: [entry("theirs", theirs)])
    assert sink_kinds() == builtin_kinds() | {"theirs": theirs}


@pytest.mark.parametrize(
    "bad",
    [
        entry("webhook", SinkKind(SinkOptions, fake)),
        entry("theirs", "no kind"),
        entry("theirs", error=ImportError("no such module")),
        entry("theirs", error=AttributeError("no such thing")),
    ],
)
def test_a_third_partys_mistake_is_a_configuration_error(monkeypatch, bad):
    monkeypatch.setattr("bridge.sinks.entry_points", lambda group: [bad])
    with pytest.raises(ConfigError, match=f"sink '{bad.name}' from a_package:kind"):
        sink_kinds()
