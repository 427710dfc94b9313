import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ledger import Ranges
from bridge.model import JobKey, Place
from bridge.sinks.kafka.places import OWNER, TRANSACTION, Owner, Transaction, claim, moves, read, union

JOB = JobKey("prod", "job", 42)
OWNED = Owner(instance="i", transactional_id="b.s", bridge="b", host="h", pid=7, since="2026-03-01T10:00:00Z")


def topic(*records):
    """What compaction leaves of `records`."""
    last = {record.key: record.value for record in records}
    return {key: value for key, value in last.items() if value is not None}


@st.composite
def any_place(draw):
    through = draw(st.integers(0, 30))
    wanted = Ranges((n, n) for n in draw(st.sets(st.integers(1, 30))) if n <= through)
    return Place(
        through=through,
        wanted=wanted.pairs(),
        status_number=draw(st.integers(0, 5)),
        repeats=draw(st.dictionaries(st.integers(1, 30), st.integers(1, 3), max_size=3)),
    )


def settled(place):
    wanted = Ranges(place.wanted)
    return {n for n in range(1, place.through + 1) if n not in wanted}


@given(
    st.dictionaries(st.builds(JobKey, st.sampled_from("ab"), st.just("job"), st.integers(1)), any_place()),
    st.dictionaries(st.text("job/0159_", min_size=1), st.binary(min_size=1), max_size=3),
)
def test_what_is_written_is_what_is_read(places, notes):
    number = Transaction(number=3, instance="i")
    kept = read(topic(*claim(OWNED, now=1.5), *moves(places, number, now=1.5, notes=notes)))
    assert kept == (places, OWNED, number, notes)


def test_a_note_can_be_taken_back():
    number = Transaction(number=1, instance="i")
    first = moves({}, number, now=1.0, notes={"source/prod": b"{}", "job/prod/job/1": b"{}"})
    second = moves({}, number, now=1.0, notes={"job/prod/job/1": None})
    assert read(topic(*first, *second)).notes == {"source/prod": b"{}"}


def test_an_empty_topic_says_nothing():
    assert read({}) == ({}, None, None, {})


def test_a_forgotten_job_is_a_tombstone():
    first = moves({JOB: Place(through=3)}, Transaction(number=1, instance="i"), now=1.0)
    second = moves({JOB: None}, Transaction(number=2, instance="i"), now=2.0)
    assert [record.key for record in first] == [TRANSACTION, b"prod/job/42"]
    assert second[1].value is None
    assert read(topic(*first, *second)).places == {}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"hello", b"{}", "a record's key is no job: b'hello'"),
        (b"prod/job/x", b"{}", "no job"),
        (b"a/b/c/1", b"{}", "no job"),
        (b"\xff/job/1", b"{}", "no job"),
        (b"prod/job/42", b"[]", "the record of prod/job/42 cannot be read"),
        (b"prod/job/42", b"not JSON", "the record of prod/job/42"),
        (OWNER, b"{}", "the record of _owner"),
        (TRANSACTION, b'{"number": "1"}', "the record of _transaction"),
    ],
)
def test_what_is_not_ours_is_refused(key, value, words):
    with pytest.raises(ValueError, match=words):
        read({key: value})


def test_what_a_later_version_adds_is_passed_over():
    assert read({b"_later": b"?", b"prod/job/42": b'{"through": 3, "mood": "good"}'}).places == {
        JOB: Place(through=3)
    }


def test_the_owner_says_where_it_runs():
    assert str(OWNED) == "b (process 7 on h, since 2026-03-01T10:00:00Z)"


@given(any_place(), any_place())
def test_a_union_has_settled_what_either_has(one, other):
    both = union(one, other)
    assert settled(both) == settled(one) | settled(other)
    assert both.through == max(one.through, other.through)
    assert both.status_number == max(one.status_number, other.status_number)
    assert all(
        both.repeats[n] == max(one.repeats.get(n, 0), other.repeats.get(n, 0))
        for n in {**one.repeats, **other.repeats}
    )
    assert both == union(other, one)


@given(any_place())
def test_a_union_with_itself_or_nothing_changes_nothing(place):
    assert union(place, place) == union(place, Place()) == place
