import pytest
from pydantic import ValidationError

from bridge.sinks.kafka import KafkaOptions
from tests.support.kafka_sink import options_for

SASL = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "bridge", "sasl_password": "geheim"}


def test_defaults():
    options = options_for("localhost:9092", "awx.events")
    assert options.content_mode == "binary"
    assert options.compression == "lz4"
    assert options.create_topics
    assert (options.partitions, options.replication_factor) == (6, -1)
    assert options.delivery_timeout == 30
    assert options.batching.in_flight == 1
    assert options.connection() == {
        "bootstrap_servers": ["localhost:9092"],
        "security_protocol": "PLAINTEXT",
        "request_timeout_ms": 10_000,
    }


def test_brokers_are_a_list_or_a_text_with_commas():
    as_text = options_for("b:9092, a:9093,[::1]:9092", "t")
    as_list = options_for(["a:9093", "[::1]:9092", "b:9092"], "t")
    assert set(as_text.bootstrap_servers) == {"a:9093", "b:9092", "[::1]:9092"}
    assert as_text.destination == as_list.destination == "kafka [::1]:9092,a:9093,b:9092 t"


def test_another_topic_or_cluster_is_another_destination():
    destinations = {options_for(servers, topic).destination for servers in "ab" for topic in "tu"}
    assert len(destinations) == 4


def test_topic_config_is_written_as_kafka_writes_it():
    options = options_for(
        "a", "t", topic_config={"retention.ms": 5, "preallocate": False, "cleanup.policy": "compact"}
    )
    assert options.topic_config == {"retention.ms": "5", "preallocate": "false", "cleanup.policy": "compact"}


def test_the_password_comes_from_a_file_read_anew(tmp_path):
    file = tmp_path / "password"
    file.write_text("one\n")
    options = KafkaOptions(
        type="kafka",
        bootstrap_servers=("a",),
        topic="t",
        security_protocol="SASL_PLAINTEXT",
        sasl_username="bridge",
        sasl_password_file=file,
    )
    assert options.connection()["sasl_plain_password"] == "one"
    file.write_text("two\n")
    assert options.connection()["sasl_plain_password"] == "two"


def test_the_password_never_shows():
    assert "geheim" not in repr(options_for("a", "t", **SASL))
    assert "geheim" not in options_for("a", "t", **SASL).destination


@pytest.mark.parametrize(
    ("servers", "more", "words"),
    [
        ([], {}, "at least one broker"),
        ("", {}, "'' is no broker"),
        ("PLAINTEXT://a:9092", {}, "without a scheme"),
        ("a:99999", {}, "is no broker"),
        ("a:0", {}, "is no broker"),
        ("a b:9092", {}, "is no broker"),
        ("a", {"topic": "awx.{host}"}, "can change within a job"),
        ("a", {"partitions": 0}, "greater than or equal to 1"),
        ("a", {"replication_factor": 0}, "broker's default"),
        ("a", {"security_protocol": "SASL_SSL"}, "needs sasl_username and sasl_password"),
        ("a", {**SASL, "sasl_username": None}, "needs sasl_username"),
        ("a", {"sasl_username": "bridge"}, "need security_protocol SASL"),
        ("a", {"tls": {"verify": False}}, "tls needs security_protocol"),
        ("a", {"request_timeout": "1m"}, "longer than delivery_timeout"),
        ("a", {"transactional": True}, "Extra inputs"),
    ],
)
def test_mistakes_are_explained(servers, more, words):
    with pytest.raises(ValidationError, match=words):
        options_for(servers, **{"topic": "t", **more})


def test_a_missing_certificate_is_an_oserror(tmp_path):
    options = options_for("a", "t", security_protocol="SSL", tls={"ca_file": tmp_path / "ca.pem"})
    with pytest.raises(FileNotFoundError):
        options.connection()
