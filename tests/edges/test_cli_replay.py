"""`replay` as a process, beside a real bridge: the session that docs/operations.md shows, and more."""

import asyncio
import json
import os
import re
import shlex
import sys
import time
from contextlib import asynccontextmanager
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

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Replay\n")[2].partition("\n## ")[0]
CONFIG = """
sources: {{prod: {{url: "{awx}", token: {token}, start: now, max_requests: 100}}}}
sinks:
  lines: {{type: file, path: ./lines.jsonl}}
  cmdb: {{type: file, path: ./cmdb.jsonl}}
routes:
  - to: lines
  - {{match: {{type: awx.job.failed}}, to: cmdb}}
server: {{listen: null}}
"""


class Scene:
    def __init__(self, folder):
        self.folder = folder

    async def run(self, *words):
        """Run the command; return its exit code, what it wrote, and what it said beside that."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", *words),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def replay(self, *words):
        return await self.run("replay", "bridge.yaml", *words)

    @asynccontextmanager
    async def bridge(self):
        with (self.folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", "run", "bridge.yaml"),
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        try:
            await until(
                lambda: "discovery.started" in (self.folder / "log").read_text(), within=30, what="the bridge"
            )
            yield process
        finally:
            process.terminate()
            await process.wait()

    def got(self, sink):
        path = self.folder / f"{sink}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [event for event in found if event["type"].startswith("awx.")]


@pytest.fixture
async def scene(tmp_path):
    """AWX with one job that had failed before the bridge's first start."""
    world = World(time.time, first_job_id=812)
    writer = playbook("deploy-web", hosts=("web01", "web02", "web03"), tasks=3, troubles={"web03": FULL_DISK})
    world.stage([Act(at=-60, plan=job("deploy-web", writer=writer, receiver=Callback(jitter=0)))])
    async with serve(world) as awx:
        (tmp_path / "bridge.yaml").write_text(CONFIG.format(awx=awx.url, token=TOKEN))
        yield Scene(tmp_path)


def session():
    """Yield each command that the section shows, and what is below it."""
    for block in re.findall(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


async def test_the_session_that_the_documentation_shows(scene):
    async with scene.bridge():
        for command, shown in session():
            if "--dry-run" not in command and "lines" in command:
                assert scene.got("lines") == []
            code, out, err = await scene.run(*shlex.split(command)[1:])
            assert code == 0, err
            assert re.fullmatch(".*?".join(map(re.escape, shown.split("…"))), out, re.DOTALL), out
    lines = scene.got("lines")
    counters = [event["counter"] for event in lines[:-1]]
    assert counters == list(range(1, len(counters) + 1))
    assert lines[-1]["id"] == "prod/job/812/status/failed"
    assert lines[-1]["complete"] is True
    assert lines[-1]["events_total"] == len(counters)
    assert lines[-1]["failures"][0]["host"] == "web03"
    assert all(event["replayed"] for event in lines)
    assert [event["id"] for event in scene.got("cmdb")] == ["prod/job/812/status/failed"]


async def test_json_numbers_and_what_is_not_there(scene):
    async with scene.bridge():
        code, out, _ = await scene.replay("--to", "cmdb", "--job", "812", "--json")
        answer = json.loads(out)
        assert (code, answer["done"], answer["events"], answer["jobs"]) == (0, True, 1, 1)
        code, out, err = await scene.replay("--to", "cmdb", "--job", "999")
        assert code == 1
        assert out == "prod/999\t0\t\t\tAWX shows no such job\n"
        assert err.endswith("replayed to cmdb: 1 job, 0 events sent, 1 job left out\n")
        code, out, _ = await scene.replay(
            "--to", "cmdb", "--job", "job/812", "--again", "--no-wait", "--json"
        )
        assert (code, json.loads(out)) == (0, {"order": 3})
        await until(lambda: len(scene.got("cmdb")) > 1, within=20, what="the order to be carried out")


async def test_without_a_bridge_nothing_is_ordered(scene):
    code, _, err = await scene.replay("--to", "lines", "--job", "812")
    assert (code, err.partition(":")[0]) == (69, f"no bridge runs on {scene.folder}/state/bridge.db")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--to lines", "give jobs, or since when"),
        ("--to lines --job 1 --since 2h", "give jobs, or since when"),
        ("--to lines --job 1 --status failed", "goes with --since only"),
        ("--to line --job 1", "no sink is called 'line'"),
        ("--to lines --job x", "'x' is no job"),
        ("--to lines --job jobs/1", "no job type is called 'jobs'"),
        ("--to lines --job dev/job/1", "no source is called 'dev'"),
        ("--to lines --since yesterday", "'yesterday' is no time"),
        ("--to lines --since 2h --status failing", "no final status is called 'failing'"),
        ("--to lines --since 2h --source dev", "no source is called 'dev'"),
    ],
)
async def test_wrong_usage_is_said_at_once(scene, words, sentence):
    code, _, err = await scene.replay(*words.split())
    assert code == 2
    assert sentence in " ".join(err.split())
