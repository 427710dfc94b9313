import math
import random
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.backoff import LONGEST_RETRY_AFTER, decorrelated, full_jitter, retry_after_seconds

NOW = 1_800_000_000.0


@given(attempt=st.integers(0, 10**6), seed=st.integers(), cap=st.floats(0.1, 1e4))
def test_full_jitter_stays_within_the_doubled_base_and_the_cap(attempt, seed, cap):
    delay = full_jitter(attempt, random.Random(seed), base=0.5, cap=cap)
    assert 0 <= delay <= min(cap, 0.5 * 2.0 ** min(attempt, 64))


def test_full_jitter_uses_the_whole_span():
    rng = random.Random(1)
    delays = [full_jitter(4, rng, base=1, cap=60) for _ in range(500)]
    assert min(delays) < 1
    assert max(delays) > 15


@given(seed=st.integers(), tries=st.integers(1, 60))
def test_decorrelated_never_leaves_base_and_cap(seed, tries):
    rng, delay = random.Random(seed), 0.0
    for _ in range(tries):
        delay = decorrelated(delay, rng, base=0.5, cap=30)
        assert 0.5 <= delay <= 30


def test_decorrelated_starts_at_base_and_grows_to_the_cap():
    class Highest:
        def uniform(self, a, b, /):
            return b

    delays, delay = [], 0.0
    for _ in range(6):
        delay = decorrelated(delay, Highest(), base=1, cap=60)
        delays.append(delay)
    assert delays == [1, 3, 9, 27, 60, 60]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0", 0),
        ("30", 30),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("999999999999", LONGEST_RETRY_AFTER),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        (formatdate(NOW + 90), 90),
        (formatdate(NOW + 10 * 86_400, usegmt=True), LONGEST_RETRY_AFTER),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after(header, expected):
    assert retry_after_seconds(header, NOW) == expected


@given(st.text(), st.floats(0, 4e9))
def test_retry_after_is_total(header, now):
    seconds = retry_after_seconds(header, now)
    assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= LONGEST_RETRY_AFTER)
