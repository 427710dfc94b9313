"""Release order: whatever the order of sight, each counter goes on once, in order or marked late."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.ledger import Ranges
from bridge.model import AwxEvent, EventPage
from bridge.sequence import Ask, GivenUp, Release, Sequencer

GAP_WAIT = 10.0


def row(counter, stdout="", *, uuid="u", number=0):
    return AwxEvent(counter=counter, stdout=stdout, uuid=uuid, id=number, event_data=msgspec.Raw(b"{}"))


def page(*counters, full=False, unreadable=()):
    return EventPage(rows=tuple(row(c) for c in counters), full=full, unreadable=unreadable)


def sequencer(after=0, wanted=(), *, rows=None, repeats=None):
    return Sequencer(
        after=after,
        wanted=Ranges(wanted),
        gap_wait=GAP_WAIT,
        rows=after - sum(h - low + 1 for low, h in wanted) if rows is None else rows,
        repeats=repeats,
    )


def counters_of(out):
    return [item.counter for item in out if isinstance(item, Release)]


def test_rows_in_order_go_on_at_once():
    seq = sequencer()
    assert counters_of(seq.see(Ask(0), page(1, 2, 3), 0.0)) == [1, 2, 3]
    assert seq.plan(wanted=True, hold=False) == [Ask(3)]
    assert (seq.released, seq.top, seq.rows, seq.gaps) == (3, 3, 3, 0)


def test_a_gap_holds_back_and_is_filled():
    seq = sequencer()
    assert counters_of(seq.see(Ask(0), page(1, 2, 5, 6), 0.0)) == [1, 2]
    assert (seq.gaps, seq.released, seq.top) == (2, 2, 6)
    assert seq.plan(wanted=False, hold=False) == [Ask(2)]
    assert counters_of(seq.see(Ask(2), page(3, 4, 5, 6, 7), 1.0)) == [3, 4, 5, 6, 7]
    assert seq.gaps == 0


def test_a_gap_is_given_up_after_gap_wait_and_two_reads_then_delivered_late():
    seq = sequencer()
    seq.see(Ask(0), page(1, 3), 0.0)
    assert seq.see(Ask(1), page(3), 9.9) == []
    out = seq.see(Ask(1), page(3), 10.0)
    assert out == [GivenUp(2, 2), Release(3, (row(3),))]
    assert list(seq.wanted) == [2]
    late = seq.see(Ask(None, (2,)), page(2), 11.0)
    assert late == [Release(2, (row(2),), late=True)]
    assert not seq.wanted


def test_one_read_long_after_is_not_enough():
    """Two reads must have shown it; the second at least half of gap_wait after the first."""
    seq = sequencer()
    seq.see(Ask(0), page(1, 3), 0.0)
    # A read above the gap says nothing about it, however late.
    assert seq.see(Ask(3), page(), 60.0) == []
    assert counters_of(seq.see(Ask(1), page(3), 61.0)) == [3]


def test_reads_that_come_too_soon_after_each_other_are_one():
    seq = sequencer()
    seq.see(Ask(0), page(1, 3), 0.0)
    seq.see(Ask(1), page(3), 4.9)
    assert seq.see(Ask(3), page(), 30.0) == []
    assert counters_of(seq.see(Ask(1), page(3), 30.1)) == [3]


def test_time_in_which_the_source_does_not_answer_does_not_count():
    seq = sequencer()
    seq.see(Ask(0), page(1, 3), 0.0)
    seq.missed()
    assert seq.see(Ask(1), page(3), 100.0) == []
    assert seq.see(Ask(1), page(3), 109.0) == []
    assert counters_of(seq.see(Ask(1), page(3), 110.0)) == [3]


def test_a_full_page_says_nothing_about_what_is_above_it():
    seq = sequencer()
    seq.see(Ask(0), page(1, 2, 9), 0.0)
    seq.see(Ask(2), page(9, full=True), 4.0)
    assert seq.see(Ask(0), page(1, 2, full=True), 20.0) == []
    assert counters_of(seq.see(Ask(2), page(9), 20.1)) == [9]


def test_many_held_rows_are_not_read_again():
    seq = sequencer()
    seq.see(Ask(0), page(1, *range(3, 103)), 0.0)
    assert seq.plan(wanted=False, hold=False) == [Ask(None, (2,)), Ask(102)]
    assert seq.plan(wanted=False, hold=True) == [Ask(None, (2,))]
    assert seq.held_bytes > 0
    seq.see(Ask(None, (2,)), page(2), 1.0)
    assert seq.held_bytes == 0


def test_a_hole_wider_than_one_question_is_read_over():
    seq = sequencer()
    seq.see(Ask(0), page(1, *range(1000, 1100)), 0.0)
    assert Ask(1) in seq.plan(wanted=False, hold=False)
    seq.see(Ask(1), page(*range(1000, 1100)), 5.0)
    out = seq.see(Ask(1), page(*range(1000, 1100)), 10.0)
    assert out[0] == GivenUp(2, 999)


def test_an_unreadable_row_is_passed_over_and_never_asked_again():
    seq = sequencer()
    out = seq.see(Ask(0), page(1, 3, unreadable=(2,)), 0.0)
    assert out == [Release(1, (row(1),)), GivenUp(2, 2), Release(3, (row(3),))]
    assert list(seq.missing()) == [2]
    assert seq.plan(wanted=True, hold=False) == [Ask(3)]


def test_finish_releases_what_is_held():
    seq = sequencer()
    seq.see(Ask(0), page(1, 3, 5), 0.0)
    assert list(seq.missing()) == [2, 4]
    assert [type(item) for item in seq.finish()] == [GivenUp, Release, GivenUp, Release]
    assert seq.released == 5
    assert list(seq.missing()) == [2, 4]


def test_two_equal_rows_are_one_event_and_two_different_ones_are_two():
    seq = sequencer(repeats={})
    rows = (row(1, "a", number=9), row(1, "a", number=10), row(1, "b", number=8))
    out = seq.see(Ask(0), EventPage(rows=rows, full=False), 0.0)
    assert [[r.stdout for r in item.rows] for item in out] == [["b", "a"]]
    assert seq.rows == 2


def test_a_second_row_that_comes_later_is_found_by_reading_again():
    seq = sequencer(repeats={})
    seq.see(Ask(0), EventPage(rows=(row(1, "a", number=1),), full=False), 0.0)
    again = EventPage(rows=(row(1, "a", number=1), row(1, "b", number=2)), full=False)
    assert seq.see(Ask(0), again, 1.0) == [Release(1, (row(1, "b", number=2),), repeat=2, late=True)]
    assert seq.rows == 2


def test_a_held_row_does_not_keep_its_page():
    whole = b'{"big": "' + b"x" * 1000 + b'"}'
    seq = sequencer()
    held = msgspec.structs.replace(row(3), event_data=msgspec.json.decode(whole, type=msgspec.Raw))
    seq.see(Ask(0), EventPage(rows=(row(1), held), full=False), 0.0)
    assert bytes(seq._held[3][0].event_data) == whole
    assert seq._held[3][0].event_data is not held.event_data


@given(counter=st.integers(10**9, 10**15))
def test_a_mad_counter_costs_no_memory(counter):
    seq = sequencer()
    seq.see(Ask(0), page(1, counter), 0.0)
    seq.see(Ask(1), page(counter), 5.0)
    assert seq.see(Ask(1), page(counter), 10.0) == [
        GivenUp(2, counter - 1),
        Release(counter, (row(counter),)),
    ]


@st.composite
def sights(draw):
    """A job of up to 60 events: when each becomes readable, which never, and when it is looked at."""
    total = draw(st.integers(1, 60))
    when = draw(st.lists(st.floats(0, 60), min_size=total, max_size=total))
    lost = draw(st.sets(st.integers(1, total), max_size=5))
    visible = {c: when[c - 1] for c in range(1, total + 1) if c not in lost}
    beats = draw(st.lists(st.floats(0.1, 5), min_size=5, max_size=40))
    fails = draw(st.sets(st.integers(0, 39)))
    return total, visible, beats, fails, draw(st.integers(1, 30))


@settings(max_examples=300, deadline=None)
@given(sights())
def test_every_readable_counter_goes_on_once(sight):
    total, visible, beats, fails, limit = sight
    seq = sequencer()
    out, now = [], 0.0
    for number, beat in enumerate([*beats, *([GAP_WAIT] * 200)]):
        now += beat
        if number in fails:
            seq.missed()
            continue
        for ask in seq.plan(wanted=number % 3 == 0 or number > len(beats), hold=False):
            if ask.after is None:
                rows = [c for c in sorted(ask.counters) if visible.get(c, 1e9) <= now]
                full = False
            else:
                rows = [c for c in range(ask.after + 1, total + 1) if visible.get(c, 1e9) <= now]
                full = len(rows) >= limit
                rows = rows[:limit]
            out += seq.see(ask, page(*rows, full=full), now)
    released = [(item.counter, item.late) for item in out if isinstance(item, Release)]
    in_order = [counter for counter, late in released if not late]
    assert in_order == sorted(in_order)
    assert sorted(counter for counter, _ in released) == sorted(visible)
    top = max(visible, default=0)
    assert set(seq.missing()) == set(range(1, top + 1)) - set(visible)
    assert seq.rows == len(visible)
    assert seq.held_bytes == 0


@pytest.mark.parametrize("after", [0, 7])
def test_a_restart_goes_on_with_what_is_wanted(after):
    seq = sequencer(after=10, wanted=((4, 5),))
    assert seq.rows == 8
    assert seq.plan(wanted=True, hold=False) == [Ask(None, (4, 5)), Ask(10)]
    out = seq.see(Ask(None, (4, 5)), page(5), 0.0)
    assert out == [Release(5, (row(5),), late=True)]
    assert seq.rows == 9
