"""`run` as a process: signals, exit codes, and what its log looks like."""

import asyncio
import json
import os
import signal
import sys

import pytest

CONFIG = """
sources: {prod: {url: "http://127.0.0.1:1", token: t}}
sinks: {out: {type: file, path: ./out.jsonl}}
routes: [{to: out}]
server: {listen: null}
"""


class Daemon:
    """A bridge in `folder`, started with these words."""

    def __init__(self, folder, *words):
        self.folder, self.words = folder, words

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "run", "bridge.yaml", *self.words),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def line_with(self, words):
        async with asyncio.timeout(30):
            while words not in (line := (await self.process.stderr.readline()).decode()):
                assert line, f"the bridge ended without {words}"
        return line

    async def ended(self):
        async with asyncio.timeout(30):
            _, err = await self.process.communicate()
        return self.process.returncode, err.decode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bridge.yaml").write_text(CONFIG)
    return tmp_path


def rewrite(folder, old, new):
    path = folder / "bridge.yaml"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it(folder, number):
    async with Daemon(folder) as daemon:
        line = await daemon.line_with("bridge.started")
        assert json.loads(line)["level"] == "info"
        daemon.process.send_signal(number)
        code, err = await daemon.ended()
    assert code == 0
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert "bridge.stopping" in events
    assert events[-1] == "bridge.stopped"
    assert (folder / "state" / "bridge.db").exists()


async def test_a_second_signal_ends_it_at_once(folder):
    connected, closed = asyncio.Event(), asyncio.Event()

    async def never_answer(reader, writer):
        connected.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rewrite(
            folder, "{type: file, path: ./out.jsonl}", f'{{type: webhook, url: "http://127.0.0.1:{port}"}}'
        )
        async with Daemon(folder) as daemon:
            async with asyncio.timeout(30):
                await connected.wait()
            daemon.process.terminate()
            await daemon.line_with("bridge.stopping")
            daemon.process.terminate()
            code, _ = await daemon.ended()
        await closed.wait()
    assert code == 128 + signal.SIGTERM


async def test_for_people_on_request(folder):
    rewrite(folder, "server:", "log: {format: console}\nserver:")
    async with Daemon(folder) as daemon:
        line = await daemon.line_with("bridge.started")
        assert not line.startswith("{")
        assert "\x1b" not in line


async def test_two_bridges_on_one_state(folder):
    async with Daemon(folder) as first:
        await first.line_with("bridge.started")
        async with Daemon(folder) as second:
            code, err = await second.ended()
    assert code == 75
    assert "Traceback" not in err


async def test_a_damaged_state(folder):
    (folder / "state").mkdir()
    (folder / "state" / "bridge.db").write_text("this is no database" * 100)
    async with Daemon(folder) as daemon:
        code, err = await daemon.ended()
    assert code == 74
    assert err.startswith("state file ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


async def test_a_changed_destination_must_be_accepted(folder):
    async with Daemon(folder) as daemon:
        await daemon.line_with("bridge.started")
        daemon.process.terminate()
        assert (await daemon.ended())[0] == 0
    rewrite(folder, "./out.jsonl", "./other.jsonl")
    async with Daemon(folder) as daemon:
        code, err = await daemon.ended()
        assert code == 78
        assert err.startswith("bridge.yaml: sinks.out: this sink delivered to")
    async with Daemon(folder, "--accept", "out") as daemon:
        await daemon.line_with("bridge.started")


async def test_accepting_a_sink_that_is_not_there(folder):
    async with Daemon(folder, "--accept", "oot") as daemon:
        code, err = await daemon.ended()
    assert code == 2
    assert "no sink is called 'oot'; did you mean 'out'?" in err
