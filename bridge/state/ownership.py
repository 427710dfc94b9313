"""Who may use a state file: one bridge at a time, on a disk of this machine.

The lock is the kernel's (flock): it goes with its process, however that ends, so there are no stale
locks to clean up. The text in the lock file is only for people.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

from bridge.errors import StateError, StateOwnedError

NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afs", "ncpfs"})
"""Types on which SQLite's WAL (shared memory) or flock does not hold between machines.

9p and virtiofs are not among them: they are how sandboxes and virtual machines show a local disk.
"""

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_SHOWN: Final = 500
_PATIENCE: Final = (0.0, 0.01, 0.05, 0.2)
"""Seconds before each try to take the lock: a command may just be asking who has it."""


def file_system_of(folder: Path, mountinfo: str) -> str | None:
    """Return the type of the file system that holds `folder`, an absolute path without symlinks.

    `mountinfo` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5): field 5 is the mount
    point with spaces as octal escapes, the type follows a lone `-`). Of several mounts on one
    point the last one is visible. None when no line covers the folder.
    """
    best = -1
    found = None
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split()
        if not dash or len(fields) < 5 or not after.split():  # noqa: PLR2004 - the five fields before
            continue
        point = PurePosixPath(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best = len(point.parts)
            found = after.split()[0]
    return found


def refuse_network_disk(folder: Path, mountinfo: str) -> None:
    """Make sure that `folder` is no network share.

    Raises:
        StateError: it is on NFS, SMB or the like.
    """
    kind = file_system_of(folder, mountinfo)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StateError(
            f"{folder} is on a network file system ({kind}), on which a state file can be damaged: "
            "set state.path to a disk of this machine (in Kubernetes a block volume, ReadWriteOnce)"
        )


class OwnerLock:
    """The exclusive right to a state file, held from here to `release` or the process's end."""

    def __init__(self, state_file: Path, *, owner: str, now: float) -> None:
        """Take the lock of `state_file`; `owner` is the bridge's name, `now` epoch seconds.

        Raises:
            StateOwnedError: another bridge has it; the message says which.
            OSError: the lock file cannot be made.
        """
        path = state_file.with_name(f"{state_file.name}.lock")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not any(_locked(self._file, after=pause) for pause in _PATIENCE):
            text = os.pread(self._file, _SHOWN, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise StateOwnedError(
                f"{state_file} is owned by {text or 'another bridge'}: stop that one first, "
                "or give this one its own name and state.path"
            )
        self._write(describe(owner, now))

    def release(self) -> None:
        """Let the next bridge have it. The file stays: removing it would let two lock two files."""
        self._write("")
        os.close(self._file)

    def _write(self, text: str) -> None:
        # On a full disk the lock holds all the same: only its text is missing.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)


def is_owned(state_file: Path) -> bool:
    """Whether a bridge owns `state_file` at this moment.

    Asks for a shared lock and gives it back at once: two who ask do not take each other for a
    bridge, and a bridge that starts in that moment tries again (`_PATIENCE`).

    Raises:
        OSError: the lock file cannot be opened.
    """
    path = state_file.with_name(f"{state_file.name}.lock")
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _locked(file: int, *, after: float) -> bool:
    time.sleep(after)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def describe(owner: str, now: float) -> str:
    """Say for people which process this is."""
    since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return f"{owner} (process {os.getpid()} on {socket.gethostname()}, since {since})"
