"""Running the command inside the test's process."""

import sys

import pytest

from bridge.__main__ import main

GOOD = """
sources: {prod: {url: "https://awx.example.com", token: hunter2}}
sinks: {out: {type: stdout}, spare: {type: file, path: /nowhere/events.jsonl}}
routes:
  - {to: out}
"""


def run_command(monkeypatch, capsys, *words):
    """Run `awx-bridge` with `words`; return its exit code, its output and its error output."""
    monkeypatch.setattr(sys, "argv", ["awx-bridge", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return (ended.value.code or 0, *capsys.readouterr())
