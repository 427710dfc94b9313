"""Who may use a state file."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from bridge.errors import StateError, StateOwnedError
from bridge.state.ownership import OwnerLock, file_system_of, refuse_network_disk
from bridge.state.sqlite import open_state
from tests.support.fakes import FakeClock

ROOT = Path(__file__).parents[2]

MOUNTINFO = r"""22 1 0:21 / / rw,relatime - ext4 /dev/vda1 rw
23 22 0:22 / /proc rw,nosuid shared:5 master:1 - proc proc rw
30 22 0:40 /export /data rw,relatime shared:7 - nfs4 10.0.0.1:/export rw,vers=4.2
31 30 0:41 / /data/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/our\040share rw - cifs //server/share rw
33 22 0:43 / /srv rw - nfs 10.0.0.1:/a rw
34 33 0:44 / /srv rw - btrfs /dev/vdc rw
35 22 0:45 / /host rw - 9p share rw
36 22 0:46 / /smb rw - smb3 //server/share rw
garbage
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib/bridge", "ext4"),
        ("/data", "nfs4"),
        ("/data/state", "nfs4"),
        ("/data/local/state", "xfs"),
        ("/database", "ext4"),
        ("/mnt/our share/state", "cifs"),
        ("/srv/state", "btrfs"),
        ("/host/state", "9p"),
        ("/smb", "smb3"),
    ],
)
def test_the_nearest_and_last_mount_holds_the_folder(folder, kind):
    assert file_system_of(Path(folder), MOUNTINFO) == kind


def test_a_folder_that_no_mount_covers_has_no_type():
    assert file_system_of(Path("/x"), "") is None


@pytest.mark.parametrize("folder", ["/data/state", "/mnt/our share", "/smb/x"])
def test_network_disks_are_refused(folder):
    with pytest.raises(
        StateError, match=re.escape(folder) + ".*network file system .*set state.path to a disk"
    ):
        refuse_network_disk(Path(folder), MOUNTINFO)


@pytest.mark.parametrize("folder", ["/state", "/data/local", "/srv", "/host", "/nowhere"])
def test_disks_of_this_machine_are_taken(folder):
    refuse_network_disk(Path(folder), MOUNTINFO)


async def test_state_on_a_network_disk_is_not_even_made(tmp_path, monkeypatch):
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("1 0 0:1 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr("bridge.state.sqlite._MOUNTINFO", mountinfo)
    with pytest.raises(StateError, match="nfs4"):
        async with open_state(tmp_path / "bridge.db", owner="x", clock=FakeClock()):
            pass
    assert list(tmp_path.iterdir()) == [mountinfo]


async def test_a_second_bridge_is_told_who_owns_the_state(tmp_path):
    path = tmp_path / "bridge.db"
    clock = FakeClock(base=0.0)
    clock.skew = 1_780_000_000.0 - asyncio.get_running_loop().time()
    async with open_state(path, owner="awx-bridge", clock=clock):
        with pytest.raises(StateOwnedError, match=r"bridge\.db is owned by awx-bridge") as caught:
            async with open_state(path, owner="other", clock=clock):
                pass
    assert f"process {os.getpid()} on " in str(caught.value)
    assert "since 2026-05-28T20:26:40+00:00" in str(caught.value)
    async with open_state(path, owner="other", clock=clock):
        pass


def test_an_owner_that_has_not_written_its_name_owns_all_the_same(tmp_path):
    path = tmp_path / "bridge.db"
    lock = OwnerLock(path, owner="x", now=0.0)
    (tmp_path / "bridge.db.lock").write_text("")
    with pytest.raises(StateOwnedError, match="is owned by another bridge"):
        OwnerLock(path, owner="y", now=0.0)
    lock.release()


def test_a_released_lock_says_nothing(tmp_path):
    lock = OwnerLock(tmp_path / "bridge.db", owner="x", now=0.0)
    assert (tmp_path / "bridge.db.lock").read_text().startswith("x (process ")
    lock.release()
    assert (tmp_path / "bridge.db.lock").read_text() == ""


OWNER = """
import asyncio, sys
from pathlib import Path
from bridge.state.sqlite import open_state
from tests.support.fakes import FakeClock

async def main():
    async with open_state(Path(sys.argv[1]), owner="first", clock=FakeClock()):
        print("open", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_the_lock_of_a_killed_bridge_goes_with_it(tmp_path):
    path = tmp_path / "bridge.db"
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        await first.stdout.readline()
    with pytest.raises(StateOwnedError, match=rf"first \(process {first.pid} on "):
        async with open_state(path, owner="second", clock=FakeClock()):
            pass
    first.send_signal(signal.SIGKILL)
    await first.wait()
    first._transport.close()
    async with open_state(path, owner="second", clock=FakeClock()) as state:
        assert (await state.load()).jobs == {}
