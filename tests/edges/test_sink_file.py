import errno
import json
import os
import resource
import signal
import threading

import pytest

from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.ports import SinkContext
from bridge.sinks import file as file_sink
from bridge.sinks.file import FileOptions, open_file
from tests.support.samples import sample
from tests.support.wallclock import WallClock


def opened(path, **more):
    options = FileOptions(type="file", path=path, **more)
    return open_file(options, SinkContext(bridge="b", name="log", clock=WallClock()))


def ids(path):
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


async def test_one_flat_object_a_line_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "events.jsonl"
    events = [sample(n, stdout="two\nlines") for n in range(1, 4)]
    async with opened(path) as sink:
        await sink.send(events[:2])
        await sink.send(events[2:])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [event.read() for event in events]
    assert path.stat().st_mode & 0o007 == 0


async def test_it_is_appended_to_across_starts(tmp_path):
    path = tmp_path / "events.jsonl"
    for number in (1, 2):
        async with opened(path) as sink:
            await sink.send([sample(number)])
    assert ids(path) == [sample(1).id, sample(2).id]


@pytest.mark.parametrize("rotate", [os.rename, lambda path, _: path.unlink()])
async def test_a_file_that_was_moved_away_is_made_anew(tmp_path, rotate):
    path = tmp_path / "events.jsonl"
    async with opened(path) as sink:
        await sink.send([sample(1)])
        rotate(path, tmp_path / "events.jsonl.1")
        await sink.send([sample(2)])
    assert ids(path) == [sample(2).id]


async def test_a_file_that_was_emptied_in_place_goes_on_at_its_start(tmp_path):
    path = tmp_path / "events.jsonl"
    async with opened(path) as sink:
        await sink.send([sample(1)])
        os.truncate(path, 0)
        await sink.send([sample(2)])
    assert ids(path) == [sample(2).id]


@pytest.mark.parametrize("torn", [b"{", b'{"id": "x', b'{"id":"' + b"x" * 200_000, b'{"id":"whole"}'])
@pytest.mark.parametrize("before", [b"", b'{"id":"first"}\n'])
async def test_a_torn_last_line_is_cut_off(tmp_path, torn, before):
    path = tmp_path / "events.jsonl"
    path.write_bytes(before + torn)
    async with opened(path) as sink:
        await sink.send([sample(1)])
    assert ids(path) == ["first"] * bool(before) + [sample(1).id]


@pytest.mark.parametrize("content", [b"name: awx-bridge", b"a line\nno json", b"\x00\x00"])
async def test_somebody_elses_file_is_left_untouched(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    async with opened(path) as sink:
        with pytest.raises(SinkRefusedError, match="does not look like JSON Lines"):
            await sink.send([sample(1)])
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *(
            (code, TemporaryDeliveryError)
            for code in ("ENOSPC", "EIO", "EDQUOT", "EMFILE", "ESTALE", "EAGAIN")
        ),
        *(
            (code, SinkRefusedError)
            for code in ("EACCES", "EPERM", "EROFS", "ENOENT", "ENOTDIR", "EISDIR", "ELOOP")
        ),
    ],
)
async def test_every_error_of_the_system_has_a_decision(tmp_path, monkeypatch, code, kind):
    number = getattr(errno, code)

    def fail(fd):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "events.jsonl"
    async with opened(path) as sink:
        monkeypatch.setattr(file_sink.os, "fsync", fail)
        with pytest.raises(kind) as caught:
            await sink.send([sample(1)])
        assert caught.value.reason == f"{os.strerror(number)}: {path}"
        monkeypatch.undo()
        await sink.send([sample(2)])
    assert ids(path)[-1] == sample(2).id


async def test_a_full_disk_leaves_no_half_line(tmp_path):
    path = tmp_path / "events.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened(path) as sink:
        await sink.send([sample(1)])
        before = path.read_bytes()
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
            with pytest.raises(TemporaryDeliveryError, match="File too large"):
                await sink.send([sample(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)
        assert path.read_bytes() == before
        await sink.send([sample(2)])
    assert ids(path) == [sample(1).id, sample(2).id]


async def test_a_folder_is_refused(tmp_path):
    async with opened(tmp_path) as sink:
        with pytest.raises(SinkRefusedError, match="Is a directory"):
            await sink.send([sample(1)])


async def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    async with opened(tmp_path / "pipe") as sink:
        with pytest.raises(SinkRefusedError, match="not a regular file"):
            await sink.send([sample(1)])


async def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    async with opened(tmp_path / "a" / "events.jsonl") as sink:
        with pytest.raises(SinkRefusedError):
            await sink.send([sample(1)])


@pytest.mark.parametrize(("fsync", "synced"), [(True, 2), (False, 0)])
async def test_fsync_is_an_option(tmp_path, monkeypatch, fsync, synced):
    seen = []
    monkeypatch.setattr(file_sink.os, "fsync", seen.append)
    async with opened(tmp_path / "events.jsonl", fsync=fsync) as sink:
        await sink.send([sample(1), sample(2)])
    assert len(seen) == synced  # the folder once, and the batch


async def test_no_file_is_touched_on_the_loop(tmp_path, monkeypatch):
    threads = set()
    write = os.write
    monkeypatch.setattr(
        file_sink.os, "write", lambda fd, data: threads.add(threading.current_thread()) or write(fd, data)
    )
    async with opened(tmp_path / "events.jsonl") as sink:
        await sink.send([sample(1)])
    assert threads
    assert threading.main_thread() not in threads


def test_the_destination_is_the_path():
    assert FileOptions(type="file", path="/var/log/events.jsonl").destination == "/var/log/events.jsonl"
