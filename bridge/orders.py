"""Carries out what commands ask of the running bridge, and writes down what became of it.

An order is begun at most once: what was under way when the bridge ended is answered with that, so
that an order which ends the bridge cannot end it again and again. Only a room that notes how far it
is, and bounds its starts itself, is handed its order again. Orders to one room (the part of
their kind before the dot) are carried out one after the other, rooms do not wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from bridge.errors import BridgeError, StateError
from bridge.model import Order, Outcome
from bridge.ports import Clock, Observer, Orders

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for orders."""

EXPIRES: Final = 86_400.0
"""Seconds after which an order is not begun any more: whoever gave it has gone on long ago."""

Handler = Callable[[Order], Awaitable[Outcome]]
"""Carries out one kind of order. A `BridgeError` that it raises is the reason why it was not done."""


class Clerk:
    """The loop that carries out orders."""

    def __init__(
        self,
        orders: Orders,
        handlers: Mapping[str, Handler],
        *,
        resumable: Collection[str] = (),
        clock: Clock,
        observer: Observer,
    ) -> None:
        """`handlers` knows who carries out which kind of order; `resumable` kinds go on after a restart."""
        self._orders = orders
        self._handlers = dict(handlers)
        self._clock = clock
        self._observer = observer
        self._resumable = resumable
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Carry out orders until cancelled.

        Raises:
            StateError: orders cannot be read, or an outcome not be written.
        """
        for order in await self._orders.orders():
            if order.begun and order.kind not in self._resumable:
                await self._end(
                    order, _failed("the bridge ended while it carried this out: see what is left")
                )
        known: set[int] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for order in await self._orders.orders():
                    room = order.kind.partition(".")[0]
                    if order.id not in known and room not in self._busy:
                        known.add(order.id)
                        self._busy.add(room)
                        tasks.create_task(self._carry_out(order, room), name=f"order {order.id}")
                await asyncio.sleep(LOOK_EVERY)

    async def _carry_out(self, order: Order, room: str) -> None:
        try:
            await self._orders.begin_order(order.id)
            await self._end(order, await self._outcome(order))
        finally:
            self._busy.discard(room)

    async def _outcome(self, order: Order) -> Outcome:
        if not order.begun and self._clock.now() - order.at > EXPIRES:
            return _failed("the bridge did not run for a day after this was asked for: it is too late now")
        handler = self._handlers.get(order.kind)
        if handler is None:
            return _failed(f"this version of the bridge does not know how to do {order.kind}")
        try:
            return await handler(order)
        except StateError:
            raise
        except BridgeError as error:
            return _failed(str(error))

    async def _end(self, order: Order, outcome: Outcome) -> None:
        await self._orders.end_order(order.id, outcome)
        kind = order.kind if order.kind in self._handlers else "unknown"
        self._observer.count("orders_total", kind=kind, done=str(outcome.done).lower())
        self._observer.note(
            "order.carried_out" if outcome.done else "order.failed",
            order=order.id,
            kind=order.kind,
            who=order.who,
            result=outcome.sentence,
        )


def _failed(sentence: str) -> Outcome:
    return Outcome(done=False, sentence=sentence)
