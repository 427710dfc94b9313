"""Processes of a test: the command and the simulated AWX, with their logs, ended in any case.

Output goes to files, so that no pipe can hold a process up and a failed test shows what was said.
Nothing here sleeps to wait for an effect: `until` looks again and again, up to a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
EXIT_LIMIT = 30.0
LOOK_EVERY = 0.05


async def until(check: Callable[[], Any], *, within: float, what: str = "") -> Any:
    """Return what `check` gives as soon as it is true; `check` may be a coroutine function.

    Raises AssertionError after `within` seconds; `what` says what was waited for.
    """
    end = time.monotonic() + within
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"not within {within:.0f} s: {what or check}"
        await asyncio.sleep(LOOK_EVERY)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Process:
    """One running process; what it prints is in `out` and `err`."""

    def __init__(self, folder: Path, name: str, *words: object, environment: dict[str, str] | None = None):
        self.out = folder / f"{name}.out"
        self.err = folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._begins = err.tell()
            self._popen = subprocess.Popen(
                [sys.executable, *map(str, words)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs; a negative one is the signal that ended it."""
        return self._popen.poll()

    def errors(self) -> str:
        """Return what this process (not one before it in the same file) wrote to standard error."""
        with self.err.open("rb") as file:
            file.seek(self._begins)
            return file.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    async def ends(self, *, within: float = EXIT_LIMIT) -> int:
        """Wait for its end and return the exit code."""
        await until(lambda: self.code is not None, within=within, what=f"the end of {self.err.stem}")
        return self._popen.returncode

    async def stop(self, *, within: float = EXIT_LIMIT) -> int:
        """End it as an operator does: SIGTERM."""
        self.signal(signal.SIGTERM)
        return await self.ends(within=within)

    def kill(self) -> None:
        """End it as a power cut does: SIGKILL."""
        if self.code is None:
            self._popen.kill()
        self._popen.wait(EXIT_LIMIT)


class Bridge(Process):
    """`awx-bridge run FILE`. `entries` are the lines of its log so far."""

    def __init__(self, folder: Path, config: Path, *words: object):
        super().__init__(folder, "bridge", "-m", "bridge", "run", config, *words)
        self.entries: list[dict[str, Any]] = []
        self._read = self._begins

    def look(self) -> list[dict[str, Any]]:
        """Read on in the log; return `entries`."""
        with self.err.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new.rfind(b"\n") + 1
        self._read += whole
        for line in new[:whole].splitlines():
            if line.startswith(b"{"):
                self.entries.append(json.loads(line))
        return self.entries

    def said(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Return the lines called `event` that have these facts."""
        wanted = {"event": event, **facts}.items()
        return [
            entry for entry in self.look() if wanted <= {k: _hashable(v) for k, v in entry.items()}.items()
        ]

    async def says(
        self, event: str, *, within: float = 20.0, count: int = 1, **facts: object
    ) -> dict[str, Any]:
        """Wait for line number `count` of this kind and return it."""

        def check() -> dict[str, Any] | None:
            found = self.said(event, **facts)
            assert self.code is None or len(found) >= count, (
                f"ended with {self.code}: {self.errors()[-3000:]}"
            )
            return found[count - 1] if len(found) >= count else None

        return await until(check, within=within, what=f"{event} {facts} in {self.errors()[-3000:]}")


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Simulated(Process):
    """`python -m simulator …`: an AWX at `url`, steered through its paths below `/_sim/`."""

    def __init__(self, folder: Path, *words: object):
        super().__init__(folder, "simulator", "-m", "simulator", *words)
        self.url = ""

    async def ready(self) -> None:
        def listening() -> bool:
            assert self.code is None, self.errors()
            return self.out.read_text().endswith("\n")

        await until(listening, within=30, what="the simulator's address")
        self.url = self.out.read_text().split()[-1]

    async def truth(self) -> dict[str, Any]:
        return await self._ask("GET", "truth")

    async def stats(self) -> dict[str, Any]:
        return await self._ask("GET", "stats")

    async def outage(self, kind: str, **how: object) -> None:
        """Begin an outage; see `python -m simulator` for the kinds."""
        await self._ask("POST", "outage", json={"kind": kind, **how})

    async def mend(self) -> None:
        """End all outages."""
        await self._ask("DELETE", "outage")

    async def play(self, scenario: str) -> list[int]:
        """Let a scenario's jobs enter now; return their ids."""
        return (await self._ask("POST", "play", json={"scenario": scenario}))["jobs"]

    async def _ask(self, method: str, what: str, **more: object) -> Any:
        timeout = aiohttp.ClientTimeout(total=30)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"{self.url}/_sim/{what}", **more) as answer,
        ):
            body = await answer.json()
            assert answer.status < 300, body
            return body


@contextlib.asynccontextmanager
async def simulated(folder: Path, *words: object) -> AsyncIterator[Simulated]:
    """Run the simulator for the length of the block."""
    awx = Simulated(folder, *words)
    try:
        await awx.ready()
        yield awx
    finally:
        awx.kill()


@contextlib.contextmanager
def bridges(folder: Path) -> Any:
    """Yield a function that starts the command with a configuration; kill what is left at the end."""
    started: list[Bridge] = []

    def start(config: Path, *words: object) -> Bridge:
        started.append(Bridge(folder, config, *words))
        return started[-1]

    try:
        yield start
    finally:
        for bridge in started:
            bridge.kill()
