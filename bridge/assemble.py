"""Small decisions of the composition root that need no loop: sinks, destinations, scopes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack

from bridge.awx import SourceOptions
from bridge.config import Config
from bridge.contract import FIELDS
from bridge.errors import ConfigError, Problem
from bridge.keep import Keeper
from bridge.model import Job, SinkRecord
from bridge.normalize import job_fields
from bridge.ports import Clock, Sink, SinkContext, Snapshot, State
from bridge.route import compile_match
from bridge.sinks import SinkKind
from bridge.watch import Scope


async def open_sinks(
    config: Config, stack: AsyncExitStack, *, kinds: Mapping[str, SinkKind], state: State, clock: Clock
) -> dict[str, Sink]:
    """Open every sink of the configuration on `stack`, each with its memory in `state`."""
    opened: dict[str, Sink] = {}
    for name, options in config.sinks.items():
        context = SinkContext(bridge=config.name, name=name, clock=clock, memory=state.memory_of(name))
        kind = kinds[options.model_dump()["type"]]
        opened[name] = await stack.enter_async_context(kind.open(options, context))
    return opened


def check_destinations(
    config: Config, snapshot: Snapshot, *, keeper: Keeper, accept: Collection[str], now: float
) -> None:
    """Refuse sinks that now deliver elsewhere; remember the others, and which ones have left.

    Raises:
        ConfigError: a sink's places belong to another destination, and it is not in `accept`.
    """
    problems = []
    for name, options in config.sinks.items():
        known = snapshot.sinks.get(name)
        if known is not None and known.destination != options.destination and name not in accept:
            problems.append(
                Problem(
                    f"sinks.{name}",
                    f"this sink delivered to {known.destination} before, now to {options.destination}: "
                    f"give it another name to start anew there, or start once with --accept {name} "
                    "to go on from its places",
                )
            )
    if problems:
        raise ConfigError(problems)
    for name, options in config.sinks.items():
        keeper.sink(name, SinkRecord(destination=options.destination))
    for name, known in snapshot.sinks.items():
        if name not in config.sinks and known.removed_at is None:
            keeper.sink(name, SinkRecord(destination=known.destination, removed_at=now))


def scope_of(options: SourceOptions, *, public_url: str) -> Scope:
    """Compile which jobs of a source are followed.

    Raises:
        ConfigError: `exclude` is no match.
    """
    jobs = options.jobs
    if not jobs.exclude:
        return Scope(options.start, frozenset(jobs.types), lambda _: False)
    matcher = compile_match(jobs.exclude, path="jobs.exclude", known_fields=FIELDS)

    def excluded(job: Job) -> bool:
        return matcher.matches(job_fields(job, public_url=public_url))

    return Scope(options.start, frozenset(jobs.types), excluded)
