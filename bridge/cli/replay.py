"""`awx-bridge replay`: sends chosen jobs to one sink, by the running bridge."""

# ruff: noqa: PLC0415 - --help must not load the state

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bridge.cli.clock import SystemClock
from bridge.cli.exits import CommandError, ExitCode
from bridge.cli.files import ConfigFile, read_config
from bridge.cli.orders import carry_out, give
from bridge.cli.output import AsJson, say, write_json
from bridge.errors import did_you_mean
from bridge.model import JOB_TYPES, TERMINAL_STATUSES

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model import Outcome

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO: Final = re.compile(r"(?:[0-9]+[smhd])+")
_PART: Final = re.compile(r"([0-9]+)([smhd])")
_MOST_ID: Final = 2**53

To = Annotated[str, typer.Option("--to", metavar="SINK", help="The sink that gets them.", show_default=False)]
Jobs = Annotated[
    list[str] | None, typer.Option("--job", metavar="[SOURCE/TYPE/]ID", help="This job; may be repeated.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Jobs that finished since then: 2h, 1d12h, or ISO 8601."),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only jobs that ended so; may be repeated."),
]
SourceName = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Only of this source; default: of all.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say which jobs, and about how many events.")]
Again = Annotated[bool, typer.Option("--again", help="Send also what the sink has had, marked `replayed`.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end, or only say its number.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0.0, metavar="SECONDS", help="How long to wait; default: to the end."),
]


def replay(  # noqa: PLR0913 - one parameter an option
    file: ConfigFile,
    *,
    to: To,
    job: Jobs = None,
    since: Since = None,
    status: Statuses = None,
    source: SourceName = None,
    dry_run: DryRun = False,
    again: Again = False,
    wait: Wait = True,
    timeout: Timeout = None,
    json: AsJson = False,
) -> None:
    """Send jobs to a sink, by the running bridge: what it lacks, or with --again all of it.

    Jobs that the bridge no longer remembers are sent whole, as from before its first start.
    """
    if bool(job) is (since is not None):
        raise typer.BadParameter("give jobs, or since when", param_hint="--job / --since")
    if job and status:
        raise typer.BadParameter("goes with --since only", param_hint="--status")
    config = read_config(file)
    _check(to, config.sinks, "sink")
    if source is not None:
        _check(source, config.sources, "source")
    for one in status or ():
        _check(one, sorted(TERMINAL_STATUSES), "final status")
    arguments = {
        "to": to,
        "jobs": [_job(text, config, source) for text in job or ()],
        "sources": [source] if source else list(config.sources),
        "since": None if since is None else _moment(since, SystemClock().now()),
        "statuses": status or [],
        "dry_run": dry_run,
        "again": again,
    }
    if not wait:
        number = give(config, "replay.run", arguments)
        write_json({"order": number}) if json else say(f"order {number}: the bridge's log tells its end")
        return
    with _progress(quiet=json) as tell:
        outcome = carry_out(config, "replay.run", arguments, timeout=timeout, tell=tell)
    _tell(outcome, json=json)


def _check(name: str, known: Collection[str], kind: str) -> None:
    if name not in known:
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise CommandError(f"no {kind} is called {name!r}{hint}", code=ExitCode.USAGE)


def _job(text: str, config: Config, source: str | None) -> dict[str, Any]:
    """Read `42`, `TYPE/42` or `SOURCE/TYPE/42`."""
    *before, number = text.split("/")
    if not (number.isascii() and number.isdigit() and 0 < int(number) < _MOST_ID and len(before) <= 2):  # noqa: PLR2004 - source and type
        raise CommandError(f"{text!r} is no job: write 42, job/42 or prod/job/42", code=ExitCode.USAGE)
    kind = before[-1] if before else None
    if kind is not None:
        _check(kind, JOB_TYPES, "job type")
    name = before[0] if len(before) > 1 else source
    if name is None:
        if len(config.sources) > 1:
            sentence = (
                f"{text!r} may be of {', '.join(config.sources)}: add --source, or write SOURCE/TYPE/ID"
            )
            raise CommandError(sentence, code=ExitCode.USAGE)
        name = next(iter(config.sources))
    _check(name, config.sources, "source")
    return {"source": name, "type": kind, "id": int(number)}


def _moment(text: str, now: float) -> str:
    """Read how long ago, or an ISO 8601 time, which without an offset is UTC."""
    from bridge.encode import iso

    try:
        if _AGO.fullmatch(text):
            return iso(now - sum(int(n) * _UNITS[unit] for n, unit in _PART.findall(text)))
        moment = datetime.fromisoformat(text)
        return iso((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as err:
        sentence = f"{text!r} is no time: write 2h, 1d12h or 2026-11-23T08:00:00Z"
        raise CommandError(sentence, code=ExitCode.USAGE) from err


@contextmanager
def _progress(*, quiet: bool) -> Generator[Callable[[Mapping[str, Any]], None]]:
    """Show on standard error how far it is: one living line on a terminal, a line a job elsewhere."""
    if quiet:
        yield lambda _progress: None
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("waiting for the bridge") as status:
            yield lambda progress: status.update(_line(progress))
    else:
        seen: set[tuple[int, str | None]] = set()

        def tell(progress: Mapping[str, Any]) -> None:
            where = progress.get("jobs", 0), progress.get("job")
            if where not in seen:
                seen.clear()
                seen.add(where)
                sys.stderr.write(_line(progress) + "\n")

        yield tell


def _line(progress: Mapping[str, Any]) -> str:
    at = f", at {progress['job']}" if progress.get("job") else ""
    return f"{progress.get('jobs', 0)} jobs, {progress.get('events', 0)} events so far{at}"


def _tell(outcome: Outcome, *, json: bool) -> None:
    """Write what became of it; exit 1 when not all of it was done."""
    from bridge.render.clean import line_of

    if json:
        write_json({"done": outcome.done, "sentence": outcome.sentence, **outcome.details})
        if not outcome.done:
            raise SystemExit(ExitCode.FAILED)
        return
    for job in outcome.details.get("told", []):
        cells = [job["job"], str(job["events"]), job["status"], job["name"], job["why"] or ""]
        # Not through rich, which turns tabs into spaces.
        sys.stdout.write("\t".join(map(line_of, cells)).rstrip("\t") + "\n")
    if not outcome.done:
        raise CommandError(line_of(outcome.sentence))
    say(line_of(outcome.sentence), style="green")
