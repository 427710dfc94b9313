import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import PermanentDeliveryError, TemporaryDeliveryError
from bridge.sinks.kafka.batches import Batch, Limits, Record, fill, partition_of, to_record
from bridge.sinks.kafka.rounds import Isolation, Result
from bridge.sinks.kafka.session import MAX_BATCH
from tests.support.kafka_sink import make_event, options_for

NOW = 1_790_000_000.0
BINARY = options_for("a", "t")
STRUCTURED = options_for("a", "t", content_mode="structured")


def new_builder():
    return BatchBuilder(MAX_BATCH, 0)


# What org.apache.kafka.common.utils.Utils.murmur2 returns, a signed int, per Kafka's own unit test.
JAVA = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "java"), JAVA)
@pytest.mark.parametrize("partitions", [1, 6, 7, 1000])
def test_the_partition_is_the_java_clients(key, java, partitions):
    assert partition_of(key, range(partitions)) == (java & 0x7FFFFFFF) % partitions


@given(
    st.lists(st.integers(0, 400_000), max_size=30),
    st.integers(1_000, 2_000_000),
    st.integers(1, 12),
)
def test_batches_keep_order_and_limits(sizes, max_bytes, max_records):
    records = [
        Record(
            position, b"k", b"v" * (size % (max_bytes - 200)), [("h", b"w")], 1, size % (max_bytes - 200) + 50
        )
        for position, size in enumerate(sizes)
    ]
    batches = fill(records, new_builder, Limits(max_bytes, max_records))
    assert [position for batch in batches for position in batch.positions] == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch.positions) <= max_records
        assert batch.builder.record_count() == len(batch.positions)
        assert batch.builder.closed()
        assert batch.builder.size() <= max_bytes


@given(st.integers(300, 6_000), st.integers(0, 20_000), st.sampled_from([BINARY, STRUCTURED]))
def test_a_record_fits_into_a_batch_of_its_own_or_is_refused(max_bytes, length, options):
    event = make_event(stdout="ä" * length)
    try:
        record = to_record(0, event, options, max_bytes=max_bytes, now=NOW)
    except PermanentDeliveryError as err:
        assert max_bytes < 2_000, err  # noqa: PT017 - refusing is one of two right answers
    else:
        [batch] = fill([record], new_builder, Limits(max_bytes, 1))
        assert batch.builder.size() <= max_bytes


def test_a_body_that_needs_no_change_is_not_copied():
    event = make_event()
    assert to_record(0, event, BINARY, max_bytes=1_000_000, now=NOW).value is event.body


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("2026-03-01T10:00:00Z", 1772359200000),
        ("2026-03-01T10:00:00.250999Z", 1772359200250),
        ("2026-03-01T12:00:00+02:00", 1772359200000),
        ("2026-03-01T10:00:00", 1772359200000),
        ("2099-01-01T00:00:00Z", 1_790_000_000_000),
        ("1969-12-31T23:59:59Z", 1_790_000_000_000),
        ("0001-01-01T00:00:00", 1_790_000_000_000),
        ("yesterday", 1_790_000_000_000),
        ("", 1_790_000_000_000),
    ],
)
def test_the_timestamp_is_the_events_time_unless_a_broker_would_refuse_it(time, milliseconds):
    assert to_record(0, make_event(time=time), BINARY, max_bytes=1_000_000, now=NOW).timestamp == milliseconds


def result(count, error=None):
    return Result(("t", 0), Batch(None, tuple(range(count))), error)


def test_a_refused_batch_is_halved_until_the_bad_record_is_alone():
    isolation = Isolation(1000)
    counts = []
    count = isolation.most("t")
    while count > 1:
        counts.append(count)
        found = isolation.judge(result(count, PermanentDeliveryError("too large")))
        assert type(found) is TemporaryDeliveryError
        assert "too large" in found.reason
        count = isolation.most("t")
    assert counts == [1000, 500, 250, 125, 62, 31, 15, 7, 3]
    assert type(isolation.judge(result(1, PermanentDeliveryError("too large")))) is PermanentDeliveryError
    assert isolation.most("other") == 1000


def test_what_passes_doubles_the_batches_again():
    isolation = Isolation(1000)
    isolation.judge(result(8, PermanentDeliveryError("too large")))
    assert isolation.most("t") == 4
    assert isolation.judge(result(3)) is None
    assert isolation.most("t") == 4
    sizes = []
    while isolation.most("t") < 1000:
        isolation.judge(result(isolation.most("t")))
        sizes.append(isolation.most("t"))
    assert sizes == [8, 16, 32, 64, 128, 256, 512, 1000]


def test_temporary_errors_do_not_make_batches_smaller():
    isolation = Isolation(1000)
    error = TemporaryDeliveryError("away")
    assert isolation.judge(result(500, error)) is error
    assert isolation.most("t") == 1000
