"""What Slack's answers mean for the sink, and whether the request was carried out.

A post that fails with anything but a plain `TemporaryDeliveryError` was not carried out for sure.
"""

from __future__ import annotations

from typing import Any, Final

from slack_sdk.errors import SlackApiError

from bridge.backoff import retry_after_seconds
from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from bridge.sinks.over_http import Failed, excerpt_of

Answer = dict[str, Any]

RATE_LIMITED: Final = frozenset({"ratelimited", "rate_limited"})
PERMANENT: Final = frozenset(
    {
        "msg_too_long",
        "msg_blocks_too_long",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_attachments",
        "too_many_attachments",
        "attachment_payload_limit_exceeded",
        "no_text",
        "invalid_arguments",
        "invalid_arg_name",
        "invalid_array_arg",
        "invalid_charset",
        "invalid_form_data",
        "invalid_json",
        "json_not_object",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
    }
)
REFUSED: Final = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "token_expired",
        "account_inactive",
        "is_archived",
        "org_login_required",
        "two_factor_setup_required",
        "ekm_access_denied",
        "team_not_found",
    }
)
UNREADABLE: Final = frozenset(
    {
        "missing_scope",
        "not_allowed_token_type",
        "no_permission",
        "access_denied",
        "channel_not_found",
        "not_in_channel",
        "channel_type_not_supported",
        "enterprise_is_restricted",
        "team_access_not_granted",
        "method_deprecated",
        "deprecated_endpoint",
        "unknown_method",
    }
)
"""Refused too, but of one method or channel: what may be posted may still not be read."""

DOUBTFUL: Final = frozenset({"internal_error", "fatal_error", "service_unavailable"})
"""Slack says of these that some of it may have been done (docs.slack.dev, chat.postMessage)."""


class NotTakenError(TemporaryDeliveryError):
    """For now no: this request has certainly not been carried out."""


class UnreadableError(SinkRefusedError):
    """This method is not for this token or this channel; others may be."""


def failure_of_answer(err: SlackApiError, now: float) -> Failed:
    """Say what an error of Slack's Web API means for the sink (product.md lists the usual ones).

    An error that is not known is taken for temporary: if it is about this one event, the lane
    gives up on it after `retry_for`; if it is about all, nothing is lost meanwhile.
    """
    data = getattr(err.response, "data", None)
    answer: Answer = data if isinstance(data, dict) else {}
    code = answer.get("error")
    if not isinstance(code, str) or not code:
        return TemporaryDeliveryError("Slack: an answer that is not Slack's")
    reason = f"Slack: {excerpt_of(code.encode(), secrets=())}{_hint(answer)}"
    if code in RATE_LIMITED:
        header = err.response.headers.get("Retry-After")
        return NotTakenError(reason, retry_after=retry_after_seconds(header, now))
    if code in PERMANENT:
        return PermanentDeliveryError(reason)
    if code in UNREADABLE:
        return UnreadableError(reason)
    if code in REFUSED or code.startswith("restricted_action"):
        return SinkRefusedError(reason)
    return TemporaryDeliveryError(reason) if code in DOUBTFUL else NotTakenError(reason)


def _hint(answer: Answer) -> str:
    metadata = answer.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    said = [f"needs {answer['needed']}"] if answer.get("needed") else []
    said += map(str, messages) if isinstance(messages, list) else []
    return f" ({excerpt_of('; '.join(said).encode(), secrets=())})" if said else ""
