"""Kills at every boundary and at random; the long form is `make soak N=300`."""

import pytest

from tests.faults.points import POINTS
from tests.faults.soak import plan, soak

ROUNDS = 60


def test_the_plan_comes_from_the_seed_and_visits_every_point():
    assert plan(7, ROUNDS) == plan(7, ROUNDS)
    assert plan(7, ROUNDS) != plan(8, ROUNDS)
    assert {point for point, _, _ in plan(7, ROUNDS)} >= set(POINTS)


@pytest.mark.timeout(600)
async def test_sixty_kills_lose_nothing_and_double_nothing(tmp_path, kafka_broker):
    report = await soak(tmp_path, kafka_broker, rounds=ROUNDS, seed=1)
    assert report.never_hit == []
    assert report.events > 1_000
