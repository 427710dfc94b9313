"""Fakes of the ports for tests of loops: they keep the ports' promises, in memory, on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from bridge.encode import dump
from bridge.errors import StateError
from bridge.model import DeadLetter, JobKey, JobRecord, Order, Outcome, Place, SinkRecord, SourceRecord
from bridge.observe import check_metric, check_note
from bridge.ports import Changes, Clock, Snapshot

BASE = 1_780_000_000.0
"""The epoch second at which a FakeClock's event loop shows 0."""

DEAD_LETTERS_KEPT = 1_000
REMOVED_SINK_KEPT = 7 * 86_400.0
ENDED_ORDERS_KEPT = 7 * 86_400.0
SINK_MEMORY_KEPT = 10_000

Labels = tuple[tuple[str, str], ...]


class FakeClock:
    """Wall time that follows the running event loop's time; `skew` moves it, as an operator would."""

    def __init__(self, base: float = BASE) -> None:
        self.base = base
        self.skew = 0.0

    def now(self) -> float:
        """Return epoch seconds; without a running loop the loop's time counts as 0."""
        try:
            elapsed = asyncio.get_running_loop().time()
        except RuntimeError:
            elapsed = 0.0
        return self.base + elapsed + self.skew


class FakeObserver:
    """Remembers everything that was observed, in order; names outside the catalogue are errors."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.counts: Counter[tuple[str, Labels]] = Counter()
        self.gauges: dict[tuple[str, Labels], float] = {}

    def note(self, name: str, /, **facts: object) -> None:
        check_note(name, facts)
        self.notes.append((name, facts))

    def count(self, metric: str, amount: float = 1, /, **labels: str) -> None:
        check_metric(metric, labels, counter=True)
        self.counts[metric, tuple(sorted(labels.items()))] += amount  # type: ignore[assignment]

    def gauge(self, metric: str, value: float, /, **labels: str) -> None:
        check_metric(metric, labels, counter=False)
        self.gauges[metric, tuple(sorted(labels.items()))] = value

    def noted(self, name: str) -> list[dict[str, object]]:
        """Return the facts of each note of this name."""
        return [facts for noted, facts in self.notes if noted == name]

    def counted(self, metric: str, /, **labels: str) -> float:
        """Return the sum of a counter over all label sets that contain `labels`."""
        wanted = set(labels.items())
        return sum(n for (name, has), n in self.counts.items() if name == metric and wanted <= set(has))

    def gauged(self, metric: str, /, **labels: str) -> float | None:
        """Return the last value of a gauge with exactly these labels, or None."""
        return self.gauges.get((metric, tuple(sorted(labels.items()))))


class FakeSinkMemory:
    """A sink's memory that survives as long as `values` do; text, as what is on disk."""

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        self.values = {} if values is None else values

    async def get(self, key: str, /) -> object | None:
        """Return the value put under `key`, or None."""
        return msgspec.json.decode(self.values[key]) if key in self.values else None

    async def put(self, key: str, value: object, /) -> None:
        """Put a value in the place of the one before: it is the newest now."""
        self.values.pop(key, None)
        self.values[key] = dump(value)

    async def delete(self, key: str, /) -> None:
        """Forget the value under `key`, if there is one."""
        self.values.pop(key, None)


class MemoryState:
    """State that survives as long as the object does.

    `commits` are the changes of every commit that succeeded. `failure`, when set, is raised by
    every later call and nothing is written; `delay` is how long a commit takes, in seconds of the
    event loop's time. Sinks that `clock` shows as removed 7 days ago go at `load`.
    """

    def __init__(self, *, delay: float = 0.0, clock: Clock | None = None) -> None:
        self.jobs: dict[JobKey, JobRecord] = {}
        self.places: dict[tuple[JobKey, str], Place] = {}
        self.sources: dict[str, SourceRecord] = {}
        self.sinks: dict[str, SinkRecord] = {}
        self.letters: dict[tuple[str, str], DeadLetter] = {}
        self.given: dict[int, Order] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.ended: dict[int, float] = {}
        self.memories: dict[str, dict[str, bytes]] = {}
        self.commits: list[Changes] = []
        self.failure: StateError | None = None
        self.delay = delay
        self.clock = clock or FakeClock()

    async def load(self) -> Snapshot:
        self._fail()
        self._clean()
        return Snapshot(
            jobs={key: record for key, record in self.jobs.items() if not record.done},
            done={key: record for key, record in self.jobs.items() if record.done},
            places={where: place for where, place in self.places.items() if where[0] in self.jobs},
            sources=dict(self.sources),
            sinks=dict(self.sinks),
        )

    async def commit(self, changes: Changes, /) -> None:
        self._fail()
        if self.delay:
            await asyncio.sleep(self.delay)
            self._fail()
        self.places = {w: place for w, place in self.places.items() if w[0] not in changes.forgotten}
        self.jobs = {key: record for key, record in self.jobs.items() if key not in changes.forgotten}
        for key, record in changes.jobs.items():
            bare = msgspec.structs.replace(record.job, extra_vars=None)
            self.jobs[key] = msgspec.structs.replace(record, job=bare)
        self.places |= changes.places
        self.sources |= changes.sources
        self.sinks |= changes.sinks
        for where in changes.letters_gone:
            self.letters.pop(where, None)
        for letter in changes.dead_letters:
            self._bury(letter)
        self.commits.append(changes)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """Return the kept dead letters, oldest first."""
        self._fail()
        return list(self.letters.values())

    async def job(self, key: JobKey, /) -> JobRecord | None:
        """Return what is remembered of a job."""
        self._fail()
        return self.jobs.get(key)

    def give(self, kind: str, arguments: Mapping[str, object], *, who: str, at: float) -> int:
        """Give an order as a command does; return its number."""
        number = max(self.given, default=0) + 1
        read = msgspec.json.decode(dump(arguments))
        self.given[number] = Order(id=number, kind=kind, arguments=read, who=who, at=at)
        return number

    def outcome(self, number: int) -> Outcome | None:
        """Return what became of an order, as a command asks for it."""
        return self.outcomes.get(number)

    async def orders(self) -> Sequence[Order]:
        """Return the orders without an outcome, oldest first."""
        self._fail()
        return [order for number, order in self.given.items() if number not in self.outcomes]

    async def begin_order(self, order_id: int, /) -> None:
        """Mark an order as begun."""
        self._fail()
        if order_id in self.given:
            self.given[order_id] = msgspec.structs.replace(self.given[order_id], begun=True)

    async def note_progress(self, order_id: int, progress: Mapping[str, object], /) -> None:
        """Write how far an order is."""
        self._fail()
        if order_id in self.given:
            read = msgspec.json.decode(dump(progress))
            self.given[order_id] = msgspec.structs.replace(self.given[order_id], progress=read)

    def progress(self, number: int) -> Mapping[str, object] | None:
        """Return how far an order is, as a command asks for it."""
        return self.given[number].progress if number in self.given else None

    async def end_order(self, order_id: int, outcome: Outcome, /) -> None:
        """Write an order's outcome."""
        self._fail()
        if order_id in self.given and order_id not in self.outcomes:
            text = dump(msgspec.structs.asdict(outcome))
            self.outcomes[order_id] = msgspec.json.decode(text, type=Outcome)
            self.ended[order_id] = self.clock.now()

    def memory_of(self, sink: str, /) -> FakeSinkMemory:
        """Return what the sink of this name remembers."""
        return FakeSinkMemory(self.memories.setdefault(sink, {}))

    def _bury(self, letter: DeadLetter) -> None:
        letter = msgspec.structs.replace(letter, reason=letter.reason.encode(errors="replace").decode())
        self.letters.pop((letter.sink, letter.event_id), None)
        self.letters[letter.sink, letter.event_id] = letter
        of_sink = [where for where in self.letters if where[0] == letter.sink]
        for where in of_sink[:-DEAD_LETTERS_KEPT]:
            del self.letters[where]

    def _clean(self) -> None:
        long_ago = self.clock.now() - REMOVED_SINK_KEPT
        gone = {n for n, r in self.sinks.items() if r.removed_at is not None and r.removed_at <= long_ago}
        self.sinks = {name: record for name, record in self.sinks.items() if name not in gone}
        self.places = {w: place for w, place in self.places.items() if w[1] not in gone and w[0] in self.jobs}
        self.letters = {w: letter for w, letter in self.letters.items() if w[0] not in gone}
        for sink, values in self.memories.items():
            for key in list(values) if sink in gone else list(values)[:-SINK_MEMORY_KEPT]:
                del values[key]
        old = [n for n, at in self.ended.items() if at <= self.clock.now() - ENDED_ORDERS_KEPT]
        for number in old:
            del self.given[number], self.outcomes[number], self.ended[number]

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
