"""Every error the bridge knows, sorted by what the caller does about it.

Clients translate third-party exceptions into these at their door; anything else is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple


class BridgeError(Exception):
    """The root of every error that the bridge expects."""


class Problem(NamedTuple):
    """One mistake in a configuration: where it is, and what to do about it.

    `path` is dotted (`sinks.ops.channel`, `routes[1].match`); `line` is 1-based, or None.
    """

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        """Render as one line."""
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or the empty string."""
    found = difflib.get_close_matches(name[:64], list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


class ConfigError(BridgeError):
    """The configuration cannot be used: refuse to start (exit 78)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep all `problems`, at least one."""
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class SourceError(BridgeError):
    """AWX did not give what was asked."""


class SourceUnavailable(SourceError):
    """Wait (`retry_after` seconds where AWX said so), then ask the same again."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the wait that the server asked for, in seconds."""
        self.retry_after = retry_after
        super().__init__(message)


class SourceRefused(SourceError):
    """AWX will not answer this: 401 or 403 (not ready, keep trying), 404 (the thing is gone)."""

    def __init__(self, message: str, *, status: int) -> None:
        """Keep the HTTP status."""
        self.status = status
        super().__init__(message)

    @property
    def gone(self) -> bool:
        """Whether AWX has no such thing (any more)."""
        return self.status == int(HTTPStatus.NOT_FOUND)


class SourceDataError(SourceError):
    """The answer makes no sense: deliver what can be read, mark it, go on."""


class DeliveryError(BridgeError):
    """A sink did not accept an event."""


class TemporaryDeliveryError(DeliveryError):
    """Try again later; `retry_after` is the wait in seconds that the sink asked for, if any."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        """Keep the reason shown to the user, and the wait."""
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


class PermanentDeliveryError(DeliveryError):
    """The sink refuses this event for good: it becomes a dead letter."""

    def __init__(self, reason: str) -> None:
        """Keep the reason shown to the user."""
        self.reason = reason
        super().__init__(reason)


class SinkRefusedError(DeliveryError):
    """The sink as configured cannot work: park it, keep its places, probe it."""

    def __init__(self, reason: str) -> None:
        """Keep the reason shown to the user."""
        self.reason = reason
        super().__init__(reason)


class PartialDeliveryError(DeliveryError):
    """Some events of a batch failed: index in the batch to its error; the others were accepted."""

    def __init__(
        self, errors: Mapping[int, TemporaryDeliveryError | PermanentDeliveryError | SinkRefusedError]
    ) -> None:
        """Keep the errors, at least one."""
        self.errors = dict(errors)
        super().__init__(f"{len(self.errors)} events of the batch failed")


class StateError(BridgeError):
    """State cannot be read or written: stop (exit 74)."""


class StateOwnedError(StateError):
    """Another bridge owns this state: stop (exit 75). The message says who."""


class OrderError(BridgeError):
    """What a command asked of the running bridge cannot be done as it was asked."""


class ListenError(BridgeError):
    """The address for probes and metrics cannot be listened on: do not start (exit 69)."""
