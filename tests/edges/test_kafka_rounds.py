"""How batches are sent, against a producer that fails where it is told to."""

import asyncio

import pytest
from aiokafka.errors import MessageSizeTooLargeError, ProducerClosed

from bridge.errors import PermanentDeliveryError, TemporaryDeliveryError
from bridge.sinks.kafka.batches import Batch
from bridge.sinks.kafka.rounds import push


class Producer:
    """Answers batches by their builder's name; `fails` are its errors, `hangs` never answer."""

    def __init__(self, *, fails=(), hangs=(), raises=()):
        self.sent = []
        self.futures = []
        self._fails = dict(fails)
        self._hangs = set(hangs)
        self._raises = dict(raises)

    async def send_batch(self, builder, topic, *, partition):
        if builder in self._raises:
            raise self._raises[builder]
        self.sent.append(builder)
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if builder in self._fails:
            future.set_exception(self._fails[builder])
        elif builder not in self._hangs:
            future.set_result(None)
        return future


def queues(**named):
    """Make a queue per partition; `a=2` is partition ("t", "a") with the batches a1 and a2."""
    return {
        ("t", name): [Batch(f"{name}{number}", (number,)) for number in range(1, count + 1)]
        for name, count in named.items()
    }


async def outcomes(producer, named, patience=5.0):
    deadline = asyncio.get_running_loop().time() + patience
    results = await push(producer, queues(**named), deadline)
    return {result.batch.builder: type(result.error) for result in results}


async def test_partitions_take_turns_each_with_one_batch_in_flight():
    producer = Producer()
    assert set((await outcomes(producer, {"a": 3, "b": 1, "c": 2})).values()) == {type(None)}
    assert producer.sent == ["a1", "b1", "c1", "a2", "c2", "a3"]


async def test_nothing_to_send_is_nothing_done():
    assert await outcomes(Producer(), {}) == {}


async def test_behind_a_failed_batch_nothing_of_its_partition_is_sent():
    producer = Producer(fails={"a2": MessageSizeTooLargeError()})
    assert await outcomes(producer, {"a": 4, "b": 4}) == {
        "a1": type(None),
        "a2": PermanentDeliveryError,
        "a3": TemporaryDeliveryError,
        "a4": TemporaryDeliveryError,
        **{f"b{number}": type(None) for number in range(1, 5)},
    }
    assert "a3" not in producer.sent
    assert "a4" not in producer.sent


@pytest.mark.parametrize("error", [ProducerClosed(), AssertionError("Unrecognized partition"), OSError()])
async def test_a_batch_that_is_not_taken_fails_alone(error):
    producer = Producer(raises={"a1": error})
    assert await outcomes(producer, {"a": 2, "b": 2}) == {
        "a1": TemporaryDeliveryError,
        "a2": TemporaryDeliveryError,
        "b1": type(None),
        "b2": type(None),
    }


async def test_what_has_no_answer_at_the_deadline_is_temporary_and_the_rest_is_not_sent():
    producer = Producer(hangs={"a1"})
    assert await outcomes(producer, {"a": 2, "b": 2}, patience=0.05) == {
        "a1": TemporaryDeliveryError,
        "a2": TemporaryDeliveryError,
        "b1": type(None),
        "b2": TemporaryDeliveryError,
    }
    assert producer.sent == ["a1", "b1"]
    assert producer.futures[0].cancelled()


async def test_a_cancellation_gives_up_what_is_under_way():
    producer = Producer(hangs={"a1", "b1"})
    sending = asyncio.create_task(outcomes(producer, {"a": 1, "b": 1}))
    await asyncio.sleep(0.01)
    assert producer.sent == ["a1", "b1"]
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert all(future.cancelled() for future in producer.futures)
