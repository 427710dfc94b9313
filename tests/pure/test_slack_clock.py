from email.utils import formatdate

import pytest

from bridge.sinks.slack.clock import SlackClock


class Ticks:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def ticks():
    return Ticks()


def date(moment):
    return formatdate(moment, usegmt=True)


def test_before_any_answer_slacks_time_is_not_known(ticks):
    assert SlackClock(ticks).now() is None


@pytest.mark.parametrize("nonsense", [None, "", "soon", "Fri, 99 Nov 2026 10:00:00 GMT"])
def test_what_is_no_date_says_nothing(ticks, nonsense):
    clock = SlackClock(ticks)
    clock.answered(nonsense)
    clock.posted("")
    assert clock.now() is None


def test_it_goes_on_from_the_last_answer(ticks):
    clock = SlackClock(ticks)
    clock.answered(date(1_700_000_000))
    ticks.now += 90
    assert clock.now() == 1_700_000_090
    clock.answered(date(1_700_000_095))
    assert clock.now() == 1_700_000_095


@pytest.mark.parametrize("wrong_by", [-3600, 3600])
def test_of_a_date_and_a_ts_the_earlier_holds(ticks, wrong_by):
    clock = SlackClock(ticks)
    clock.posted("1700000000.000200")
    clock.answered(date(1_700_000_000 + wrong_by))
    ticks.now += 1
    assert clock.now() == pytest.approx(1_700_000_001 + min(0, wrong_by))
