"""Ids of events, made and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.encode import event_id, read_id, status_id
from bridge.model import JOB_TYPES, TERMINAL_STATUSES, JobKey

keys = st.builds(
    JobKey,
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True),
    st.sampled_from(JOB_TYPES),
    st.integers(1, 2**31),
)


@given(keys, st.integers(0, 2**31), st.integers(1, 1000))
def test_an_id_of_a_job_event_says_which_it_is(key, counter, repeat):
    assert read_id(event_id(key, counter, repeat)) == (key, counter, repeat)


@given(keys, st.sampled_from([*TERMINAL_STATUSES, "pending", "deleted", "stalled"]), st.integers(1, 9))
def test_an_id_of_a_status_says_the_job(key, status, repeat):
    assert read_id(status_id(key, status, repeat)) == (key, None, 1)


@pytest.mark.parametrize(
    "text",
    [
        "prod/bridge/source.down/2026-11-23T07:48:11.000000Z",
        "prod/bridge/sink.parked/ops/2026-11-23T07:48:11.000000Z",
        "awx-bridge/test/5f0e",
        "prod/job/1",
        "prod/job/x/event/1",
        "prod/job/-1/event/1",
        "prod/job/99999999999999999999/event/1",
        "",
    ],
)
def test_what_is_of_no_job_says_nothing(text):
    assert read_id(text) is None


def test_what_the_bridge_says_of_a_job_is_of_that_job():
    assert read_id("prod/job/1/missing/3") == (JobKey("prod", "job", 1), None, 1)
    assert read_id("prod/job/1/event/3/x") == (JobKey("prod", "job", 1), None, 1)


@given(st.text())
def test_no_text_is_too_odd(text):
    read_id(text)
