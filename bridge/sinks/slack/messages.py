"""What is remembered of the message for an event, and the mark by which it is found in a channel."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bridge.errors import StateError
from bridge.ports import SinkMemory

DELIVERY: Final = "awxbridge_delivery"
"""`event_type` of the metadata of each message; its payload is that of `Mark`."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata's payload: the event's id, who posts it, and the how manieth time by order."""

    id: str
    sink: str
    repeat: int = 0


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One message: about to be posted (no `ts`: the outcome is not known), posted, or dropped.

    `channel` is what it was posted to, an id or a name, and the id once there is a `ts`. `since` is
    the first attempt in epoch seconds by Slack's clock; None when Slack had said nothing before.
    """

    channel: str
    repeat: int = 0
    since: float | None = None
    ts: str | None = None
    dropped: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether it may be in the channel, or not."""
        return self.ts is None and not self.dropped


class Messages:
    """A Slack sink's memory: messages by event, the one of each job's end, and channels' ids."""

    def __init__(self, memory: SinkMemory) -> None:
        """Keep everything in `memory`."""
        self._memory = memory

    async def of(self, event_id: str) -> Post | None:
        """Return what is known of an event's message.

        Raises:
            StateError: it cannot be read.
        """
        value = await self._memory.get(f"event/{event_id}")
        try:
            return None if value is None else msgspec.convert(value, Post)
        except msgspec.ValidationError as err:
            raise StateError(f"what is remembered of the Slack message for {event_id} is broken") from err

    async def keep(self, event_id: str, post: Post | None) -> None:
        """Write what is known of an event's message; None forgets it."""
        if post is None:
            await self._memory.delete(f"event/{event_id}")
        else:
            await self._memory.put(f"event/{event_id}", msgspec.to_builtins(post))

    async def keep_end(self, job: str, post: Post) -> None:
        """Write which message told of a job's end."""
        await self._memory.put(f"job/{job}", msgspec.to_builtins(post))

    async def id_of(self, channel: str) -> str | None:
        """Return the id that a channel's name once had."""
        found = await self._memory.get(f"channel/{channel}")
        return found if isinstance(found, str) else None

    async def keep_id(self, channel: str, channel_id: str) -> None:
        """Write the id of a channel's name."""
        if await self.id_of(channel) != channel_id:
            await self._memory.put(f"channel/{channel}", channel_id)


def mark_of(message: dict[str, Any]) -> Mark | None:
    """Read the mark in a message as Slack shows it; None when it has none that is ours."""
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != DELIVERY:
        return None
    try:
        return msgspec.convert(metadata.get("event_payload"), Mark)
    except msgspec.ValidationError:
        return None
