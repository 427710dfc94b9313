"""`dead-letters` without a bridge: what it shows to people, pipes and programs, and what it refuses."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from bridge.cli import orders
from bridge.model import DeadLetter
from bridge.ports import Changes
from bridge.state.ownership import OwnerLock
from bridge.state.sqlite import open_state
from tests.support.command import GOOD, run_command
from tests.support.fakes import FakeClock

ROOT = Path(__file__).parents[2]
EVENT = "prod/job/1/event/3"
LETTERS = [
    DeadLetter(
        sink="out",
        event_id=EVENT,
        type="awx.event.runner_on_failed",
        reason="HTTP 400:\x1b[31m no\n\tgood\x1b[0m",
        at=1_780_000_000.25,
        copy='{"id":"prod/job/1/event/3","stdout":"Täglich ✓\\u202e\\ud800"}'.encode(),
        whole=True,
    ),
    DeadLetter(sink="spare", event_id=EVENT, type="t", reason="HTTP 413", at=1.0, copy=b'{"id":"pr\xc3'),
    DeadLetter(sink="gone", event_id="prod/job/1/event/4", type="t", reason="bug", at=2.0, copy=b""),
]


@pytest.fixture
def command(monkeypatch, capsys):
    return partial(run_command, monkeypatch, capsys, "dead-letters")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{GOOD}\nstate: {{path: {tmp_path}/state/bridge.db}}\n")
    return path


@pytest.fixture
def kept(config, tmp_path):
    async def keep():
        async with open_state(tmp_path / "state" / "bridge.db", owner="x", clock=FakeClock()) as state:
            await state.commit(Changes(dead_letters=LETTERS))

    asyncio.run(keep())
    return config


@pytest.fixture
def owned(kept, tmp_path):
    """As if a bridge ran, which never comes to its orders."""
    lock = OwnerLock(tmp_path / "state" / "bridge.db", owner="x", now=0.0)
    yield kept
    lock.release()


def test_a_pipe_gets_lines(command, kept):
    shown = (
        f"2026-05-28T20:26:40.250000Z\tout\t{EVENT}\tawx.event.runner_on_failed\tHTTP 400: no good\n"
        f"1970-01-01T00:00:01.000000Z\tspare\t{EVENT}\tt\tHTTP 413\n"
        "1970-01-01T00:00:02.000000Z\tgone\tprod/job/1/event/4\tt\tbug\n"
    )
    assert command("list", kept) == (0, shown, "")


def test_only_those_of_one_sink(command, kept):
    assert command("list", kept, "--sink", "gone")[1].count("\n") == 1
    assert json.loads(command("list", kept, "--sink", "out", "--json")[1])[0]["sink"] == "out"


def test_programs_get_json(command, kept):
    code, out, _ = command("list", kept, "--json")
    assert code == 0
    assert json.loads(out)[0] == {
        "id": EVENT,
        "sink": "out",
        "type": "awx.event.runner_on_failed",
        "at": "2026-05-28T20:26:40.250000Z",
        "reason": "HTTP 400:\x1b[31m no\n\tgood\x1b[0m",
        "whole": True,
    }


def test_a_terminal_gets_a_table(kept):
    main, end = pty.openpty()
    words = [sys.executable, "-m", "bridge", "dead-letters", "list", kept]
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    done = subprocess.run(words, cwd=ROOT, stdout=end, env=environment, check=True)
    os.close(end)
    shown = b""
    while b"bug" not in shown:
        shown += os.read(main, 65536)
    os.close(main)
    assert done.returncode == 0
    text = shown.decode()
    assert "since" in text.splitlines()[0]
    assert "\x1b[31m" not in text
    assert "HTTP 400: no good" in text


def test_show_says_all_of_each_sink_that_has_it(command, kept):
    code, out, _ = command("show", kept, EVENT)
    assert code == 0
    whole, cut = out.split("id:     ")[1:]
    assert "reason: HTTP 400: no good\ncopy:   whole\n{\n" in whole
    assert '"stdout": "Täglich ✓\\u202e\\ud800"' in whole
    assert "copy:   cut at 16 KB" in cut
    assert cut.endswith('{"id":"pr�\n')
    assert "copy:   none\n" in command("show", kept, "prod/job/1/event/4")[1]


def test_show_for_programs(command, kept):
    first, second = json.loads(command("show", kept, EVENT, "--json")[1])
    assert first["event"] == {"id": EVENT, "stdout": "Täglich ✓\u202e\ud800"}
    assert "copy" not in first
    assert second["copy"] == '{"id":"pr�'
    (only,) = json.loads(command("show", kept, EVENT, "--sink", "spare", "--json")[1])
    assert only["sink"] == "spare"


def test_what_is_not_there(command, kept):
    assert command("show", kept, "x") == (1, "", "there is no dead letter x\n")
    assert command("show", kept, EVENT, "--sink", "gone") == (
        1,
        "",
        f"there is no dead letter {EVENT} for gone\n",
    )


@pytest.mark.parametrize("words", [["list"], ["show", EVENT], ["retry", EVENT], ["drop", "--all"]])
def test_a_sink_that_is_not_there(command, owned, words):
    verb, *rest = words
    assert command(verb, owned, *rest, "--sink", "oot") == (
        2,
        "",
        "no sink is called 'oot'; did you mean 'out'?\n",
    )


@pytest.mark.parametrize("verb", ["retry", "drop"])
@pytest.mark.parametrize("words", [[], [EVENT, "--all"]])
def test_either_ids_or_all(command, kept, verb, words):
    code, out, err = command(verb, kept, *words)
    assert (code, out) == (2, "")
    assert "give the ids of events, or --all" in err


def test_no_state_yet(command, config, tmp_path):
    missing = (
        f"there is no state file {tmp_path}/state/bridge.db: no bridge has run here with this configuration\n"
    )
    assert command("list", config) == (66, "", missing)
    assert command("show", config, EVENT) == (66, "", missing)
    for verb in ("retry", "drop"):
        code, out, err = command(verb, config, EVENT)
        assert (code, out) == (69, "")
        assert err.startswith(f"no bridge runs on {tmp_path}/state/bridge.db: ")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_no_bridge(command, kept, verb, tmp_path):
    sentence = (
        f"no bridge runs on {tmp_path}/state/bridge.db: commands that change something write an order into "
        "the state file, and the running bridge carries it out\n"
    )
    assert command(verb, kept, "--all") == (69, "", sentence)


def test_a_bridge_that_does_not_come_to_it(command, owned):
    code, out, err = command("retry", owned, "--all", "--timeout", "0.2")
    assert (code, out) == (69, "")
    assert err.startswith("no answer within 0.2 seconds; order 1 stays in ")


def test_a_damaged_state(command, config, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "bridge.db").write_text("this is no database" * 100)
    code, _, err = command("list", config)
    assert code == 74
    assert "no SQLite database" in err


def test_the_user_is_the_one_of_the_operating_system(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody")
    assert orders._user() != "somebody"
    monkeypatch.setattr(orders.os, "getuid", lambda: 987_654_321)
    assert orders._user() == "uid 987654321"
