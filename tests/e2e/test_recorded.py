"""Jobs of a real AWX, played again with the visibility that was recorded, through the whole command."""

import pytest

from tests.support.awx_recordings import FOLDER, needs_recordings
from tests.support.outcome import check_failures, check_secrets
from tests.support.process import bridges, simulated
from tests.support.scene import FAILED, PARTITIONS, set_up, settled
from tests.support.truth import check_envelopes, check_everything, check_schema

pytestmark = pytest.mark.timeout(180)

TOO_LONG = {"job-long-8668", "job-mixed", "job-timeout", "job-dispatcher_restart"}
TIMELINES = ("w4-short-failure-job", "w4-receiver-stopped-22s", "w4-910-events-all-readers", "w2-two-workers")


def link_some(folder):
    """Make a folder of the recordings that are played within a minute; the names decide the order."""
    for room, wanted in (
        ("events", lambda name: name.split(".")[0] not in TOO_LONG),
        ("timeline", lambda name: name.startswith(TIMELINES)),
    ):
        (folder / room).mkdir(parents=True)
        for path in filter(lambda path: wanted(path.name), (FOLDER / room).iterdir()):
            (folder / room / path.name).symlink_to(path)


@needs_recordings
async def test_recorded_jobs(tmp_path, kafka_broker):
    link_some(tmp_path / "recordings")
    words = ("--scenario", "recorded", "--recordings", tmp_path / "recordings", "--speed", 2)
    async with set_up(tmp_path, kafka_broker) as scene, simulated(tmp_path, *words) as awx:
        config = scene.write(
            awx,
            # the stopped receiver of one recording showed nothing for 19 s after the end
            source={"close_wait": "12s"},
            routes=[{"match": FAILED, "to": ["ops", "cmdb"]}],
        )
        with bridges(tmp_path) as start:
            bridge = start(config)
            await scene.idle(bridge, (await awx.truth())["jobs"], within=120)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    [lossy] = [job for job in truth["jobs"] if job["lost"]]
    assert lossy["lost"] == [[231, 272]]
    check_envelopes(told, partitions=PARTITIONS)
    check_schema(one.fields for one in told)
    check_failures(scene, truth)
    check_secrets(scene, [bridge], told)
