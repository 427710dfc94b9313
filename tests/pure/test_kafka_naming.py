import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import JOB_FIXED
from bridge.sinks.kafka.naming import TopicPattern
from tests.support.kafka_sink import make_event

LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@pytest.mark.parametrize(
    ("pattern", "fields", "topic"),
    [
        ("awx.events", {}, "awx.events"),
        ("awx.{source}.{job_type}", {}, "awx.prod.job"),
        ("{job_type}-{job_id}", {}, "job-1"),
        ("awx.{template}", {"template": "Deploy App (blue)"}, "awx.Deploy_App__blue_"),
        ("awx.{project}", {"project": None}, "awx.none"),
        ("awx.{project}", {"project": ""}, "awx.none"),
        ("awx.{project}", {}, "awx.none"),
        ("awx.{inventory}", {"inventory": "größe/東京"}, "awx.gr__e___"),
        ("{template}", {"template": "."}, "_"),
        ("{template}", {"template": ".."}, "_"),
        ("{template}", {"template": "x" * 400}, "x" * 249),
        ("{template_id}", {"template_id": 0}, "0"),
    ],
)
def test_a_pattern_is_filled_and_made_legal(pattern, fields, topic):
    assert TopicPattern(pattern).topic(make_event(**fields)) == topic


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "1 to 249 characters"),
        (".", "1 to 249 characters"),
        ("..", "1 to 249 characters"),
        ("x" * 250, "1 to 249 characters"),
        ("awx events", "' ' cannot be in a Kafka topic"),
        ("awx/{source}", "'/' cannot be"),
        ("awx.{host}", "{host} can change within a job"),
        ("awx.{job_status}", "{job_status} can change within a job"),
        ("awx.{type}", "{type} can change within a job"),
        ("awx.{hots}", "{hots} is no field of an event"),
        ("awx.{}", "{} is no field of an event"),
        ("awx.{source.name}", "is no field"),
        ("awx.{source!r}", "without '!' and ':'"),
        ("awx.{source:>9}", "without '!' and ':'"),
        ("awx.{source", "is no topic pattern"),
        ("awx.}", "is no topic pattern"),
        ("{{source}}", "'{' cannot be"),
    ],
)
def test_what_is_no_pattern_is_explained(pattern, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        TopicPattern(pattern)


@given(st.text(), st.sampled_from(sorted(JOB_FIXED - {"source", "schema_version", "job_id"})))
def test_every_value_gives_a_legal_topic(value, field):
    topic = TopicPattern(f"{{{field}}}").topic(make_event(**{field: value}))
    assert LEGAL.fullmatch(topic)
    assert topic not in {".", ".."}
