import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.awx.paging import PageSizes
from bridge.model import JobKey

KEY = JobKey("prod", "job", 7)
OTHER = JobKey("prod", "job", 8)


def test_a_page_too_large_halves_down_to_one_row_of_that_job_only():
    sizes = PageSizes(200)
    seen = []
    while (limit := sizes.limit(KEY, 200)) > 1:
        seen.append(limit)
        sizes.too_large(KEY, limit)
    assert seen == [200, 100, 50, 25, 12, 6, 3]
    sizes.too_large(KEY, 1)
    assert sizes.limit(KEY, 200) == 1
    assert sizes.limit(OTHER, 200) == 200


def test_a_slow_page_halves_down_to_ten_rows():
    sizes = PageSizes(200)
    for _ in range(20):
        sizes.too_slow(KEY, sizes.limit(KEY, 200))
    assert sizes.limit(KEY, 200) == 10


def test_it_grows_back_slowly():
    sizes = PageSizes(200)
    sizes.too_large(KEY, 2)
    steps = 0
    while (limit := sizes.limit(KEY, 200)) < 200:
        sizes.went_well(KEY, limit)
        steps += 1
    assert 40 < steps < 60


def test_a_size_that_fails_every_time_is_rarely_tried():
    sizes = PageSizes(200)
    failures = 0
    for _ in range(500):
        limit = sizes.limit(KEY, 200)
        if limit > 60:
            failures += 1
            sizes.too_slow(KEY, limit)
        else:
            sizes.went_well(KEY, limit)
    assert failures < 500 / 15
    assert sizes.limit(KEY, 200) > 30


def test_a_small_page_that_went_well_says_nothing_of_larger_ones():
    sizes = PageSizes(200)
    sizes.too_large(KEY, 200)
    sizes.went_well(KEY, 5)
    assert sizes.limit(KEY, 200) == 100


def test_it_does_not_remember_without_bound():
    sizes = PageSizes(200)
    for job_id in range(5000):
        sizes.too_large(JobKey("prod", "job", job_id), 200)
    assert sizes.limit(JobKey("prod", "job", 0), 200) == 200
    assert sizes.limit(JobKey("prod", "job", 4999), 200) == 100


@given(
    most=st.integers(1, 10_000),
    steps=st.lists(st.tuples(st.sampled_from(["too_large", "too_slow", "went_well"]), st.integers(1, 500))),
)
def test_the_limit_stays_within_what_is_asked_and_allowed(most, steps):
    sizes = PageSizes(most)
    for step, asked in steps:
        limit = sizes.limit(KEY, asked)
        assert 1 <= limit <= min(asked, most)
        getattr(sizes, step)(KEY, limit)


@pytest.mark.parametrize("asked", [0, -3])
def test_a_nonsensical_wish_becomes_one_row(asked):
    assert PageSizes(200).limit(KEY, asked) == 1
