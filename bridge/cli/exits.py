"""How the command ends: the one place that makes an exit code and a sentence of an error."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bridge.errors import (
    BridgeError,
    ConfigError,
    ListenError,
    Problem,
    SourceUnavailable,
    StateError,
    StateOwnedError,
    TemporaryDeliveryError,
)


class ExitCode(IntEnum):
    """What the command can end with; the numbers above 60 are those of BSD's sysexits.h."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    NO_FILE = 66
    UNAVAILABLE = 69
    BUG = 70
    STATE = 74
    OWNED = 75
    CONFIG = 78
    INTERRUPTED = 130


class CommandError(BridgeError):
    """A command could not do what it was asked for."""

    def __init__(self, message: str, *, code: ExitCode = ExitCode.FAILED) -> None:
        """Keep the exit code beside the sentence for the user."""
        self.code = code
        super().__init__(message)


class FileProblems(ConfigError):
    """The problems of one configuration file, which is named in front of each."""

    def __init__(self, path: Path, error: ConfigError) -> None:
        """Take over the problems of `error`."""
        self.path = path
        super().__init__(error.problems)

    def __str__(self) -> str:
        """Render as `path:line: key: message`, one problem a line."""
        return "\n".join(_located(self.path, problem) for problem in self.problems)


def _located(path: Path, problem: Problem) -> str:
    where = f"{path}:{problem.line}" if problem.line is not None else str(path)
    return f"{where}: {problem._replace(line=None)}"


_CODES: Final[tuple[tuple[type[BridgeError], ExitCode], ...]] = (
    (ConfigError, ExitCode.CONFIG),
    (StateOwnedError, ExitCode.OWNED),
    (StateError, ExitCode.STATE),
    (ListenError, ExitCode.UNAVAILABLE),
    (SourceUnavailable, ExitCode.UNAVAILABLE),
    (TemporaryDeliveryError, ExitCode.UNAVAILABLE),
)


def code_of(error: BridgeError) -> ExitCode:
    """Return the exit code for an error that the bridge expects."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


class Exits:
    """A block that turns every exception into an exit code and what the user reads of it."""

    def __init__(self) -> None:
        """Start without tracebacks; `--debug` sets `debug`."""
        self.debug = False

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process with the code for `error`.

        Raises:
            SystemExit: for whatever ended the block, except a SystemExit, which passes.
        """
        if error is None or isinstance(error, SystemExit):
            return
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(ExitCode.INTERRUPTED) from None
        expected = [leaf for leaf in _leaves(error) if isinstance(leaf, BridgeError)]
        if len(expected) == len(list(_leaves(error))):
            for leaf in dict.fromkeys(map(str, expected)):
                sys.stderr.write(f"{leaf}\n")
            raise SystemExit(code_of(expected[0])) from None
        self._report(error)
        raise SystemExit(ExitCode.BUG) from None

    def _report(self, error: BaseException) -> None:
        if self.debug:
            traceback.print_exception(error)
        shown = next(leaf for leaf in _leaves(error) if not isinstance(leaf, BridgeError))
        how = "with the traceback above" if self.debug else "with what `awx-bridge --debug …` shows"
        sys.stderr.write(
            f"awx-bridge ran into a bug ({type(shown).__name__}: {shown}). Please report it in the project's "
            f"issue tracker, {how}.\n"
        )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
