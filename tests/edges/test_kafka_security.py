"""The Kafka sink against a real broker: TLS, SASL, and who is not let in."""

import pytest
import trustme

from bridge.errors import ConfigError, SinkRefusedError, TemporaryDeliveryError
from bridge.model import Place
from bridge.ports import SinkContext
from bridge.sinks.kafka import open_kafka
from tests.support.kafka import PASSWORD, read_all
from tests.support.kafka_acl import allow
from tests.support.kafka_sink import (
    WallClock,
    job,
    make_event,
    new_topic,
    open_sink,
    open_transactional,
    options_for,
)


def login(mechanism="SCRAM-SHA-512", user="bridge", password=PASSWORD):
    return {"sasl_mechanism": mechanism, "sasl_username": user, "sasl_password": password}


async def round_trip(broker, listener, **options):
    topic = new_topic()
    address = broker.address(listener)
    async with open_sink(address, topic, security_protocol=listener.upper(), **options) as sink:
        await sink.send([make_event()])
    assert len(await read_all(broker.bootstrap, topic)) == 1


async def refusal(broker, listener, **options):
    address = broker.address(listener)
    topic = options.pop("topic", "any")
    async with open_sink(address, topic, security_protocol=listener.upper(), **options) as sink:
        with pytest.raises(SinkRefusedError) as caught:
            await sink.send([make_event()])
    return caught.value.reason


async def test_tls_with_a_client_certificate(kafka_broker):
    files = kafka_broker.certificates
    await round_trip(kafka_broker, "ssl", tls={"ca_file": files.ca, "client_cert": files.client})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_sasl(kafka_broker, mechanism):
    await round_trip(kafka_broker, "sasl_plaintext", **login(mechanism))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_sasl_over_tls(kafka_broker, mechanism):
    await round_trip(
        kafka_broker, "sasl_ssl", tls={"ca_file": kafka_broker.certificates.ca}, **login(mechanism)
    )


async def test_a_password_from_a_file(kafka_broker, tmp_path):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    await round_trip(kafka_broker, "sasl_plaintext", sasl_username="bridge", sasl_password_file=file)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_a_wrong_password_is_refused(kafka_broker, mechanism):
    reason = await refusal(kafka_broker, "sasl_plaintext", **login(mechanism, password="wrong"))
    assert "SaslAuthenticationFailed" in reason
    assert "wrong" not in reason


async def test_a_broker_with_an_unknown_authority_is_refused(kafka_broker, tmp_path):
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    reason = await refusal(kafka_broker, "sasl_ssl", tls={"ca_file": other}, **login())
    assert "certificate is not accepted" in reason


async def test_a_broker_is_accepted_unseen_for_trials(kafka_broker):
    await round_trip(kafka_broker, "sasl_ssl", tls={"verify": False}, **login())


async def test_a_missing_client_certificate_is_not_taken_for_success(kafka_broker):
    """The broker closes the connection after the handshake, which looks like any lost connection."""
    tls = {"ca_file": kafka_broker.certificates.ca}
    address = kafka_broker.address("ssl")
    async with open_sink(address, "any", security_protocol="SSL", tls=tls) as sink:
        with pytest.raises(TemporaryDeliveryError, match="connecting to"):
            await sink.send([make_event()])


async def test_tls_spoken_to_a_plain_port_is_an_error_in_time(kafka_broker):
    patience = {"delivery_timeout": 3, "request_timeout": 1}
    async with open_sink(kafka_broker.bootstrap, "any", security_protocol="SSL", **patience) as sink:
        with pytest.raises(TemporaryDeliveryError):
            await sink.send([make_event()])


async def test_a_user_without_rights_is_refused(kafka_broker):
    topic = new_topic()
    async with open_sink(kafka_broker.bootstrap, topic) as sink:
        await sink.send([make_event()])
    reason = await refusal(kafka_broker, "sasl_plaintext", topic=topic, **login("PLAIN", "limited"))
    assert "AuthorizationFailed" in reason


async def test_a_sink_that_was_refused_works_when_the_password_is_right_again(kafka_broker, tmp_path):
    file, topic = tmp_path / "password", new_topic()
    file.write_text("old")
    address = kafka_broker.address("sasl_plaintext")
    options = {"sasl_username": "bridge", "sasl_password_file": file, "security_protocol": "SASL_PLAINTEXT"}
    async with open_sink(address, topic, **options) as sink:
        with pytest.raises(SinkRefusedError):
            await sink.send([make_event()])
        file.write_text(PASSWORD)
        await sink.send([make_event()])
    assert len(await read_all(kafka_broker.bootstrap, topic)) == 1


async def test_a_broken_certificate_file_is_a_configuration_error(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    options = options_for("127.0.0.1:1", "t", security_protocol="SSL", tls={"ca_file": broken})
    context = SinkContext(bridge="bridge", name="events", clock=WallClock())
    with pytest.raises(ConfigError, match=r"sinks\.events"):
        async with open_kafka(options, context):
            pass


async def limited_sink(broker, topic, **more):
    """Take over as a user with few rights; return why not, or what the places are."""
    options = {**login("PLAIN", "limited"), "security_protocol": "SASL_PLAINTEXT", **more}
    async with open_transactional(broker.address("sasl_plaintext"), topic, **options) as sink:
        try:
            places = await sink.places()
            await sink.send_with_places([make_event(1, 1)], {job(1): Place(through=1)})
        except SinkRefusedError as err:
            return err.reason
        return places


async def test_each_missing_right_of_a_transactional_sink_is_named(kafka_broker):
    topic = new_topic()
    names = {"transactional_id": f"id-{topic}", "places_topic": f"{topic}-places"}
    async with open_transactional(kafka_broker.bootstrap, topic, **names) as sink:
        await sink.places()
        await sink.send([make_event(1, 1)])

    reason = await limited_sink(kafka_broker, topic, **names)
    assert f"id-{topic} (allow Write and Describe on this transactional id" in reason
    allow(kafka_broker.bootstrap, "transactional id", f"id-{topic}", "describe")
    assert await limited_sink(kafka_broker, topic, **names) == reason
    allow(kafka_broker.bootstrap, "transactional id", f"id-{topic}", "write")

    reason = await limited_sink(kafka_broker, topic, **names)
    assert f"asking for topic {topic}-places" in reason
    allow(kafka_broker.bootstrap, "topic", f"{topic}-places", "write", "describe")
    reason = await limited_sink(kafka_broker, topic, **names)
    assert f"reading topic {topic}-places" in reason
    assert "for a places topic also Read" in reason
    allow(kafka_broker.bootstrap, "topic", f"{topic}-places", "read")

    reason = await limited_sink(kafka_broker, topic, **names)
    assert reason.startswith(f"asking for topic {topic}: ")
    assert "allow Write and Describe on it" in reason
    allow(kafka_broker.bootstrap, "topic", topic, "describe")
    reason = await limited_sink(kafka_broker, topic, **names)
    assert "TopicAuthorizationFailed" in reason
    allow(kafka_broker.bootstrap, "topic", topic, "write")
    assert await limited_sink(kafka_broker, topic, **names) == {}
    assert await limited_sink(kafka_broker, topic, **names) == {job(1): Place(through=1)}


async def test_a_user_who_may_not_write_places_is_refused(kafka_broker):
    topic = new_topic()
    async with open_transactional(kafka_broker.bootstrap, topic) as sink:
        await sink.places()
    allow(kafka_broker.bootstrap, "transactional id", f"{topic}.events", "write")
    allow(kafka_broker.bootstrap, "topic", f"{topic}.events.places", "read")
    reason = await limited_sink(kafka_broker, topic)
    assert f"{topic}.events.places" in reason
    assert "allow Write and Describe on it" in reason


async def test_a_transaction_timeout_above_the_clusters_is_refused(kafka_broker):
    topic = new_topic()
    async with open_transactional(kafka_broker.bootstrap, topic, transaction_timeout="1h") as sink:
        with pytest.raises(SinkRefusedError, match=r"above what the cluster allows \(transaction.max"):
            await sink.places()
