"""`dead-letters` as processes, beside a real bridge: the session that docs/operations.md shows, and more."""

import asyncio
import json
import os
import re
import shlex
import signal
import sqlite3
import sys
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from simulator.access import TOKEN
from simulator.plan import Act
from simulator.plays import job, playbook
from simulator.receiver import Receiver as Callback
from simulator.scenarios import FULL_DISK
from simulator.server import serve
from simulator.world import World
from tests.support.process import until
from tests.support.webhook import Reply, running_receiver

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Dead letters\n")[2].partition("\n## ")[0]
SECRET = "whsec_ZTJlLXRlc3Qtc2VjcmV0LW9mLTI0LWJ5dGVzIQ=="
FAILED = "prod/job/812/event/25"
CONFIG = """
sources: {{prod: {{url: "{awx}", token: {token}, start: all, max_requests: 100, gap_wait: 1s, close_wait: 4s}}}}
sinks:
  lines: {{type: file, path: ./events.jsonl}}
  cmdb: {{type: webhook, url: "{hook}", secret: {secret}}}
routes:
  - to: lines
  - {{match: {{host: "*", event: [runner_on_ok, runner_on_failed]}}, to: cmdb}}
server: {{listen: null}}
"""


class Picky:
    """What the receiver answers while it does not know web03: 422 for its events."""

    def __init__(self):
        self.known = False

    def __call__(self, request):
        if not self.known and b'"host":"web03"' in request.body:
            return Reply(422, b"host web03 is unknown")
        return Reply()


class Scene:
    def __init__(self, folder, receiver):
        self.folder, self.receiver, self.picky = folder, receiver, Picky()
        receiver.always = self.picky

    async def run(self, *words):
        """Run the command; return its exit code and all that it wrote."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *words),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return process.returncode, out.decode()

    async def letters(self, verb, *words):
        return await self.run("dead-letters", verb, "bridge.yaml", *words)

    @asynccontextmanager
    async def bridge(self):
        """Run the bridge; it has gone through the job when the block begins."""
        starts = len(self.said("bridge.started"))
        with (self.folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", "run", "bridge.yaml"),
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        try:
            await until(
                lambda: self.done() and len(self.said("bridge.started")) > starts,
                within=60,
                what="the job to be through",
            )
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    def done(self):
        path = self.folder / "state" / "bridge.db"
        if not path.exists():
            return False
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            try:
                return bool(db.execute("SELECT 1 FROM jobs WHERE done = 1").fetchall())
            except sqlite3.OperationalError:  # the tables are being made
                return False

    def said(self, event):
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def got(self, event_id):
        return [one for one in self.receiver.received if one.headers["webhook-id"] == event_id]


@pytest.fixture
async def scene(tmp_path):
    """AWX with one job that failed on web03, and a receiver that does not know that host."""
    world = World(time.time, first_job_id=812)
    writer = playbook("deploy-web", hosts=("web01", "web02", "web03"), tasks=3, troubles={"web03": FULL_DISK})
    world.stage([Act(at=-60, plan=job("deploy-web", writer=writer, receiver=Callback(jitter=0)))])
    async with serve(world) as awx, running_receiver() as receiver:
        text = CONFIG.format(awx=awx.url, token=TOKEN, hook=receiver.url, secret=SECRET)
        (tmp_path / "bridge.yaml").write_text(text)
        yield Scene(tmp_path, receiver)


def session():
    """Yield each command that the section shows, and what is below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def matches(shown, out):
    """Whether `out` is what `shown` says, in which `…` stands for anything."""
    return re.fullmatch(".*?".join(map(re.escape, shown.split("…"))), out, re.DOTALL) is not None


async def test_the_session_that_the_documentation_shows(scene):
    code = None
    async with scene.bridge() as daemon:
        lines = (scene.folder / "events.jsonl").read_text()
        for command, shown in session():
            words = shlex.split(command)
            if words == ["echo", "$?"]:
                assert f"{code}\n" == shown
                continue
            if "retry" in words and not scene.picky.known:
                assert scene.got(FAILED) == []
                scene.picky.known = True
            elif "no bridge runs" in shown:
                daemon.terminate()
                await daemon.wait()
            code, out = await scene.run(*words[1:])
            assert matches(shown, out), f"{command}\n{out}"
    (request,) = scene.got(FAILED)
    scene.receiver.verify(SECRET)
    assert json.loads(request.body)["replayed"] is True
    assert len(scene.receiver.received) == 5
    assert (scene.folder / "events.jsonl").read_text() == lines
    (dropped,) = scene.said("dead_letter.dropped")
    assert (dropped["sink"], dropped["why"], len(dropped["ids"])) == ("cmdb", "web03 is gone", 2)
    assert len(scene.said("order.carried_out")) == 2


async def test_what_is_refused_again_stays(scene):
    async with scene.bridge():
        code, out = await scene.letters("retry", FAILED)
        assert (code, out) == (
            1,
            f"cmdb does not accept {FAILED}, which stays a dead letter: HTTP 422: host web03 is unknown\n",
        )
        code, out = await scene.letters("retry", "--all", "--json")
        assert code == 1
        answer = json.loads(out)
        assert answer["done"] is False
        assert [letter["result"] for letter in answer["letters"]] == ["refused"] * 3
        code, out = await scene.letters("retry", "--all")
        assert code == 1
        assert out.count("\trefused\tHTTP 422: host web03 is unknown\n") == 3
        assert out.endswith("of 3 dead letters: 3 not accepted or not sent: these stay\n")
        scene.picky.known = True
        code, out = await scene.letters("retry", "--all", "--json")
        assert code == 0
        assert {letter["result"] for letter in json.loads(out)["letters"]} == {"sent"}
    assert [len(scene.got(f"prod/job/812/event/{n}")) for n in (11, 18, 25)] == [1, 1, 1]


async def test_an_order_to_a_bridge_that_hangs_is_carried_out_later(scene):
    async with scene.bridge() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        code, out = await scene.letters("drop", FAILED, "--timeout", "0.5")
        assert code == 69
        assert out.startswith("no answer within 0.5 seconds; order 1 stays in ")
        daemon.send_signal(signal.SIGCONT)
        await until(lambda: scene.said("order.carried_out"), within=20)
    code, out = await scene.letters("list", "--json")
    assert FAILED not in {letter["id"] for letter in json.loads(out)}


async def test_orders_survive_kill_9(scene):
    async with scene.bridge() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        assert (await scene.letters("drop", FAILED, "--timeout", "0"))[0] == 69
        daemon.kill()
        await daemon.wait()
        code, out = await scene.letters("drop", "--all")
        assert (code, out.partition(":")[0]) == (69, f"no bridge runs on {scene.folder}/state/bridge.db")
    async with scene.bridge():
        code, out = await scene.letters("drop", "--all")
        assert (code, out) == (0, "of 2 dead letters: 2 dropped\n")
    assert [entry["order"] for entry in scene.said("order.carried_out")] == [1, 2]
