"""Builders of realistic jobs: what a playbook run, an update or a command emits, step by step.

Pure and reproducible: the same arguments give the same script.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from simulator import planted
from simulator.plan import NodePlan, Plan
from simulator.script import NO_DATA, Script, Step

HOSTS: Final = (*(f"web{at:02}" for at in range(1, 13)), *(f"db{at:02}" for at in range(1, 5)))

MODULES: Final = (
    ("Gather the facts", "ansible.builtin.setup"),
    ("Install packages", "ansible.builtin.package"),
    ("Write the configuration", "ansible.builtin.template"),
    ("Create the deploy user", "ansible.builtin.user"),
    ("Fetch the release", "ansible.builtin.uri"),
    ("Run the migration", "ansible.builtin.command"),
    ("Restart the service", "ansible.builtin.service"),
    ("Read the certificate", "ansible.builtin.slurp"),
)
"""Task names and their modules; a long playbook goes round this list."""

_CHANGING: Final = frozenset(
    {"ansible.builtin.package", "ansible.builtin.template", "ansible.builtin.command"}
)
_COLOURS: Final = {
    "ok": "0;32",
    "changed": "0;33",
    "failed": "0;31",
    "skipped": "0;36",
    "unreachable": "1;31",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What goes wrong on a host: in which task (its number, from 0), how, and with which words."""

    task: int = 1
    outcome: str = "failed"
    message: str = "non-zero return code"


class Writer:
    """Writes a script: keeps line numbers, indices of parents and the numbers of the recap."""

    def __init__(self, kind: str, playbook: str) -> None:
        """Start with nothing written."""
        self.kind = kind
        self.playbook = playbook
        self.steps: list[Step] = []
        self.recap: dict[str, dict[str, int]] = {}
        self._play = -1
        self._task = -1
        self._start = -1
        self._line = 0
        self._hosts: dict[str, int] = {}

    def put(self, event: str, stdout: str = "", **facts: Any) -> int:
        """Write one step and return its index."""
        lines = stdout.count("\n") + 1 if stdout else 0
        at = len(self.steps)
        step = Step(
            event=event,
            at=float(at),
            start_line=self._line,
            end_line=self._line + lines,
            stdout=stdout,
            **facts,
        )
        self.steps.append(step)
        self._line += lines
        return at

    def verbose(self, *lines: str) -> None:
        """Write plain output, an event a line."""
        for line in lines:
            self.put("verbose", line)

    def begin(self) -> None:
        """Write playbook_on_start."""
        self._start = self.put("playbook_on_start")

    def play(self, name: str, pattern: str = "all") -> None:
        """Write playbook_on_play_start."""
        at = len(self.steps)
        self._play = self.put(
            "playbook_on_play_start",
            f"\r\nPLAY [{name}] {'*' * (72 - len(name))}",
            name=name,
            play=at,
            parent=self._start,
            data={"name": name, "pattern": pattern},
        )
        self._task = -1

    def task(self, name: str, action: str, role: str = "") -> None:
        """Write playbook_on_task_start."""
        at = len(self.steps)
        self._task = self.put(
            "playbook_on_task_start",
            f"\r\nTASK [{name}] {'*' * max(3, 72 - len(name))}",
            name=name,
            action=action,
            role=role,
            play=self._play,
            task=at,
            parent=self._play,
            data={"name": name, "is_conditional": False},
        )

    def on_host(self, event: str, host: str, stdout: str = "", **facts: Any) -> int:
        """Write what happens on one host in the current task."""
        number = self._hosts.setdefault(host, len(self._hosts) + 2)
        return self.put(
            event,
            stdout,
            host=host,
            host_id=number if self.kind in {"job", "ad_hoc_command"} else None,
            play=self._play,
            task=self._task,
            parent=self._task,
            role=self.steps[self._task].role,
            **facts,
        )

    def outcome(self, host: str, outcome: str, data: Mapping[str, Any] = NO_DATA) -> None:
        """Write the result of the current task on one host and count it for the recap."""
        counts = self.recap.setdefault(host, {})
        key = {"failed": "failures", "unreachable": "dark", "changed": "ok"}.get(outcome, outcome)
        counts[key] = counts.get(key, 0) + 1
        if outcome == "changed":
            counts["changed"] = counts.get("changed", 0) + 1
        event = "runner_on_ok" if outcome == "changed" else f"runner_on_{outcome}"
        self.on_host(
            event,
            host,
            _line(outcome, host, data.get("res")),
            failed=outcome in {"failed", "unreachable"},
            changed=outcome == "changed",
            duration=0.05 + (len(self.steps) % 40) / 100,
            data=data,
        )

    def stats(self) -> None:
        """Write playbook_on_stats with the numbers of every host."""
        names = ("changed", "dark", "failures", "ignored", "ok", "rescued", "skipped")
        data: dict[str, Any] = {
            name: {host: counts[name] for host, counts in self.recap.items() if counts.get(name)}
            for name in names
        }
        data |= {"processed": dict.fromkeys(self.recap, 1), "artifact_data": {}}
        recap = "\r\n".join(_recap(host, counts) for host, counts in self.recap.items())
        text = f"\r\nPLAY RECAP {'*' * 69}\r\n{recap}"
        self.put("playbook_on_stats", text, parent=self._start, data=data)

    def script(self) -> Script:
        """Return what was written."""
        return Script(kind=self.kind, playbook=self.playbook, steps=tuple(self.steps))


def _paint(outcome: str, text: str) -> str:
    return f"\x1b[{_COLOURS[outcome]}m{text}\x1b[0m"


def _line(outcome: str, host: str, res: object) -> str:
    if outcome in {"failed", "unreachable"}:
        return _paint(outcome, f"fatal: [{host}]: {outcome.upper()}! => {json.dumps(res)}")
    if outcome == "skipped":
        return _paint(outcome, f"skipping: [{host}]")
    return _paint(outcome, f"{outcome}: [{host}]")


def _recap(host: str, counts: Mapping[str, int]) -> str:
    names = {"unreachable": "dark", "failed": "failures"}
    shown = ("ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored")
    return f"{host:26} : " + " ".join(f"{name}={counts.get(names.get(name, name), 0):<4}" for name in shown)


def _result(action: str, host: str) -> dict[str, Any]:
    arguments = {"name": f"{host}-service", "state": "present"}
    planted_result = planted.RESULTS.get(action)
    if planted_result is not None and host.endswith("01"):
        return dict(planted_result)
    return {
        "changed": action in _CHANGING,
        "invocation": {"module_args": arguments},
        "_ansible_no_log": False,
    }


def playbook(
    name: str,
    *,
    hosts: Sequence[str] = HOSTS,
    tasks: int = 6,
    troubles: Mapping[str, Trouble] | None = None,
    lines: int = 0,
) -> Writer:
    """Write a playbook run: every task on every host that has not failed yet, then the recap.

    `lines` more of plain output come first. Without troubles that makes 5 + lines events, and 1 + 2 a
    host for each task.
    """
    troubles = troubles or {}
    writer = Writer("job", f"{name}.yml")
    writer.verbose("Using /etc/ansible/ansible.cfg as config file", planted.OUTPUT_LINES[0])
    writer.verbose(*(f"Loaded collection {at}" for at in range(lines)))
    writer.begin()
    writer.play(f"Play of {name}")
    alive = list(hosts)
    for number in range(tasks):
        title, action = MODULES[number % len(MODULES)]
        writer.task(
            f"{title} {number}" if number >= len(MODULES) else title, action, role="web" if number % 3 else ""
        )
        for host in alive:
            writer.on_host("runner_on_start", host)
        for host in tuple(alive):
            trouble = troubles.get(host)
            if trouble is not None and trouble.task == number:
                alive.remove(host)
                _go_wrong(writer, host, trouble)
            elif (number + len(host)) % 7 == 0 and number:
                writer.outcome(host, "skipped")
            else:
                res = _result(action, host)
                writer.outcome(host, "changed" if res.get("changed") else "ok", {"res": res})
    writer.stats()
    return writer


def _go_wrong(writer: Writer, host: str, trouble: Trouble) -> None:
    res: dict[str, Any] = {"msg": trouble.message, "changed": False}
    if trouble.outcome == "unreachable":
        writer.outcome(host, "unreachable", {"res": {**res, "unreachable": True}})
        return
    res |= {"rc": 2, "stderr": f"{trouble.message}\ntoken: {planted.BEARER}", "cmd": planted.CURL}
    writer.outcome(host, "failed", {"res": res, "ignore_errors": None})


def job(name: str, *, template_id: int = 9, seconds: float = 5.0, writer: Writer, **more: Any) -> Plan:
    """Plan a job (or what else a playbook runs for) from what was written for it."""
    failed = any(counts.get("failures") or counts.get("dark") for counts in writer.recap.values())
    more.setdefault("status", "failed" if failed else "successful")
    return Plan(
        kind=writer.kind,
        name=name,
        template_id=template_id,
        rows=writer.script(),
        seconds=seconds,
        hosts=writer.recap,
        **more,
    )


def project_update(name: str, *, seconds: float = 3.0, **more: Any) -> Plan:
    """Plan a project update: a playbook on localhost."""
    writer = Writer("project_update", "project_update.yml")
    writer.begin()
    writer.play("Update source tree if necessary", "localhost")
    for title in ("Update project using git", "Set the git repository version", "Repository Version"):
        writer.task(title, "ansible.builtin.git")
        writer.on_host("runner_on_start", "localhost")
        writer.outcome("localhost", "ok", {"res": {"changed": False, "remote_url": planted.GIT_URL}})
    writer.stats()
    return job(name, template_id=24, seconds=seconds, writer=writer, **more)


def ad_hoc(*, hosts: Sequence[str] = HOSTS, seconds: float = 2.0, **more: Any) -> Plan:
    """Plan an ad hoc command: ping on some hosts."""
    writer = Writer("ad_hoc_command", "__adhoc_playbook__")
    writer.begin()
    for host in hosts:
        writer.on_host("runner_on_start", host)
    for host in hosts:
        writer.outcome(host, "ok", {"res": {"ping": "pong", "changed": False}})
    writer.stats()
    return job("ping", seconds=seconds, writer=writer, **more)


def inventory_update(
    name: str, *, lines: int = 40, again: int = 0, seconds: float = 3.0, **more: Any
) -> Plan:
    """Plan an inventory update: output of ansible-inventory, then of the import.

    The import's rows have no uuid. Their counters go on where AWX believes that the first part
    ended, so `again` of them repeat a counter with other content (awx/main/utils/handlers.py).
    """
    writer = Writer("inventory_update", "")
    first = lines - lines // 4
    writer.verbose(*(f"\x1b[0;34mParsed host {at} of {name}\x1b[0m" for at in range(first)))
    writer.verbose(*(f"    {2 + at / 100:.3f} INFO     Imported group {at}" for at in range(lines - first)))
    script = writer.script()
    script.counters = [*range(1, first + 1), *range(first + 1 - again, lines + 1 - again)]
    script.blank_uuids = frozenset(range(first, lines))
    return Plan(kind="inventory_update", name=name, template_id=26, rows=script, seconds=seconds, **more)


def system_job(name: str = "Cleanup Expired Sessions", *, seconds: float = 1.5, **more: Any) -> Plan:
    """Plan a system job: a line or two of output."""
    writer = Writer("system_job", "")
    writer.verbose("Expired Sessions deleted 3", planted.OUTPUT_LINES[1])
    return Plan(kind="system_job", name=name, template_id=4, rows=writer.script(), seconds=seconds, **more)


def workflow(name: str, nodes: Sequence[NodePlan], *, seconds: float, **more: Any) -> Plan:
    """Plan a workflow job; its nodes' jobs are acts of their own."""
    return Plan(kind="workflow_job", name=name, template_id=23, nodes=tuple(nodes), seconds=seconds, **more)


def approval(name: str, *, seconds: float = 4.0, **more: Any) -> Plan:
    """Plan an approval that somebody decides after `seconds`."""
    return Plan(kind="workflow_approval", name=name, template_id=31, seconds=seconds, **more)
