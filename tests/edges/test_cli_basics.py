"""The command's outer edge: help, version, exit codes, and what a bug looks like."""

import subprocess
import sys
from functools import partial

import pytest

from bridge import __version__, errors
from bridge.cli.exits import CommandError, ExitCode, Exits, FileProblems, code_of
from bridge.errors import ConfigError, Problem, StateError, StateOwnedError
from tests.support.command import GOOD, run_command


@pytest.fixture
def command(monkeypatch, capsys):
    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD)
    return path


def test_help_and_version(command):
    code, out, _ = command("--help")
    assert code == 0
    for name in ("run", "check", "explain", "schema", "send-test", "dead-letters"):
        assert name in out
    assert command("--version") == (0, f"awx-bridge {__version__}\n", "")


@pytest.mark.parametrize("words", [["nope"], ["check"], ["check", "--nope", "x"], ["schema", "nope"]])
def test_wrong_usage(command, words):
    code, out, err = command(*words)
    assert code == 2
    assert out == ""
    assert "Usage: awx-bridge" in err


@pytest.mark.parametrize("name", ["check", "run", "explain", "send-test"])
def test_a_file_that_is_not_there(command, tmp_path, name):
    rest = ["x"] if name in {"explain", "send-test"} else []
    assert command(name, tmp_path / "none.yaml", *rest) == (
        66,
        "",
        f"there is no file {tmp_path}/none.yaml\n",
    )


@pytest.mark.parametrize("name", ["check", "run", "explain", "send-test"])
def test_a_configuration_with_mistakes(command, tmp_path, name):
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD.replace("to: out", "too: out").replace("token", "tokn"))
    rest = [path] if name in {"explain", "send-test"} else []
    code, out, err = command(name, path, *rest)
    assert (code, out) == (78, "")
    assert err.splitlines() == [
        f"{path}:2: sources.prod.tokn: unknown key 'tokn'; did you mean 'token'?",
        f"{path}:5: routes[0].too: unknown key 'too'; did you mean 'to'?",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("a", "b")]), 78),
        (StateError("x"), 74),
        (StateOwnedError("x"), 75),
        (errors.SourceUnavailable("x"), 69),
        (errors.SourceRefused("x", status=401), 1),
        (errors.TemporaryDeliveryError("x"), 69),
        (errors.SinkRefusedError("x"), 1),
        (CommandError("x", code=ExitCode.NO_FILE), 66),
        (CommandError("x"), 1),
    ],
)
def test_every_expected_error_has_its_code(error, code, capsys):
    assert code_of(error) == code
    for raised in (error, ExceptionGroup("tasks", [ExceptionGroup("inner", [error])])):
        with pytest.raises(SystemExit) as ended, Exits():
            raise raised
        assert ended.value.code == code
        assert capsys.readouterr().err == f"{error}\n"


def test_a_bug_is_one_line_and_a_traceback_on_request(capsys):
    with pytest.raises(SystemExit) as ended, Exits():
        raise ExceptionGroup("tasks", [StateError("expected"), KeyError("oops")])
    assert ended.value.code == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "KeyError: 'oops'" in said
    exits = Exits()
    exits.debug = True
    with pytest.raises(SystemExit), exits:
        raise KeyError("oops")
    assert "Traceback" in capsys.readouterr().err


def test_interrupts_and_exits_pass(capsys):
    for raised, code in [(KeyboardInterrupt(), 130), (SystemExit(3), 3)]:
        with pytest.raises(SystemExit) as ended, Exits():
            raise raised
        assert ended.value.code == code
    with Exits():
        pass
    assert capsys.readouterr().err == ""


def test_problems_name_their_file(tmp_path):
    error = FileProblems(tmp_path, ConfigError([Problem("a.b", "wrong", 3), Problem("", "unreadable")]))
    assert str(error) == f"{tmp_path}:3: a.b: wrong\n{tmp_path}: unreadable"


def test_as_a_process(config):
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", config], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK: 1 source, 2 sinks, 1 route\n")
    assert "\x1b" not in done.stdout
    assert "hunter2" not in done.stdout


def test_help_loads_nothing_heavy():
    code = "import sys; sys.argv=['x','--help']\nfrom bridge.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded.isdisjoint({"pydantic", "aiohttp", "aiokafka", "slack_sdk", "yaml", "re2", "structlog"})
