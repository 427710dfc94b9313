"""`awx-bridge dead-letters`: what a sink refused for good, and what is to be done about it."""

# ruff: noqa: PLC0415 - --help must not load the state

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.cli.exits import CommandError, ExitCode
from bridge.cli.files import ConfigFile, read_config
from bridge.cli.orders import WaitFor, carry_out, look_at
from bridge.cli.output import AsJson, say, write_json
from bridge.errors import did_you_mean

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model import DeadLetter, Outcome

Sink = Annotated[str | None, typer.Option("--sink", metavar="SINK", help="Only those of this sink.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The event's id, as `list` shows it.")]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID…", help="The events' ids, as `list` shows them.")
]
All = Annotated[bool, typer.Option("--all", help="All that there are now.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the bridge's log.")]


def build() -> typer.Typer:
    """Put the commands of the group together."""
    app = typer.Typer(
        no_args_is_help=True, help="Show, retry or drop the events that a sink refused for good."
    )
    app.command("list")(list_letters)
    app.command("show")(show)
    app.command("retry")(retry)
    app.command("drop")(drop)
    return app


def list_letters(file: ConfigFile, *, sink: Sink = None, json: AsJson = False) -> None:
    """List the dead letters, oldest first, whether the bridge runs or not.

    In a pipe each is a line of time, sink, id, type and reason between tabs.
    """
    letters = _read(read_config(file), sink)
    if json:
        write_json([_summary(letter) for letter in letters])
    elif sys.stdout.isatty():
        _say_table(letters)
    else:
        for letter in letters:
            _write_row(_row(letter))


def show(file: ConfigFile, name: Id, *, sink: Sink = None, json: AsJson = False) -> None:
    """Show a dead letter: why it is one, and the copy that was kept of the event."""
    from bridge.render.clean import line_of, text_of

    config = read_config(file)
    letters = [letter for letter in _read(config, sink) if letter.event_id == name]
    if not letters:
        raise CommandError(f"there is no dead letter {name}" + (f" for {sink}" if sink else ""))
    shown = [{**_summary(letter), **_copy(letter)} for letter in letters]
    if json:
        write_json(shown)
        return
    for letter, facts in zip(letters, shown, strict=True):
        for fact in ("id", "sink", "type", "at", "reason"):
            say(f"{fact + ':':8}{line_of(facts[fact])}")
        say(f"copy:   {'whole' if letter.whole else 'cut at 16 KB' if letter.copy else 'none'}")
        if "event" in facts:
            say(_readable(facts["event"]))
        elif letter.copy:
            say(text_of(facts["copy"]))


def retry(
    file: ConfigFile,
    ids: Ids = None,
    *,
    every: All = False,
    sink: Sink = None,
    timeout: WaitFor = 30.0,
    json: AsJson = False,
) -> None:
    """Send dead letters again, by the running bridge.

    Each event is read from AWX once more and prepared as the configuration is today, with the same id;
    what AWX no longer has is sent as it was kept. It comes out of its job's order, marked `replayed`.
    What a sink accepts is no dead letter any more; the rest stays, with the new reason.
    """
    config = read_config(file)
    arguments = _arguments(config, ids, every=every, sink=sink)
    _tell(carry_out(config, "dead_letters.retry", arguments, timeout=timeout), json=json)


def drop(  # noqa: PLR0913 - as for retry
    file: ConfigFile,
    ids: Ids = None,
    *,
    every: All = False,
    sink: Sink = None,
    reason: Why = "",
    timeout: WaitFor = 30.0,
    json: AsJson = False,
) -> None:
    """Forget dead letters, by the running bridge, which logs who wanted it and why."""
    config = read_config(file)
    arguments = {**_arguments(config, ids, every=every, sink=sink), "why": reason}
    _tell(carry_out(config, "dead_letters.drop", arguments, timeout=timeout), json=json)


def _read(config: Config, sink: str | None) -> list[DeadLetter]:
    with look_at(config) as state:
        letters = state.dead_letters()
    found = [letter for letter in letters if sink in (None, letter.sink)]
    if sink is not None and not found:
        _check_sink(config, sink)
    return found


def _check_sink(config: Config, sink: str) -> None:
    if sink not in config.sinks:
        hint = did_you_mean(sink, config.sinks) or f"; the sinks are {', '.join(config.sinks)}"
        raise CommandError(f"no sink is called {sink!r}{hint}", code=ExitCode.USAGE)


def _arguments(config: Config, ids: Sequence[str] | None, *, every: bool, sink: str | None) -> dict[str, Any]:
    if bool(ids) is every:
        raise typer.BadParameter("give the ids of events, or --all", param_hint="ID…")
    if sink is not None and config.state.path.exists():
        _read(config, sink)
    return {"ids": None if every else list(ids or ()), "sink": sink}


def _tell(outcome: Outcome, *, json: bool) -> None:
    """Write what became of the order; exit 1 when not all of it was done."""
    letters = outcome.details.get("letters", [])
    if json:
        write_json({"done": outcome.done, "sentence": outcome.sentence, "letters": letters})
        if not outcome.done:
            raise SystemExit(ExitCode.FAILED)
        return
    if len(letters) > 1:
        for letter in letters:
            if letter["reason"]:
                _write_row([letter["sink"], letter["id"], letter["result"], _line(letter["reason"])])
    if not outcome.done:
        raise CommandError(_line(outcome.sentence))
    say(_line(outcome.sentence), style="green")


def _write_row(cells: Sequence[str]) -> None:
    # Not through rich, which turns tabs into spaces.
    sys.stdout.write("\t".join(cells) + "\n")


def _say_table(letters: Sequence[DeadLetter]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not letters:
        say("there are no dead letters")
        return
    table = Table("since", "sink", "id", "type", "reason", box=None, header_style="bold", pad_edge=False)
    for letter in letters:
        table.add_row(*map(Text, _row(letter)))
    Console(file=sys.stdout).print(table)


def _row(letter: DeadLetter) -> list[str]:
    facts = _summary(letter)
    return [_line(facts[name]) for name in ("at", "sink", "id", "type", "reason")]


def _summary(letter: DeadLetter) -> dict[str, Any]:
    from bridge.encode import iso

    return {
        "id": letter.event_id,
        "sink": letter.sink,
        "type": letter.type,
        "at": iso(letter.at),
        "reason": letter.reason,
        "whole": letter.whole,
    }


def _copy(letter: DeadLetter) -> dict[str, Any]:
    """Return the event that was kept, or as much text of it as was."""
    if letter.whole:
        return {"event": json_format.loads(letter.copy)}
    return {"copy": letter.copy.decode(errors="replace")}


def _readable(event: Any) -> str:
    """Return JSON for people, with escapes for what no terminal should get."""
    text = json_format.dumps(event, indent=2, ensure_ascii=False)
    return "".join(c if c == "\n" or c.isprintable() else json_format.dumps(c)[1:-1] for c in text)


def _line(text: str) -> str:
    from bridge.render.clean import line_of

    return line_of(text)
