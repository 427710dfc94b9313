import json
import os
import subprocess
import sys
import threading

import pytest

from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.sinks.stdout import StdoutOptions, StdoutSink
from tests.support.samples import sample


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read_lines(reader, wanted):
    with os.fdopen(os.dup(reader), "rb") as stream:
        return [json.loads(stream.readline())["id"] for _ in range(wanted)]


async def test_lines_come_out_in_order(pipe):
    await StdoutSink(StdoutOptions(type="stdout"), pipe[1]).send([sample(1), sample(2)])
    assert read_lines(pipe[0], 2) == [sample(1).id, sample(2).id]


async def test_nobody_reading_any_more_is_a_refusal(pipe):
    os.close(pipe[0])
    with pytest.raises(SinkRefusedError, match="Broken pipe"):
        await StdoutSink(StdoutOptions(type="stdout"), pipe[1]).send([sample(1)])


async def test_a_closed_output_is_a_refusal(pipe):
    os.close(pipe[1])
    with pytest.raises(SinkRefusedError, match="Bad file descriptor"):
        await StdoutSink(StdoutOptions(type="stdout"), pipe[1]).send([sample(1)])


async def test_a_reader_that_stops_is_not_waited_for_for_ever_and_no_line_is_torn(pipe):
    reader, writer = pipe
    sink = StdoutSink(StdoutOptions(type="stdout", timeout=0.05), writer)
    large = [sample(n, stdout="x" * 30_000) for n in range(1, 6)]
    for _ in range(3):
        with pytest.raises(TemporaryDeliveryError, match="nobody reads"):
            await sink.send(large)
    got = []
    patient = StdoutSink(StdoutOptions(type="stdout", timeout=20), writer)
    patient._unfinished = sink._unfinished

    def read_on():
        with os.fdopen(os.dup(reader), "rb") as stream:
            for line in stream:
                got.append(json.loads(line)["id"])
                if got[-1] == sample(9).id:
                    return

    reading = threading.Thread(target=read_on)
    reading.start()
    await patient.send([*large, sample(9)])
    reading.join(20)
    assert got[-6:] == [*(event.id for event in large), sample(9).id]
    assert set(got[:-6]) <= {event.id for event in large}


def test_it_is_the_real_standard_output():
    code = """
import asyncio
from bridge.ports import SinkContext
from bridge.sinks.stdout import StdoutOptions, open_stdout
from tests.support.samples import sample
from tests.support.wallclock import WallClock

async def main():
    context = SinkContext(bridge="b", name="out", clock=WallClock())
    async with open_stdout(StdoutOptions(type="stdout"), context) as sink:
        await sink.send([sample(1)])

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == sample(1).read()
