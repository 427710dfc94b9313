"""What the command says to a person who made a mistake, as a process."""

import json
import subprocess
import sys

import pytest

from tests.support.process import ROOT

MISTAKES = """\
nme: awx-bridge
sources:
  prod:
    url: awx.example.com
    token: t
    max_requests: -1
    gap_wait: soon
sinks:
  events: {type: kafka, bootstrap_servers: "http://localhost:9092", topic: "awx.{status}"}
  ops: {type: slak, token: t, channel: "#ops"}
  cmdb: {type: webhook, url: "ftp://cmdb.example.com"}
routes:
  - match: {tempate: "deploy-*"}
    to: opps
server: {listen: "nowhere"}
drain_timeout: -5s
"""
PLACES = [
    (1, "nme"),
    (4, "sources.prod.url"),
    (6, "sources.prod.max_requests"),
    (7, "sources.prod.gap_wait"),
    (9, "sinks.events.bootstrap_servers"),
    (9, "sinks.events.topic"),
    (10, "sinks.ops"),
    (11, "sinks.cmdb.url"),
    (13, "routes[0].match.tempate"),
    (14, "routes[0].to"),
    (15, "server.listen"),
    (16, "drain_timeout"),
]
GOOD = """
sources: {prod: {url: "https://awx.example.com", token: t}}
sinks: {out: {type: stdout}, ops: {type: stdout}}
routes: [{name: failures, match: {type: awx.job.failed}, to: ops}, {to: out}]
"""


def command(*words):
    done = subprocess.run(
        [sys.executable, "-m", "bridge", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["run", "check"])
def test_every_mistake_is_told_at_once_with_its_place(tmp_path, name):
    path = tmp_path / "bridge.yaml"
    path.write_text(MISTAKES)
    code, out, err = command(name, path)
    assert (code, out) == (78, "")
    told = [line.split(": ", 2)[:2] for line in err.splitlines()]
    assert told == [[f"{path}:{line}", key] for line, key in PLACES]


def test_explain_says_why(tmp_path):
    path = tmp_path / "bridge.yaml"
    path.write_text(GOOD)
    (tmp_path / "event.json").write_text(json.dumps({"type": "awx.job.successful"}))
    code, out, err = command("explain", path, tmp_path / "event.json")
    assert (code, err) == (0, "")
    assert "routes[0] (failures) to ops: no: type is 'awx.job.successful', wanted 'awx.job.failed'" in out
    assert out.endswith("goes to: out\n")


def test_wrong_words_and_missing_files(tmp_path):
    assert command("run", tmp_path / "none.yaml")[0] == 66
    assert command("runn")[0] == 2
    assert command("run")[0] == 2
