"""Events to standard output as JSON Lines, for pipes and containers.

Accepted means taken by whoever reads the pipe, so far as the system tells. A reader that stops
reading is waited for, but not for ever, and a line is never left half written.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, Literal

from pydantic import Field

from bridge import encode
from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.model import Event
from bridge.options import Batching, Duration, SinkOptions
from bridge.ports import Sink, SinkContext

_STDOUT: Final = 1
# A pipe that select calls writable takes this much without blocking (POSIX's PIPE_BUF).
_CHUNK: Final = select.PIPE_BUF


class StdoutOptions(SinkOptions):
    """Standard output."""

    type: Literal["stdout"]
    timeout: Duration = Field(10.0, gt=0, description="how long to wait for a reader that does not read")

    @property
    def batching(self) -> Batching:
        """A few hundred lines at once."""
        return Batching(max_events=200, max_bytes=1 << 20, in_flight=1)

    @property
    def destination(self) -> str:
        """There is only one."""
        return "stdout"


class StdoutSink:
    """Writes events to one file descriptor."""

    def __init__(self, options: StdoutOptions, fd: int) -> None:
        """Write to `fd`, which stays the caller's."""
        self._options = options
        self._fd = fd
        self._unfinished = b""
        # One thread, first come first served: a cancelled send may still be writing.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stdout-sink")

    async def send(self, events: Sequence[Event], /) -> None:
        """Write one line for each event."""
        lines = [encode.shape(event, fields=self._options.fields, max_bytes=None) + b"\n" for event in events]
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, b"".join(lines), loop.time)
        except OSError as err:  # a broken pipe: nobody reads this any more
            raise SinkRefusedError(f"standard output is closed: {err.strerror}") from err

    def _write(self, data: bytes, now: Callable[[], float]) -> None:
        whole, done = self._unfinished + data, 0
        until = now() + self._options.timeout
        while done < len(whole):
            wait = max(0.0, until - now())
            if not select.select((), (self._fd,), (), wait)[1]:
                self._unfinished = _rest_of_line(whole, done, self._unfinished)
                raise TemporaryDeliveryError("nobody reads standard output")
            done += os.write(self._fd, whole[done : done + _CHUNK])
        self._unfinished = b""


def _rest_of_line(whole: bytes, done: int, unfinished: bytes) -> bytes:
    """Return what has to go out before any other line, after `done` bytes of `whole` went out."""
    if done == 0:
        return unfinished
    return whole[done : whole.index(b"\n", done - 1) + 1]


@asynccontextmanager
async def open_stdout(options: StdoutOptions, context: SinkContext) -> AsyncGenerator[Sink]:  # noqa: ARG001 - every opener takes both
    """Open standard output."""
    yield StdoutSink(options, _STDOUT)
