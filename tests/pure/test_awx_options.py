import pytest
from pydantic import ValidationError

from bridge.awx.options import SourceOptions
from bridge.model import JOB_TYPES

LOGIN = {"token": "t0ken-s3cret"}


def options(**given):
    return SourceOptions.model_validate({"url": "https://awx.example.com", **LOGIN, **given})


def problems(**given):
    with pytest.raises(ValidationError) as caught:
        SourceOptions.model_validate(given)
    return [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.value.errors()]


def test_defaults():
    made = options()
    assert made.public_url == "https://awx.example.com"
    assert (made.start, made.max_requests, made.gap_wait, made.close_wait) == ("now", 5.0, 10.0, 120.0)
    assert made.jobs.types == JOB_TYPES
    assert made.jobs.exclude == {}
    assert (made.timeout, made.page_limit, made.page_bytes) == (30.0, 200, 16 * 1024**2)


def test_addresses_lose_their_last_slash_and_keep_their_path():
    made = options(url="https://host.example.com/awx/", public_url="https://people.example.com/")
    assert (made.url, made.public_url) == ("https://host.example.com/awx", "https://people.example.com")


@pytest.mark.parametrize(
    "url",
    ["awx.example.com", "ftp://awx.example.com", "https://", "https://me:pw@awx.example.com", "http://a/?b=1",
     "http://a/#b", "", "http://[::1"],
)  # fmt: skip
def test_an_address_that_is_none(url):
    ((path, _),) = problems(url=url, **LOGIN)
    assert path == "url"


@pytest.mark.parametrize(
    ("login", "sentence"),
    [
        ({}, "credentials are missing"),
        ({"token": "a", "username": "b", "password": "c"}, "not both"),
        ({"token_file": "/t", "password_file": "/p"}, "not both"),
        ({"username": "b"}, "go together"),
        ({"password": "b"}, "go together"),
        ({"username": "a:b", "password": "b"}, "no colon"),
    ],
)
def test_exactly_one_way_to_log_in(login, sentence):
    ((_, message),) = problems(url="https://awx.example.com", **login)
    assert sentence in message


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_no_header_could_carry(token):
    ((path, message),) = problems(url="https://awx.example.com", token=token)
    assert path == "token"
    assert not token or token not in message


@pytest.mark.parametrize("start", ["now", "all"])
def test_start_words(start):
    assert options(start=start).start == start


def test_a_start_moment_becomes_utc():
    assert options(start="2026-11-01T02:00:00+02:00").start == "2026-11-01T00:00:00Z"


@pytest.mark.parametrize(
    "start", ["", "yesterday", "2026-11-01", "2026-11-01T00:00:00", "2026-13-01T00:00:00Z"]
)
def test_a_start_that_is_no_moment(start):
    ((path, _),) = problems(url="https://awx.example.com", start=start, **LOGIN)
    assert path == "start"


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_requests": 0},
        {"timeout": 0},
        {"page_limit": 0},
        {"page_bytes": 0},
        {"jobs": {"types": []}},
        {"jobs": {"types": ["jobs"]}},
        {"proxy": "proxy:3128"},
        {"unknown": 1},
    ],
)
def test_values_out_of_bounds(wrong):
    assert len(problems(url="https://awx.example.com", **LOGIN, **wrong)) == 1


def test_no_secret_shows():
    made = options(proxy="http://me:pr0xy-s3cret@proxy.example.com:3128")
    assert "s3cret" not in f"{made!r} {made} {made.model_dump_json()}"


def test_every_option_is_described_in_the_schema():
    schema = SourceOptions.model_json_schema()
    assert all("description" in part for part in schema["properties"].values())
    assert all("description" in part for part in schema["$defs"]["JobOptions"]["properties"].values())
