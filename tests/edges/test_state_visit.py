"""A command beside the bridge: what it may look at, what it leaves alone, and older files."""

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from bridge.errors import StateError
from bridge.model import DeadLetter, Outcome
from bridge.ports import Changes
from bridge.state import ownership, schema
from bridge.state.ownership import OwnerLock
from bridge.state.sqlite import open_state
from bridge.state.visit import visit
from tests.support.fakes import FakeClock

LETTER = DeadLetter(sink="ops", event_id="e", type="t", reason="r", at=1.0, copy=b"{}", whole=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bridge.db"


def opened(path):
    return open_state(path, owner="test", clock=FakeClock())


async def test_whether_a_bridge_runs(path):
    async with opened(path):
        with visit(path) as command, visit(path) as other:
            assert command.is_owned()
            assert other.is_owned()
    with visit(path) as command:
        assert not command.is_owned()
        path.with_name("bridge.db.lock").unlink()
        assert not command.is_owned()


async def test_a_link_to_the_file_is_the_same_file(path, tmp_path):
    link = tmp_path / "elsewhere.db"
    link.symlink_to(path)
    async with opened(path):
        with visit(link) as command:
            assert command.is_owned()


async def test_two_who_ask_at_once_are_no_bridge(path, monkeypatch):
    async with opened(path):
        pass
    asked = os.open(path.with_name("bridge.db.lock"), os.O_RDONLY)
    ownership.fcntl.flock(asked, ownership.fcntl.LOCK_SH)
    with visit(path) as command:
        assert not command.is_owned()
    os.close(asked)


def test_a_bridge_that_starts_while_a_command_asks_waits_for_that(path):
    path.with_name("bridge.db.lock").touch()
    asked = os.open(path.with_name("bridge.db.lock"), os.O_RDONLY)
    ownership.fcntl.flock(asked, ownership.fcntl.LOCK_SH)
    timer = threading.Timer(0.03, os.close, [asked])
    timer.start()
    OwnerLock(path, owner="x", now=0.0).release()
    timer.join()


async def test_looking_works_without_a_bridge_and_changes_nothing(path):
    async with opened(path) as state:
        await state.commit(Changes(dead_letters=[LETTER]))
    before = path.read_bytes()
    with visit(path) as command:
        assert list(command.dead_letters()) == [LETTER]
        with pytest.raises(StateError, match="cannot be written"):
            command.give("a", {}, who="ada", at=1.0)
    assert path.read_bytes() == before


async def test_an_order_is_given_while_the_bridge_commits(path):
    async with opened(path) as state:
        with visit(path, giving=True) as command:
            for number in range(1, 20):
                await state.commit(Changes(dead_letters=[LETTER]))
                assert command.give("a", {}, who="ada", at=1.0) == number
                await state.end_order(number, Outcome(done=True, sentence="yes"))
                assert command.outcome(number).done


async def test_giving_needs_a_file_and_makes_none(path):
    for giving in (True, False):
        with pytest.raises(StateError, match="cannot be opened"), visit(path, giving=giving):
            pass
    assert list(path.parent.iterdir()) == []


def test_a_database_of_another_program_is_refused(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StateError, match="another program"), visit(path, giving=True):
        pass


def write_version_1(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in schema.STEPS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.executemany(
            "INSERT INTO dead_letters (sink, event_id, type, reason, at, copy) VALUES ('ops', ?, 't', 'r', 1, ?)",
            [("whole", b"{}"), ("cut", b"x" * 16_384), ("bug", b"")],
        )


async def test_a_file_of_the_first_version_is_brought_up_to_date(path):
    write_version_1(path)
    async with opened(path) as state:
        found = {letter.event_id: (letter.whole, letter.late) for letter in await state.dead_letters()}
        assert found == {"whole": (True, False), "cut": (False, False), "bug": (False, False)}
        assert list(await state.orders()) == []


def test_a_command_does_not_touch_a_file_of_an_older_version(path):
    write_version_1(path)
    before = path.read_bytes()
    with (
        pytest.raises(StateError, match=r"older version .* start the bridge of this version"),
        visit(path, giving=True),
    ):
        pass
    assert path.read_bytes() == before


async def test_an_order_that_nobody_could_have_given_is_an_error(path):
    async with opened(path) as state:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("INSERT INTO orders (kind, arguments, who, at) VALUES ('a', '[]', 'ada', 1)")
        with pytest.raises(StateError, match="cannot read"):
            await state.orders()
