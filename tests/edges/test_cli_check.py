"""`check`, `explain` and `schema`: what they say, to people and to programs."""

import io
import json
from functools import partial

import jsonschema
import pytest

from bridge.contract import event_schema
from tests.support.command import GOOD, run_command

ROUTES = """
sources: {prod: {url: "https://awx.example.com", token: t}}
sinks: {out: {type: stdout}, ops: {type: file, path: /nowhere/ops}}
routes:
  - {name: deploys, match: {template: "deploy-*"}, to: [ops, out]}
  - {match: {type: awx.job.failed}, to: ops, stop: true}
  - {to: out}
"""


@pytest.fixture
def command(monkeypatch, capsys):
    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def routes(tmp_path):
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    return path


@pytest.fixture
def event(tmp_path):
    def write(content):
        path = tmp_path / "event.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_a_good_configuration(command, config):
    assert command("check", config) == (
        0,
        (
            "OK: 1 source, 2 sinks, 1 route\n"
            "  source prod: https://awx.example.com\n"
            "  sink out: stdout\n"
            "  sink spare: /nowhere/events.jsonl\n"
            "  remark: no route sends anything to sink spare\n"
        ),
        "",
    )


def test_a_good_configuration_as_json(command, config):
    code, out, _ = command("check", config, "--json")
    assert code == 0
    assert json.loads(out) == {
        "ok": True,
        "problems": [],
        "remarks": ["no route sends anything to sink spare"],
        "name": "awx-bridge",
        "sources": {"prod": "https://awx.example.com"},
        "sinks": {"out": "stdout", "spare": "/nowhere/events.jsonl"},
        "routes": 1,
    }


def test_problems_as_json(command, config):
    config.write_text(GOOD.replace("to: out", "to: oot"))
    code, out, err = command("check", config, "--json")
    assert (code, err) == (78, "")
    assert json.loads(out) == {
        "ok": False,
        "problems": [
            {"path": "routes[0].to", "message": "no sink is called 'oot'; did you mean 'out'?", "line": 5}
        ],
    }


def test_a_route_that_hides_the_others_is_remarked(command, routes):
    routes.write_text(ROUTES + "  - {to: ops, stop: true}\n  - {to: out}\n")
    _, out, _ = command("check", routes)
    assert "remark: routes[3] takes everything and stops" in out


def test_explain(command, routes, event):
    fields = {"type": "awx.job.failed", "template": "web", "job_id": 1}
    assert command("explain", routes, event(fields)) == (
        0,
        (
            "routes[0] (deploys) to ops, out: no: template is 'web', wanted 'deploy-*'\n"
            "routes[1] to ops: yes: matches, and stops here\n"
            "routes[2] to out: no: not looked at: routes[1] stops\n"
            "goes to: ops\n"
        ),
        "",
    )


def test_explain_as_json(command, routes, event):
    _, out, _ = command("explain", routes, event({"template": "deploy-x", "tmplate": 1}), "--json")
    said = json.loads(out)
    assert said["sinks"] == ["ops", "out"]
    assert said["unknown_fields"] == ["tmplate"]
    assert [route["matched"] for route in said["routes"]] == [True, False, True]
    assert said["routes"][1] == {
        "position": 1,
        "name": None,
        "to": ["ops"],
        "matched": False,
        "why": "type is missing, wanted 'awx.job.failed'",
    }


def test_explain_says_when_a_field_is_none_of_an_event(command, routes, event):
    _, out, _ = command("explain", routes, event({"tmplate": 1}))
    assert "remark: no event has the field tmplate" in out


def test_explain_reads_standard_input(command, routes, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"template": "x"}')))
    assert command("explain", routes, "-")[1].endswith("goes to: out\n")


@pytest.mark.parametrize("content", ["", "[]", "5", "{", "[" * 100_000])
def test_explain_refuses_what_is_no_event(command, routes, event, content):
    code, out, err = command("explain", routes, event(content))
    assert (code, out) == (1, "")
    assert "event.json" in err


def test_explain_without_its_event(command, routes, tmp_path):
    assert command("explain", routes, tmp_path / "none.json")[0] == 66


def test_schemas(command):
    for words in (["schema"], ["schema", "events"]):
        code, out, _ = command(*words)
        assert (code, json.loads(out)) == (0, event_schema())
    code, out, _ = command("schema", "config")
    assert code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(out))
