"""The door between aiokafka's exceptions and the bridge's: sorted by what the lane does about them.

Every exception class of aiokafka stands in exactly one of the lists below (a test walks them), so
that an answer nobody thought of shows as a bug in the table, not as a wrong decision at 3 a.m.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Final

from aiokafka import errors as kafka

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError

Failed = TemporaryDeliveryError | PermanentDeliveryError | SinkRefusedError

PERMANENT: Final = (
    kafka.MessageSizeTooLargeError,
    kafka.RecordListTooLargeError,
    kafka.RecordTooLargeError,
    kafka.InvalidTimestampError,
)
"""The record itself is refused."""

REFUSED: Final = (
    kafka.AuthenticationFailedError,
    kafka.AuthenticationMethodNotSupported,
    kafka.ClusterAuthorizationFailedError,
    kafka.DelegationTokenAuthDisabled,
    kafka.DelegationTokenAuthorizationFailed,
    kafka.DelegationTokenExpired,
    kafka.DelegationTokenNotFound,
    kafka.DelegationTokenOwnerMismatch,
    kafka.DelegationTokenRequestNotAllowed,
    kafka.GroupAuthorizationFailedError,
    kafka.IllegalSaslStateError,
    kafka.IncompatibleBrokerVersion,
    kafka.InvalidConfigurationError,
    kafka.InvalidPartitionsError,
    kafka.InvalidPrincipalType,
    kafka.InvalidReplicationAssignmentError,
    kafka.InvalidReplicationFactorError,
    kafka.InvalidRequiredAcksError,
    kafka.InvalidTopicError,
    kafka.InvalidTransactionTimeout,
    kafka.KafkaConfigurationError,
    kafka.PolicyViolationError,
    kafka.SaslAuthenticationFailed,
    kafka.SecurityDisabled,
    kafka.TopicAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.UnrecognizedBrokerVersion,
    kafka.UnsupportedCodecError,
    kafka.UnsupportedForMessageFormatError,
    kafka.UnsupportedSaslMechanismError,
    kafka.UnsupportedVersionError,
)
"""Nothing will pass until somebody changes the cluster or the configuration."""

TEMPORARY: Final = (
    kafka.KafkaError,  # the bare class: "Unexpected error during batch delivery"
    kafka.BrokerResponseError,
    kafka.BrokerNotAvailableError,
    kafka.Cancelled,
    kafka.CorrelationIdError,
    kafka.CorruptRecordException,
    kafka.GroupCoordinatorNotAvailableError,
    kafka.GroupLoadInProgressError,
    kafka.KafkaConnectionError,
    kafka.KafkaProtocolError,
    kafka.KafkaStorageError,
    kafka.KafkaTimeoutError,
    kafka.KafkaUnavailableError,
    kafka.LeaderNotAvailableError,
    kafka.LogDirNotFound,
    kafka.MetadataEmptyBrokerList,
    kafka.NoBrokersAvailable,
    kafka.NodeNotReadyError,
    kafka.NotControllerError,
    kafka.NotCoordinatorForGroupError,
    kafka.NotEnoughReplicasAfterAppendError,
    kafka.NotEnoughReplicasError,
    kafka.NotLeaderForPartitionError,
    kafka.QuotaViolationError,
    kafka.ReassignmentInProgress,
    kafka.ReplicaNotAvailableError,
    kafka.RequestTimedOutError,
    kafka.StaleControllerEpochError,
    kafka.StaleLeaderEpochCodeError,
    kafka.StaleMetadata,
    kafka.TooManyInFlightRequests,
    kafka.UnknownError,
    kafka.UnknownTopicOrPartitionError,  # whether the topic may be made is asked before each first send
    kafka.ConcurrentTransactions,
    kafka.DuplicateSequenceNumber,
    kafka.InvalidProducerEpoch,
    kafka.InvalidProducerIdMapping,
    kafka.InvalidTxnState,
    kafka.OperationNotAttempted,
    kafka.OutOfOrderSequenceNumber,
    kafka.ProducerClosed,
    kafka.ProducerFenced,
    kafka.TransactionCoordinatorFenced,
    kafka.UnknownProducerId,
    kafka.IllegalArgumentError,
    kafka.IllegalOperation,
    kafka.IllegalStateError,
    kafka.InvalidRequestError,
    kafka.ListenerNotFound,
)
"""Connections, leaders and coordinators on the move, and producers that a new one replaces."""

FOREIGN: Final = (
    kafka.CommitFailedError,
    kafka.ConsumerStoppedError,
    kafka.FetchSessionIdNotFound,
    kafka.GroupIdNotFound,
    kafka.IllegalGenerationError,
    kafka.InconsistentGroupProtocolError,
    kafka.InvalidCommitOffsetSizeError,
    kafka.InvalidFetchRequestError,
    kafka.InvalidFetchSessionEpoch,
    kafka.InvalidGroupIdError,
    kafka.InvalidSessionTimeoutError,
    kafka.MemberIdRequired,
    kafka.NoError,
    kafka.NoOffsetForPartitionError,
    kafka.NonEmptyGroup,
    kafka.OffsetMetadataTooLargeError,
    kafka.OffsetOutOfRangeError,
    kafka.RebalanceInProgressError,
    kafka.TopicAlreadyExistsError,
    kafka.UnknownMemberIdError,
)
"""What only consumers and makers of topics get; as an answer to us it is nonsense, so try again."""

ADVICE: Final[Mapping[type[BaseException], str]] = {
    kafka.TransactionalIdAuthorizationFailed: (
        "allow Write and Describe on this transactional id, and Read and Write on the places topic"
    ),
    kafka.InvalidTransactionTimeout: (
        "transaction_timeout is above what the cluster allows (transaction.max.timeout.ms)"
    ),
    kafka.TopicAuthorizationFailedError: "allow Write and Describe on it, for a places topic also Read",
}
"""What to do about a refusal, where its own words do not say it."""

CLIENT_ERRORS: Final = (
    kafka.KafkaError,
    kafka.IllegalOperation,
    kafka.ConsumerStoppedError,
    OSError,  # TimeoutError and ssl.SSLError among them
)
"""What aiokafka raises, for `except`."""


def translate(err: BaseException, doing: str) -> Failed:
    """Return what the lane should do about `err`, which came while `doing` ("asking Kafka for …")."""
    text = f"{doing}: {_words(err)}"
    if isinstance(err, PERMANENT):
        return PermanentDeliveryError(text)
    if isinstance(err, REFUSED) or _mistrusts(err):
        return SinkRefusedError(text)
    return TemporaryDeliveryError(text)


def known() -> Iterator[type[BaseException]]:
    """Yield every class that is listed, each list in turn."""
    for listed in (PERMANENT, REFUSED, TEMPORARY, FOREIGN):
        yield from listed


def _mistrusts(err: BaseException) -> bool:
    """Whether the broker's certificate is not accepted: it will not be at the next try either."""
    return isinstance(err, ssl.SSLCertVerificationError)


def _words(err: BaseException) -> str:
    if isinstance(err, TimeoutError):
        return "no answer in time"
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {err.verify_message}"
    text = str(err) or type(err).__name__
    description = ADVICE.get(type(err)) or getattr(err, "description", "")
    return f"{text} ({description})" if description and description not in text else text
