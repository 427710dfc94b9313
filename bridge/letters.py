"""Tries dead letters again, or drops them, by order of an operator.

A dead letter was settled when it died: trying it again sends one event, marked `replayed`, out of
its job's order, and moves no place. It goes when the sink has accepted it, and stays otherwise.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal

import msgspec

from bridge.anew import AT_ONCE, Anew, Found, Lost, Sought
from bridge.deliver import COPY_BYTES, Delivery, Health
from bridge.encode import read_id, replayed
from bridge.errors import (
    DeliveryError,
    OrderError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
)
from bridge.keep import Keeper
from bridge.model import DeadLetter, Event, JobKey, Order, Outcome
from bridge.ports import Clock, Observer, State
from bridge.render.clean import line_of

SEND_LIMIT: Final = 60.0
"""Seconds that one letter may take from its turn to the sink's answer."""

LONGEST_PAUSE: Final = 60.0
"""Seconds for which a sink that wants to be left alone is waited for; longer, its letters stay."""

TRIES: Final = 3
"""How often one letter is sent to a sink that asks for a pause, and how many letters may fail for now
in a row before the sink's others are left."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of both orders. Without `ids`, all that were there when the order was given."""

    ids: tuple[str, ...] | None = None
    sink: str | None = None
    why: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one dead letter. `refused` by the sink, or `left` without being sent: `reason` why."""

    sink: str
    id: str
    result: Literal["sent", "sent_copy", "refused", "left", "dropped", "unknown"]
    reason: str | None = None


class Letters:
    """Carries out the orders about dead letters."""

    def __init__(
        self,
        anew: Anew,
        deliveries: Mapping[str, Delivery],
        *,
        state: State,
        keeper: Keeper,
        clock: Clock,
        observer: Observer,
    ) -> None:
        """`anew` finds what `deliveries` send."""
        self._anew = anew
        self._deliveries = deliveries
        self._state = state
        self._keeper = keeper
        self._clock = clock
        self._observer = observer

    def handlers(self) -> dict[str, Callable[[Order], Awaitable[Outcome]]]:
        """Return what carries out which kind of order."""
        return {"dead_letters.retry": self.retry, "dead_letters.drop": self.drop}

    async def retry(self, order: Order) -> Outcome:
        """Send dead letters once more; the details are `{letters: [Result]}`."""
        letters, results = await self._chosen(order)
        failures: Counter[str] = Counter()
        silent = self._anew.silent()
        for job, some in _by_job(letters):
            found = await self._anew.find(job, some, silent=silent)
            for letter in some:
                result = await self._retry(letter, found[letter.event_id], failures)
                self._observer.count("dead_letters_retried_total", sink=letter.sink, result=result.result)
                results.append(result)
        await self._keeper.durable()
        for sink in sorted({result.sink for result in results} - {""}):
            counts = Counter[str](result.result for result in results if result.sink == sink)
            self._observer.note("dead_letter.retried", sink=sink, who=order.who, **counts)
        return _told(results, "there are no dead letters to try again")

    async def drop(self, order: Order) -> Outcome:
        """Forget dead letters; the details are `{letters: [Result]}`."""
        letters, results = await self._chosen(order)
        for letter in letters:
            self._keeper.letter_gone(letter.sink, letter.event_id)
            self._observer.count("dead_letters_dropped_total", sink=letter.sink)
            results.append(Result(sink=letter.sink, id=letter.event_id, result="dropped"))
        await self._keeper.durable()
        why = line_of(_asked(order).why) or None
        for sink in sorted({letter.sink for letter in letters}):
            ids = iter([letter.event_id for letter in letters if letter.sink == sink])
            while some := list(islice(ids, AT_ONCE)):
                self._observer.note("dead_letter.dropped", sink=sink, who=order.who, why=why, ids=some)
        return _told(results, "there are no dead letters to drop")

    async def _chosen(self, order: Order) -> tuple[list[DeadLetter], list[Result]]:
        """Return the letters that are meant, oldest first, and a result for each id that has none."""
        asked = _asked(order)
        kept = [letter for letter in await self._state.dead_letters() if asked.sink in (None, letter.sink)]
        if asked.ids is None:
            return [letter for letter in kept if letter.at <= order.at], []
        there = {letter.event_id for letter in kept}
        unknown = [
            Result(sink=asked.sink or "", id=name, result="unknown", reason="there is no such dead letter")
            for name in asked.ids
            if name not in there
        ]
        return [letter for letter in kept if letter.event_id in asked.ids], unknown

    async def _retry(self, letter: DeadLetter, sought: Sought, failures: Counter[str]) -> Result:
        sink, name = letter.sink, letter.event_id
        delivery = self._deliveries.get(sink)
        if delivery is None:
            return Result(
                sink=sink, id=name, result="left", reason=f"sink {sink} is not in the configuration"
            )
        if failures[sink] >= TRIES:
            return Result(sink=sink, id=name, result="left", reason=f"sink {sink} fails, see the others")
        if isinstance(sought, Lost):
            return Result(sink=sink, id=name, result="left", reason=sought.why)
        try:
            waits = await self._send(delivery, replayed(sought.event))
        except DeliveryError as error:
            if isinstance(error, PermanentDeliveryError):
                failures[sink] = 0
            else:
                failures[sink] += TRIES if isinstance(error, SinkRefusedError) else 1
            self._bury_again(letter, sought, str(error))
            return Result(sink=sink, id=name, result="refused", reason=str(error))
        if waits is not None:
            return Result(sink=sink, id=name, result="left", reason=waits)
        failures[sink] = 0
        self._keeper.letter_gone(sink, name)
        return Result(sink=sink, id=name, result="sent_copy" if sought.copy else "sent")

    async def _send(self, delivery: Delivery, event: Event) -> str | None:
        """Send one event, or return why it was not even tried."""
        sink = delivery.lane.name
        for attempt in range(1, TRIES + 1):
            if delivery.health >= Health.DOWN:
                return f"sink {sink} is {delivery.health.name.lower()}: {delivery.reason}"
            if delivery.pause > LONGEST_PAUSE:
                return f"sink {sink} wants to be left alone for {delivery.pause:.0f} seconds"
            await asyncio.sleep(delivery.pause)
            try:
                async with asyncio.timeout(SEND_LIMIT):
                    await delivery.send_apart(event)
            except TimeoutError as err:
                raise TemporaryDeliveryError(f"no answer within {SEND_LIMIT:.0f} seconds") from err
            except TemporaryDeliveryError as error:
                if error.retry_after is None or attempt == TRIES:
                    raise
            else:
                return None
        return None

    def _bury_again(self, letter: DeadLetter, found: Found, reason: str) -> None:
        """Keep the letter with its new reason, and with what is the event today."""
        letter = msgspec.structs.replace(letter, reason=reason, at=self._clock.now())
        if not found.copy:
            body = found.event.body
            letter = msgspec.structs.replace(letter, copy=body[:COPY_BYTES], whole=len(body) <= COPY_BYTES)
        self._keeper.dead_letter(letter)


def _asked(order: Order) -> Asked:
    try:
        return msgspec.convert(order.arguments, Asked)
    except msgspec.ValidationError as err:
        raise OrderError(f"{order.kind} cannot be understood: {err}") from err


def _by_job(letters: Sequence[DeadLetter]) -> Iterator[tuple[JobKey | None, list[DeadLetter]]]:
    """Yield the letters job by job, so many at a time as may be asked for at once."""
    jobs: dict[JobKey | None, list[DeadLetter]] = {}
    for letter in letters:
        parts = read_id(letter.event_id)
        jobs.setdefault(parts[0] if parts else None, []).append(letter)
    for job, of_job in jobs.items():
        for start in range(0, len(of_job), AT_ONCE):
            yield job, of_job[start : start + AT_ONCE]


def _told(results: Sequence[Result], nothing: str) -> Outcome:
    """Say what became of the letters; `nothing` where there was none."""
    if not results:
        return Outcome(done=True, sentence=nothing, details={"letters": []})
    counts = Counter[str](result.result for result in results)
    done = counts["sent"] + counts["sent_copy"] + counts["dropped"] == len(results)
    sentence = _sentence(results[0]) if len(results) == 1 else _sum(counts, len(results))
    return Outcome(done=done, sentence=sentence, details={"letters": msgspec.to_builtins(results)})


def _sentence(result: Result) -> str:
    sink, name, why = result.sink, result.id, result.reason
    return {
        "sent": f"sent {name} to {sink} again, out of its job's order",
        "sent_copy": f"sent the kept copy of {name} to {sink}, out of its job's order",
        "refused": f"{sink} does not accept {name}, which stays a dead letter: {why}",
        "left": f"{name} was not sent to {sink} and stays a dead letter: {why}",
        "dropped": f"dropped {name} for {sink}",
        "unknown": f"there is no dead letter {name}" + (f" for {sink}" if sink else ""),
    }[result.result]


def _sum(counts: Mapping[str, int], total: int) -> str:
    sent, stay = counts["sent"] + counts["sent_copy"], counts["refused"] + counts["left"]
    copies = f" ({counts['sent_copy']} as the kept copy)" if counts["sent_copy"] else ""
    parts = [
        f"{sent} sent{copies}, out of their jobs' order" if sent else "",
        f"{counts['dropped']} dropped" if counts["dropped"] else "",
        f"{stay} not accepted or not sent: these stay" if stay else "",
        f"{counts['unknown']} not found" if counts["unknown"] else "",
    ]
    return f"of {total} dead letters: {'; '.join(filter(None, parts))}"
