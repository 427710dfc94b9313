import ssl

import aiokafka.errors
import pytest

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from bridge.sinks.kafka.errors import CLIENT_ERRORS, PERMANENT, REFUSED, known, translate

CLASSES = sorted(
    {
        found
        for found in vars(aiokafka.errors).values()
        if isinstance(found, type) and issubclass(found, BaseException)
    },
    key=lambda found: found.__name__,
)


def test_every_error_of_aiokafka_is_listed_once():
    assert sorted(known(), key=lambda found: found.__name__) == CLASSES
    assert len(CLASSES) > 90


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if kind is not aiokafka.errors.BrokerResponseError]
)
def test_every_error_of_aiokafka_is_caught_and_sorted(kind):
    error = kind("why")
    assert isinstance(error, CLIENT_ERRORS)
    wanted = (
        PermanentDeliveryError
        if kind in PERMANENT
        else SinkRefusedError
        if kind in REFUSED
        else TemporaryDeliveryError
    )
    found = translate(error, "sending to t")
    assert type(found) is wanted
    assert found.reason.startswith("sending to t: ")


def test_what_kafka_calls_retriable_is_never_given_up():
    retriable = [kind for kind in CLASSES if getattr(kind, "retriable", False)]
    assert len(retriable) >= 20
    assert {type(translate(kind(), "")) for kind in retriable} == {TemporaryDeliveryError}


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError("reset"), ssl.SSLError("alert")])
def test_the_network_is_temporary(error):
    assert isinstance(error, CLIENT_ERRORS)
    assert type(translate(error, "sending")) is TemporaryDeliveryError


def test_a_time_out_says_so():
    assert (
        translate(TimeoutError(), "connecting to a:9092").reason == "connecting to a:9092: no answer in time"
    )


def test_a_certificate_that_is_not_trusted_is_refused():
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = "self-signed certificate"
    found = translate(error, "connecting")
    assert type(found) is SinkRefusedError
    assert "self-signed certificate" in found.reason
