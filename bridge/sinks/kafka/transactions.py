"""Delivers events to Kafka exactly once: in transactions that carry the sink's places too.

The protocol, in the order in which it is safe: a new producer starts, which ends what any producer of
the same transactional id had begun and fences it; only then are the places read. Every answer of a
transaction is awaited before its commit. After any failure the producer is never used again. A commit
without an answer is in doubt until the next session reads the transactions' own record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn

from bridge.errors import (
    PermanentDeliveryError,
    SinkRefusedError,
    StateOwnedError,
    TemporaryDeliveryError,
)
from bridge.model import Event, JobKey, Place
from bridge.ports import Clock
from bridge.sinks.kafka.batches import Limits, Record, fill
from bridge.sinks.kafka.errors import CLIENT_ERRORS, Failed, translate
from bridge.sinks.kafka.keeping import PlacesTopic
from bridge.sinks.kafka.layout import Layout, Queues, pack
from bridge.sinks.kafka.options import KafkaOptions
from bridge.sinks.kafka.places import Kept, Owner, Transaction, claim, moves
from bridge.sinks.kafka.rounds import Result, push
from bridge.sinks.kafka.session import CLOSE_LIMIT, Session, within
from bridge.sinks.kafka.sink import KafkaSink
from bridge.sinks.kafka.topics import DEFAULT_MAX_BYTES, Topic
from bridge.sinks.kafka.unseen import Doubt, Places, Unseen

SHARE: Final = 0.8
"""Of `transaction_timeout` that one transaction may take here, so that we give up before the brokers do."""

MOST_PLACES: Final = 10_000
"""Records of one batch for the places topic."""


class TransactionalKafkaSink:
    """A `TransactionalSink` on one cluster."""

    def __init__(
        self,
        options: KafkaOptions,
        session: Session,
        topic: PlacesTopic,
        *,
        owner: Owner,
        plain: KafkaSink,
        clock: Clock,
    ) -> None:
        """The session and the topic belong to this sink alone; `owner` is this sink, in this process.

        `plain` delivers what somebody sends who never asked for the places.
        """
        self._options = options
        self._plain = plain
        self._session = session
        self._topic = topic
        self._owner = owner
        self._clock = clock
        self._layout = Layout(options, clock)
        self._begun = False
        self._before: Owner | None = None
        self._home = Topic(topic.name, (0,), DEFAULT_MAX_BYTES)
        self._number = 0
        self._doubt: Doubt | None = None
        self._unseen = Unseen()
        self._notes: Mapping[str, bytes] = {}
        self._one_at_a_time = asyncio.Lock()

    async def send(self, events: Sequence[Event], /) -> None:
        """Deliver `events` and move no place; see `ports.Sink`.

        Before `places` it does so without a transaction: a trial must not push a running bridge out.
        """
        if self._begun:
            await self.send_with_places(events, {})
        else:
            await self._plain.send(events)

    async def places(self) -> Mapping[JobKey, Place]:
        """Take the sink over, or come back to it; see `ports.TransactionalSink`."""
        async with self._one_at_a_time:
            await self._session.close()
            kept = await self._open()
            self._unseen.clear()
            self._notes = kept.notes
            return kept.places

    def notes(self) -> Mapping[str, bytes]:
        """Return what was noted, as the last `places` found it; see `ports.TransactionalSink`."""
        return self._notes

    async def send_with_places(
        self,
        events: Sequence[Event],
        places: Mapping[JobKey, Place | None],
        /,
        *,
        notes: Mapping[str, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Deliver `events` and move `places`, both or neither; see `ports.TransactionalSink`.

        Takes at most `delivery_timeout` and some seconds to clean up, and retries nothing. Where a new
        session is needed, each of its steps has that long.
        """
        async with self._one_at_a_time:
            if not self._session.healthy:
                await self._open()
            unsent, unmoved = self._unseen.unsent(events), self._unseen.unmoved(places)
            if unsent or unmoved or notes:
                await self._deliver(unsent, unmoved, notes)
            self._unseen.told(events, places)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._options.delivery_timeout

    async def _open(self) -> Kept:
        """Begin a session, and find out what became of a transaction in doubt."""
        ready = False
        try:
            if self._begun:
                await self._look_who_owns_it()
            producer, _ = await self._session.ready(self._deadline())
            self._layout.topics.forget()
            kept = await self._load(producer)
            if not self._begun:
                await self._take_over(producer, kept)
            ready = True
        finally:
            if not ready:
                self._session.spoil()
        last, doubt, self._doubt = kept.last, self._doubt, None
        self._number = 0 if last is None else last.number
        if doubt is not None and last == self._transaction(doubt.number):
            self._unseen.add(doubt)
        return kept

    async def _look_who_owns_it(self) -> None:
        """Leave the sink alone if another instance has it: a new producer of ours would fence its.

        What is read here may be behind, by our own taking over for instance.
        """
        owner = (await self._topic.glance()).owner
        known = {kept.instance for kept in (self._owner, self._before) if kept is not None}
        if owner is not None and owner.instance not in known:
            self._refuse(owner)

    async def _load(self, producer: Any) -> Kept:
        try:
            async with asyncio.timeout_at(self._deadline()):
                self._home = await self._topic.find(producer)
        except TimeoutError as err:
            raise translate(err, f"asking for topic {self._topic.name}") from err
        kept = await self._topic.load()
        owner = kept.owner
        if owner is not None and owner.transactional_id != self._owner.transactional_id:
            raise SinkRefusedError(
                f"topic {self._topic.name} holds the places of transactional id {owner.transactional_id}: "
                "give every sink a places_topic of its own"
            )
        if self._begun and owner is None:
            raise SinkRefusedError(
                f"topic {self._topic.name} has lost this sink's places: restart the bridge to go on from its "
                "state, with a risk of repeats"
            )
        if self._begun and owner is not None and owner.instance != self._owner.instance:
            self._refuse(owner)
        return kept

    def _refuse(self, owner: Owner) -> NoReturn:
        raise StateOwnedError(
            f"Kafka's transactional id {owner.transactional_id} has been taken over by {owner}: stop one of "
            "the two, or give each its own name"
        )

    async def _take_over(self, producer: Any, kept: Kept) -> None:
        records = claim(self._owner, now=self._clock.now())
        await self._transact(producer, self._with_records({}, producer, records), self._deadline())
        self._before = kept.owner
        self._begun = True

    def _transaction(self, number: int) -> Transaction:
        return Transaction(number=number, instance=self._owner.instance)

    def _with_records(self, queues: Queues, producer: Any, records: Iterable[Record]) -> Queues:
        limits = Limits(self._home.max_bytes, MOST_PLACES)
        return queues | {(self._home.name, 0): fill(records, producer.create_batch, limits)}

    async def _deliver(
        self, events: Sequence[Event], places: Places, notes: Mapping[str, bytes | None]
    ) -> None:
        deadline = self._deadline()
        producer, _ = await self._session.ready(deadline)
        topics, failures = await self._layout.find_topics(producer, events, deadline)
        if failures:
            self._session.spoil()
            raise _worst(failures.values())
        records, oversize = self._layout.sort(events, topics)
        if oversize:
            raise _worst(oversize.values())
        queues = pack(records, producer, lambda _: self._options.batching.max_events)
        doubt = Doubt(self._number + 1, events, places)
        moved = moves(places, self._transaction(doubt.number), now=self._clock.now(), notes=notes)
        await self._transact(producer, self._with_records(queues, producer, moved), deadline, doubt)
        self._number = doubt.number

    async def _transact(
        self, producer: Any, queues: Queues, deadline: float, doubt: Doubt | None = None
    ) -> None:
        """Send and commit `queues`; `doubt` is remembered when nobody knows whether that counted."""
        limit = min(deadline, asyncio.get_running_loop().time() + SHARE * self._options.transaction_timeout)
        asked = done = False
        try:
            async with asyncio.timeout_at(limit):
                await producer.begin_transaction()
                self._check(await push(producer, queues, limit))
                asked, self._doubt = True, doubt
                await producer.commit_transaction()
            self._doubt, done = None, True
        except (*CLIENT_ERRORS, AssertionError) as err:  # it asserts that a transaction is not over
            found = translate(err, "committing to Kafka")
            raise TemporaryDeliveryError(found.reason) if asked else found from err
        finally:
            if not done:
                if not asked:  # readers of read_committed wait for its end
                    await within(CLOSE_LIMIT, producer.abort_transaction())
                self._session.spoil()

    def _check(self, results: Sequence[Result]) -> None:
        """Raise the error that counts, if there is one: a commit would lose its events silently."""
        for result in results:
            if result.partition[0] == self._topic.name and isinstance(result.error, PermanentDeliveryError):
                raise SinkRefusedError(f"the places cannot be written: {result.error.reason}")
        errors = [result.error for result in results if result.error is not None]
        if errors:
            raise _worst(errors)


def _worst(errors: Iterable[Failed]) -> Failed:
    """Return the error that speaks for all: what nobody can mend first."""
    kinds = (SinkRefusedError, PermanentDeliveryError, TemporaryDeliveryError)
    return min(errors, key=lambda error: kinds.index(type(error)))
