"""Events to a file of this machine as JSON Lines, one flat object a line.

Accepted means on the disk: each batch is one append and one fsync. Whatever moves the file away
may do so at any time. Files are only touched in a worker thread.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from bridge import encode
from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.model import Event
from bridge.options import Batching, SinkOptions
from bridge.ports import Sink, SinkContext

_REFUSED: Final = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,
    }
)
"""What stays so until somebody changes the path or its rights; all else (ENOSPC, EIO) may pass."""

_BLOCK: Final = 64 * 1024


class FileOptions(SinkOptions):
    """A file."""

    type: Literal["file"]
    path: Path = Field(description="the file; its folder is made when missing")
    fsync: bool = Field(
        default=True, description="false leaves it to the system when a batch reaches the disk"
    )

    @property
    def batching(self) -> Batching:
        """Large batches: an fsync costs the same for one event and for a thousand."""
        return Batching(max_events=1000, max_bytes=8 << 20, in_flight=1)

    @property
    def destination(self) -> str:
        """The path."""
        return str(self.path)


class FileSink:
    """Appends events to one file; nobody else may append to it."""

    def __init__(self, options: FileOptions) -> None:
        """Open nothing yet: the first batch does."""
        self._options = options
        self._fd: int | None = None
        # One thread, first come first served: a cancelled send may still be writing, and nothing
        # that comes later may overtake it.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="file-sink")

    async def send(self, events: Sequence[Event], /) -> None:
        """Append one line for each event."""
        lines = [encode.shape(event, fields=self._options.fields, max_bytes=None) + b"\n" for event in events]
        try:
            await self._in_thread(partial(self._append, b"".join(lines)))
        except OSError as err:
            reason = f"{err.strerror or type(err).__name__}: {self._options.path}"
            if err.errno in _REFUSED:
                raise SinkRefusedError(reason) from err
            raise TemporaryDeliveryError(reason) from err

    async def close(self) -> None:
        """Close the file."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _append(self, data: bytes) -> None:
        try:
            fd = self._current()
            before = os.fstat(fd).st_size
            _write_whole(fd, data, before)
            if self._options.fsync:
                os.fsync(fd)
        except OSError:
            self._close()  # the next one opens anew, and repairs what is half there
            raise

    def _current(self) -> int:
        if self._fd is not None and self._moved_away(self._fd):
            self._close()
        if self._fd is None:
            self._fd = _open_for_lines(self._options.path, durable=self._options.fsync)
        return self._fd

    def _moved_away(self, fd: int) -> bool:
        try:
            there = os.stat(self._options.path)  # noqa: PTH116 - compared with fstat
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(fd))

    def _close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):  # what counts has been synced, or its error raised, before
                os.close(fd)


def _open_for_lines(path: Path, *, durable: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    try:
        _repair(fd, path)
        if new and durable:
            _sync_folder(path.parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_whole(fd: int, data: bytes, before: int) -> None:
    """Append `data` whole, or leave the file as it was, `before` bytes long."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError:
        with suppress(OSError):  # then the repair at the next opening does it
            os.ftruncate(fd, before)
        raise


def _repair(fd: int, path: Path) -> None:
    """Cut off a last line that a crash left without its end: it was never accepted."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise SinkRefusedError(f"not a regular file: {path}")
    size = end = found.st_size
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - _BLOCK)
        tail = os.pread(fd, end - start, start) + tail
        end = start
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return
    # Every line of ours is a JSON object. Anything else is somebody's file, given here by mistake.
    if not torn.startswith(b"{"):
        raise SinkRefusedError(f"does not look like JSON Lines, left untouched: {path}")
    os.ftruncate(fd, size - len(torn))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@asynccontextmanager
async def open_file(options: FileOptions, context: SinkContext) -> AsyncGenerator[Sink]:  # noqa: ARG001 - every opener takes both
    """Open a file sink."""
    sink = FileSink(options)
    try:
        yield sink
    finally:
        await sink.close()
