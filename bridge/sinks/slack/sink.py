"""Posts each event once, though Slack has no key that would make a repeated post harmless.

Before a post it is written down what is about to be posted, after it the message's `ts`. A post
whose outcome is unknown (no answer, 5xx, a crash in between) is looked for in the channel before
anything is posted again; only an answer that says no is followed by a plain second try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from bridge.errors import PermanentDeliveryError, SinkRefusedError, TemporaryDeliveryError
from bridge.model import Event
from bridge.ports import SinkContext
from bridge.sinks.over_http import send_each
from bridge.sinks.slack.api import CHANNEL_ID, Api
from bridge.sinks.slack.clock import SlackClock
from bridge.sinks.slack.errors import NotTakenError, UnreadableError
from bridge.sinks.slack.messages import Mark, Messages, Post, mark_of
from bridge.sinks.slack.options import SlackOptions

MARGIN: Final = 60.0
"""Seconds before an attempt from which on its message is looked for."""

LANDING: Final = 2.0
"""Seconds that a post without a clear answer is given to arrive, before it is looked for."""

_SEARCHES: Final = 100


class SlackSink:
    """Posts events to one channel."""

    def __init__(
        self,
        options: SlackOptions,
        api: Api,
        context: SinkContext,
        *,
        clock: SlackClock,
        read_token: Callable[[], str],
    ) -> None:
        """Use `api`, which belongs to this sink alone; `read_token` raises `SinkRefusedError`."""
        self._options = options
        self._api = api
        self._name = f"{context.bridge}/{context.name}"
        self._messages = Messages(context.memory)
        self._slack_clock = clock
        self._read_token = read_token
        # The channel's id, or its name where the token may not list channels.
        self._target: str | None = None
        # What this sink had posted before this start, by event id: for whoever has lost the state.
        self._posted_before: dict[str, str] | None = None
        # Where to go on with a search that Slack has slowed down, by event id.
        self._cursors: dict[str, str] = {}

    async def send(self, events: Sequence[Event], /) -> None:
        """Post one message after the other."""
        await send_each(events, self._deliver)

    async def _deliver(self, event: Event) -> None:
        fields = event.read()
        replayed = fields.get("replayed") is True
        known = await self._messages.of(event.id)
        if known is not None and not replayed and not known.in_doubt:
            if known.dropped:
                raise PermanentDeliveryError(_dropped("it was dropped before"))
            return
        try:
            if self._api.client.token is None:
                self._api.client.token = self._read_token()
            if self._target is None:
                self._target = await self._api.find_channel(self._options.channel)
            found = await self._find(event.id, known, self._target, replayed=replayed)
            if found is None:
                found = await self._post(event.id, known, fields, self._target)
        except SinkRefusedError:
            # By the next probe there may be a newer token in the file, or a channel of that name.
            self._api.client.token = self._target = None
            raise
        if fields.get("terminal") is True:
            await self._messages.keep_end(event.key, found)
        await self._messages.keep(event.id, found)

    async def _post(self, event_id: str, known: Post | None, fields: dict[str, Any], target: str) -> Post:
        """Post, with a note before it; what a clear no leaves behind is as it was."""
        if known is not None and known.in_doubt:
            intent = msgspec.structs.replace(known, channel=target)
        else:
            repeat = (known.repeat if known else 0) + 1 if fields.get("replayed") is True else 0
            intent = Post(channel=target, repeat=repeat, since=self._slack_clock.now())
        if intent != known:
            await self._messages.keep(event_id, intent)
        try:
            channel, ts = await self._api.post(target, fields, self._mark(event_id, intent))
        except (NotTakenError, PermanentDeliveryError, SinkRefusedError):
            await self._messages.keep(event_id, known)
            raise
        except TemporaryDeliveryError as err:
            wait = max(LANDING, err.retry_after or 0.0)
            raise TemporaryDeliveryError(err.reason, retry_after=wait) from err
        self._slack_clock.posted(ts)
        if channel != target:
            await self._messages.keep_id(target, channel)
        return msgspec.structs.replace(intent, channel=channel, ts=ts)

    def _mark(self, event_id: str, post: Post) -> Mark:
        return Mark(id=event_id, sink=self._name, repeat=post.repeat)

    async def _find(self, event_id: str, known: Post | None, target: str, *, replayed: bool) -> Post | None:
        """Return the message as it is in the channel; None when it is to be posted.

        Raises:
            PermanentDeliveryError: it is not to be posted, as nobody can know whether it is there.
        """
        if known is not None and known.in_doubt:
            return await self._find_doubtful(event_id, known)
        ts = (await self._look_back(target)).get(event_id)
        return None if ts is None or replayed else Post(channel=target, ts=ts)

    async def _find_doubtful(self, event_id: str, post: Post) -> Post | None:
        channel_id = await self._id_of(post.channel)
        why = f"the id of {post.channel} is not known"
        if channel_id is not None:
            try:
                ts = await self._search(channel_id, self._mark(event_id, post), post.since)
            except UnreadableError as err:
                why = err.reason
            else:
                return None if ts is None else msgspec.structs.replace(post, channel=channel_id, ts=ts)
        if self._options.on_ambiguous == "repost":
            return None
        await self._messages.keep(event_id, msgspec.structs.replace(post, dropped=True))
        raise PermanentDeliveryError(_dropped(why))

    async def _search(self, channel_id: str, mark: Mark, since: float | None) -> str | None:
        """Look for a message through the whole channel from its first attempt on; return its `ts`."""
        oldest = None if since is None else since - MARGIN
        cursor = self._cursors.pop(mark.id, None)
        while True:
            try:
                page = await self._api.history(channel_id, oldest=oldest, cursor=cursor)
            except NotTakenError as err:
                if cursor is not None and err.retry_after is not None and len(self._cursors) < _SEARCHES:
                    self._cursors[mark.id] = cursor
                raise
            for message in page.messages:
                if mark_of(message) == mark:
                    return str(message.get("ts") or "")
            if page.cursor is None:
                return None
            if page.cursor == cursor:
                raise TemporaryDeliveryError("Slack: the channel's history leads back to itself")
            cursor = page.cursor

    async def _look_back(self, target: str) -> dict[str, str]:
        """Read once what the newest messages are; that of a channel that cannot be read is nothing."""
        if self._posted_before is None:
            found: dict[str, str] = {}
            channel_id = await self._id_of(target)
            try:
                if channel_id is not None:
                    for message in (await self._api.history(channel_id, oldest=None)).messages:
                        mark = mark_of(message)
                        if mark is not None and mark.sink == self._name:
                            found[mark.id] = str(message.get("ts") or "")
            except (SinkRefusedError, PermanentDeliveryError):
                pass
            self._posted_before = found
        return self._posted_before

    async def _id_of(self, channel: str) -> str | None:
        return channel if CHANNEL_ID.fullmatch(channel) else await self._messages.id_of(channel)


def _dropped(why: str) -> str:
    return f"whether Slack has this message is not known, and on_ambiguous is drop ({why})"
