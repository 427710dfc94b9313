"""SQLite as SQLite: damaged files, full disks, kill -9."""

import asyncio
import os
import resource
import signal
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.errors import StateError
from bridge.model import Job, JobKey, JobRecord, Place, SinkRecord
from bridge.ports import Changes
from bridge.state import sqlite
from bridge.state.schema import APPLICATION_ID, STEPS
from bridge.state.sqlite import open_state
from tests.support.fakes import FakeClock

ROOT = Path(__file__).parents[2]


def key(number):
    return JobKey("prod", "job", number)


def change(through, jobs=20, size=0):
    """One commit that only makes sense whole: every place has the same `through`."""
    return Changes(
        jobs={
            key(n): JobRecord(job=Job(key=key(n), status="running", name="x" * size), first_seen=1.0)
            for n in range(jobs)
        },
        places={(key(n), "ops"): Place(through=through) for n in range(jobs)},
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "state" / "bridge.db"


def opened(path):
    return open_state(path, owner="test", clock=FakeClock())


async def through_of(path):
    async with opened(path) as state:
        places = (await state.load()).places
    values = {place.through for place in places.values()}
    assert len(values) <= 1, f"half a commit: {values}"
    return values.pop() if values else 0


async def test_the_file_and_its_folder_are_made_for_their_owner_only(path):
    async with opened(path) as state:
        await state.commit(change(1))
        assert path.parent.stat().st_mode & 0o777 == 0o700
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


async def test_every_commit_is_synced(path):
    async with opened(path) as state:
        db = state._file._connection

        def ask(pragma):
            return state.call(lambda _now: db.execute(f"PRAGMA {pragma}").fetchone()[0], 1)

        assert await ask("journal_mode") == "wal"
        assert await ask("synchronous") == 2


async def test_an_empty_file_becomes_a_state_file(path):
    path.parent.mkdir(parents=True)
    path.touch()
    async with opened(path) as state:
        await state.commit(change(1))
    assert await through_of(path) == 1


async def test_a_link_to_the_file_is_the_same_file(path, tmp_path):
    async with opened(path) as state:
        await state.commit(change(1))
        link = tmp_path / "link.db"
        link.symlink_to(path)
        with pytest.raises(StateError, match="is owned by"):
            async with opened(link):
                pass


async def refused(path, words):
    before = path.read_bytes()
    with pytest.raises(StateError, match=words) as caught:
        await through_of(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert not isinstance(caught.value, sqlite3.Error)


async def test_a_text_file_is_refused_and_left_alone(path):
    path.parent.mkdir(parents=True)
    path.write_text("name: awx-bridge\n" * 100)
    await refused(path, "no SQLite database: set state.path")


async def test_the_database_of_another_program_is_refused_and_left_alone(path):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    await refused(path, "another program")
    assert not path.with_name("bridge.db-wal").exists()


async def test_an_older_file_is_copied_beside_itself_before_it_is_changed(path):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path, isolation_level=None) as db:
        for statement in STEPS[0]:
            db.execute(statement)
        db.execute("INSERT INTO sources (name, record) VALUES ('prod', '{}')")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
    db.close()
    async with opened(path) as state:
        assert list((await state.load()).sources) == ["prod"]
    copy = path.with_name("bridge.db.v1")
    with sqlite3.connect(copy) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT name FROM sources").fetchall() == [("prod",)]
    db.close()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "bridge.db",
        "bridge.db.lock",
        "bridge.db.v1",
    ]


async def test_a_new_file_has_no_copy(path):
    await through_of(path)
    assert not list(path.parent.glob("*.v*"))


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(path):
    await through_of(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 99")
    db.close()
    await refused(
        path,
        f"newer version of the bridge .state version 99, this one knows {len(STEPS)}.: start that version",
    )


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
async def test_a_damaged_file_is_refused_and_left_alone(path, where):
    async with opened(path) as state:
        await state.commit(change(1, jobs=200, size=500))
    content = bytearray(path.read_bytes())
    start = int(len(content) * where) // 4096 * 4096
    content[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    await refused(path, "damaged: move it away, or restore")


async def test_a_cut_file_is_refused_and_left_alone(path):
    async with opened(path) as state:
        await state.commit(change(1, jobs=200, size=500))
    path.write_bytes(path.read_bytes()[: -5 * 4096])
    await refused(path, "damaged: move it away, or restore")


async def test_a_value_that_nobody_wrote_is_refused(path):
    async with opened(path) as state:
        await state.commit(change(1))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute('UPDATE places SET place = \'{"through": "x"}\'')
    db.close()
    await refused(path, "cannot read: move it away")


async def test_a_folder_in_the_way_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(StateError, match="cannot be opened"):
        await through_of(path)


async def test_a_file_where_the_folder_should_be_is_refused(path):
    path.parent.parent.mkdir(parents=True)
    path.parent.touch()
    with pytest.raises(StateError, match="rights on the file and its folder"):
        await through_of(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_without_write_access_is_refused(path):
    path.parent.mkdir(parents=True, mode=0o500)
    with pytest.raises(StateError, match="rights on the file and its folder"):
        await through_of(path)


async def test_a_long_running_bridge_drops_removed_sinks_as_well(path):
    clock = FakeClock()
    gone = SinkRecord(destination="x", removed_at=clock.now())

    def sinks(state):
        return state.call(
            lambda _now: state._file._connection.execute("SELECT name FROM sinks").fetchall(), 1
        )

    async with open_state(path, owner="test", clock=clock) as state:
        await state.commit(Changes(sinks={"gone": gone}))
        clock.skew = sqlite.HOUSEKEEPING_EVERY + 7 * 86_400.0
        assert await sinks(state) == [("gone",)]
        await state.commit(change(1))
        assert await sinks(state) == []


async def test_a_full_database_stops_and_keeps_what_was_committed(path):
    async with opened(path) as state:
        await state.commit(change(1))
        db = state._file._connection
        await state.call(lambda _now: db.execute("PRAGMA max_page_count = 20").fetchone(), 1)
        with pytest.raises(StateError, match="disk is full: make room"):
            await state.commit(change(2, jobs=500, size=2000))
        assert {place.through for place in (await state.load()).places.values()} == {1}
    assert await through_of(path) == 1


@contextmanager
def files_no_longer_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_no_more_bytes_stops_and_keeps_what_was_committed(path):
    async with opened(path) as state:
        await state.commit(change(1))
        with (
            files_no_longer_than(400_000),
            pytest.raises(StateError, match=r"make room|cannot be read or written"),
        ):
            await state.commit(change(2, jobs=500, size=2000))
    assert await through_of(path) == 1


async def test_a_disk_that_is_full_at_the_start_is_refused(path):
    with files_no_longer_than(1000), pytest.raises(StateError, match=r"make room|cannot be read or written"):
        await through_of(path)
    assert await through_of(path) == 0


async def test_another_program_that_holds_the_file_is_named(path, monkeypatch):
    async with opened(path) as state:
        await state.commit(change(1))
        await state.call(
            lambda _now: state._file._connection.execute("PRAGMA busy_timeout = 50").fetchone(), 1
        )
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="another program holds it"):
            await state.commit(change(2))
        other.execute("ROLLBACK")
        other.close()
        await state.commit(change(3))
    assert await through_of(path) == 3


async def test_a_reader_beside_the_bridge_sees_whole_commits(path):
    async with opened(path) as state:
        await state.commit(change(1))
        reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        await state.commit(change(2))
        assert reader.execute("SELECT DISTINCT json_extract(place, '$.through') FROM places").fetchall() == [
            (2,)
        ]
        reader.close()


async def test_a_disk_that_hangs_is_an_error_after_a_while(path, monkeypatch):
    monkeypatch.setattr(sqlite, "COMMIT_LIMIT", 0.05)
    free = threading.Event()
    async with opened(path) as state:
        await state.load()
        stuck = asyncio.ensure_future(state.call(lambda _now: free.wait(5), 10))
        await asyncio.sleep(0.01)
        with pytest.raises(StateError, match="has not answered for"):
            await state.commit(change(1))
        free.set()
        await stuck


async def test_the_loop_turns_while_the_disk_works(path):
    async with opened(path) as state:
        ticks = 0
        work = asyncio.ensure_future(state.call(lambda _now: time.sleep(0.2), 5))
        while not work.done():
            ticks += 1
            await asyncio.sleep(0.01)
    assert ticks > 5


@pytest.mark.parametrize("wait", [0, 0.0005, 0.002, 0.01, 0.05])
async def test_a_cancelled_commit_is_whole(path, wait):
    async with opened(path) as state:
        await state.commit(change(1, jobs=2000))
        commit = asyncio.ensure_future(state.commit(change(2, jobs=2000)))
        await asyncio.sleep(wait)
        commit.cancel()
        await asyncio.wait([commit])
        await state.commit(Changes(forgotten={key(1)}))
    assert await through_of(path) in (1, 2)


async def test_cancelling_the_start_gives_the_file_back(path):
    async def start():
        async with opened(path):
            await asyncio.sleep(60)

    for wait in (0, 0.001, 0.005, 0.05):
        task = asyncio.ensure_future(start())
        await asyncio.sleep(wait)
        task.cancel()
        await asyncio.wait([task])
        assert await through_of(path) == 0


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.edges.test_state_sqlite import change, opened

async def main():
    async with opened(Path(sys.argv[1])) as state:
        n = next(iter((await state.load()).places.values())).through
        while True:
            n += 1
            await state.commit(change(n))
            print(n, flush=True)

asyncio.run(main())
"""


async def test_kill_9_leaves_one_of_the_committed_states(path):
    async with opened(path) as state:
        await state.commit(change(1))
    before = 1
    for round_ in range(10):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(20):
            said = await writer.stdout.readline()
        await asyncio.sleep(0.003 * round_)
        writer.send_signal(signal.SIGKILL)
        said += await writer.stdout.read()
        await writer.wait()
        last = int(said.split()[-1])
        now = await through_of(path)
        assert now in (last, last + 1)
        assert now > before
        before = now


def test_every_error_of_sqlite_has_a_sentence(tmp_path):
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    for kind in below(sqlite3.Error):
        with (
            pytest.raises(StateError, match=r"state file .*bridge.db: "),
            sqlite._File(tmp_path / "bridge.db")._door(),
        ):
            raise kind("what SQLite says")
