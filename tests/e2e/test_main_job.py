"""The main job: many jobs of all types through the command into Kafka, Slack and a webhook."""

import pytest

from tests.support.outcome import check_failures, check_secrets
from tests.support.process import bridges, simulated
from tests.support.scene import FAILED, PARTITIONS, set_up, settled
from tests.support.truth import check_envelopes, check_everything, check_schema

pytestmark = pytest.mark.timeout(180)


async def test_a_storm_of_jobs(tmp_path, kafka_broker):
    async with (
        set_up(tmp_path, kafka_broker, limited=True) as scene,
        simulated(tmp_path, "--scenario", "storm", "--jitter", 1) as awx,
    ):
        config = scene.write(awx, routes=[{"match": FAILED, "to": ["ops", "cmdb"]}])
        jobs = (await awx.truth())["jobs"]
        assert len(jobs) == 30
        with bridges(tmp_path) as start:
            bridge = start(config)
            await scene.idle(bridge, jobs, within=120)
            assert await bridge.stop() == 0
        truth = await settled(awx)
        told = await scene.told()

    check_everything(told, truth)
    assert sum("counter" in one.fields for one in told) > 49_900
    assert sum("late" in one.fields for one in told) > 0
    check_envelopes(told, partitions=PARTITIONS)
    check_schema(one.fields for one in told)
    check_failures(scene, truth)
    check_secrets(scene, [bridge], told)
