"""State in memory and in SQLite, opened again and again by the suites that both must pass."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager

from bridge.state.sqlite import open_state
from bridge.state.visit import visit
from tests.support.fakes import MemoryState


class MemoryHouse:
    """Opens the same memory again and again."""

    def __init__(self, clock):
        self.state = MemoryState(clock=clock)

    @asynccontextmanager
    async def open(self):
        yield self.state

    @contextmanager
    def visit(self):
        yield self.state


class SqliteHouse:
    def __init__(self, path, clock):
        self.path = path
        self.clock = clock

    def open(self):
        return open_state(self.path, owner="test", clock=self.clock)

    def visit(self):
        """Come as a command does."""
        return visit(self.path, giving=True)
