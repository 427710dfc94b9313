"""The simulated AWX as a function of the moment: visibility, statuses, counts, scenarios."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import SECRETS, oddities, plays, scenarios
from simulator.log import EventLog
from simulator.plan import ACTIVE, Act, Odd
from simulator.receiver import NEVER, Receiver
from simulator.world import World

START = 1_800_000_000.0


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


def world_of(acts, *, seed: int = 1, speed: float = 1.0) -> tuple[World, Hands]:
    clock = Hands()
    world = World(clock, seed=seed, speed=speed)
    world.stage(acts)
    return world, clock


def job_named(world: World, name: str):
    return next(job for job in world.jobs.values() if job.body["name"] == name)


def counters(job, now: float) -> list[int]:
    return [row["counter"] for row in job.rows(now)]


@given(
    emitted=st.lists(st.floats(0, 100), min_size=1, max_size=200).map(sorted),
    jitter=st.floats(0.1, 5),
    workers=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_an_event_is_readable_within_the_jitter_and_never_before_it_was_emitted(
    emitted, jitter, workers, seed
):
    visible = Receiver(workers, jitter).visible(emitted, Random(seed))
    assert all(-1e-6 <= seen - at <= jitter + 1e-6 for at, seen in zip(emitted, visible, strict=True))


def test_counters_become_readable_out_of_order_as_on_the_real_awx():
    emitted = [at / 50 for at in range(900)]
    visible = Receiver().visible(emitted, Random(1))
    highest, behind = 0.0, 0
    for at in visible:
        behind += at < highest
        highest = max(highest, at)
    assert 0.2 < behind / len(visible) < 0.9


moments = st.one_of(st.floats(0, 50), st.just(NEVER))


@given(
    visible=st.lists(moments, min_size=1, max_size=60),
    doubled=st.dictionaries(st.integers(1, 60), st.floats(0, 60), max_size=5),
    times=st.lists(st.floats(0, 70), min_size=1, max_size=5).map(sorted),
    low=st.integers(-1, 62),
    high=st.one_of(st.none(), st.integers(-1, 62)),
)
def test_a_log_shows_exactly_the_rows_whose_time_has_come(*, visible, doubled, times, low, high):
    log = EventLog(range(1, len(visible) + 1), visible, doubled)
    rows = list(zip(log.counters, log.visible, strict=True))
    for now in times:
        due = [row for row in rows if row[1] <= now]
        wanted = [counter for counter, _ in due if counter >= low and (high is None or counter <= high)]
        assert log.shown(now) == len(due)
        assert [log.counters[at] for at in log.readable(now, low, high)] == sorted(wanted)
        assert [log.counters[at] for at in log.readable_down(now, low, high)] == sorted(wanted)[::-1]
        readable, later, lost = log.split(now)
        assert sorted([*readable, *later, *lost]) == sorted(set(log.counters))
    assert sorted(log.rank(at) for at in range(len(log))) == list(range(len(log)))
    assert all(log.at_rank(log.rank(at)) == at for at in range(len(log)))


def test_serial_ids_follow_the_order_of_arrival():
    log = EventLog([1, 2, 3], [3.0, 1.0, 2.0], {})
    assert [log.rank(at) for at in range(3)] == [2, 0, 1]


def small_storm() -> list[Act]:
    return scenarios.storm(jobs=14, events=1_500)


@pytest.mark.parametrize("make", [scenarios.demo, oddities.odd, small_storm])
def test_a_scenario_is_the_same_every_time(make):
    first, _ = world_of(make())
    second, _ = world_of(make())
    other, _ = world_of(make(), seed=2)
    moment = START + 6
    rows = [[list(job.rows(moment)) for job in world.jobs.values()] for world in (first, second, other)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_the_demo_has_every_type_and_ends_within_twenty_seconds():
    world, _ = world_of(scenarios.demo())
    kinds = Counter(job.kind for job in world.jobs.values())
    assert set(kinds) == {
        "job",
        "workflow_job",
        "project_update",
        "inventory_update",
        "ad_hoc_command",
        "system_job",
        "workflow_approval",
    }
    assert world.settles_at() - START < 20
    assert {job.status(START + 20) for job in world.jobs.values()} >= {"successful", "failed", "error"}


def test_the_storm_has_the_size_it_is_asked_for():
    acts = scenarios.storm(jobs=30, events=50_000)
    total = sum(len(act.plan.rows.counters) for act in acts if act.plan.rows is not None)
    assert len(acts) == 30
    assert total == 50_000


def test_a_heavy_job_has_one_event_above_every_page_limit():
    world, _ = world_of(oddities.heavy())
    rows = list(world.jobs[1].rows(START + 60))
    sizes = sorted(len(row["event_data"]["res"]["stdout"]) for row in rows if row["event"] == "runner_on_ok")
    assert sizes[-1] > 16 * 1024 * 1024
    assert set(sizes[:-1]) == {700_000}


@pytest.mark.parametrize("events", [20, 21, 99, 1000, 5000])
def test_a_sized_job_has_exactly_so_many_events(events):
    rows = scenarios.sized_job("x", events, seconds=1).rows
    assert list(rows.counters) == list(range(1, events + 1))


def test_all_planted_secrets_are_in_the_demo():
    world, _ = world_of(scenarios.demo())
    text = json.dumps([list(job.rows(START + 60)) for job in world.jobs.values()])
    assert [secret for secret in SECRETS if secret not in text] == []


def test_a_terminal_status_comes_before_the_last_events():
    world, _ = world_of([Act(at=0, plan=oddities.plain("usual"))])
    job = world.jobs[1]
    ended = next(change.at for change in job.changes if change.fields["status"] not in ACTIVE)
    assert not job.finished_processing(ended)
    assert job.detail(ended)["host_status_counts"] is None
    assert job.finished_processing(ended + 3)
    assert job.detail(ended + 3)["host_status_counts"] == {"changed": 4}


def test_parents_fail_only_when_the_stats_are_in():
    trouble = {"web02": plays.Trouble(task=1)}
    plan = plays.job(
        "x", writer=plays.playbook("x", hosts=plays.HOSTS[:3], tasks=2, troubles=trouble), seconds=3
    )
    world, _ = world_of([Act(at=0, plan=plan)])
    job = world.jobs[1]
    last = max(job.events.log.visible)
    before = {row["counter"]: row for row in job.rows(last - 1e-3)}
    after = {row["counter"]: row for row in job.rows(last)}
    starts = [number for number, row in after.items() if row["event"] == "playbook_on_start"]
    if starts[0] in before and not job.settled(last - 1e-3):
        assert not before[starts[0]]["failed"]
    assert after[starts[0]]["failed"]


def test_speed_divides_every_duration():
    slow, _ = world_of(scenarios.demo())
    fast, _ = world_of(scenarios.demo(), speed=10)
    assert fast.settles_at() - START == pytest.approx((slow.settles_at() - START) / 10, rel=0.1)


def test_forever_goes_on_and_forgets():
    clock = Hands()
    world = World(clock)
    world.follow(scenarios.forever(keep=30.0))
    seen = []
    for _ in range(20):
        clock.at += 10
        seen.append(len(world.visible(["job"], world.now())))
    assert max(seen) < 30
    assert seen[-1] > 0


class TestOdd:
    """Each odd case shows what AWX shows."""

    @pytest.fixture
    def world(self):
        return world_of(oddities.odd())[0]

    END = START + 60

    def begins(self, job) -> float:
        return job.changes[0].at

    def test_a_lost_counter_keeps_processing_unfinished_for_ever(self, world):
        job = job_named(world, "lost-counter")
        assert 9 not in counters(job, self.END)
        assert 10 in counters(job, self.END)
        assert not job.finished_processing(self.END)

    def test_a_total_may_lie_above_the_highest_counter(self, world):
        job = job_named(world, "lost-tail")
        assert max(counters(job, self.END)) == 21
        assert job.fields(self.END)["emitted_events"] == 23
        assert job.host_summaries(self.END) == []

    def test_a_row_is_stored_twice_with_the_same_content(self, world):
        job = job_named(world, "row-twice")
        twins = [row for row in job.rows(self.END) if row["counter"] == 10]
        assert len(twins) == 2
        assert twins[0]["id"] != twins[1]["id"]
        same = ("uuid", "stdout", "event", "event_data")
        assert [twins[0][name] for name in same] == [twins[1][name] for name in same]
        assert not job.finished_processing(self.END)

    def test_a_counter_comes_again_with_other_content(self, world):
        job = job_named(world, "counter-twice")
        again = [counter for counter, count in Counter(counters(job, self.END)).items() if count == 2]
        assert again == [17, 18]
        first, second = (row for row in job.rows(self.END) if row["counter"] == 17)
        assert first["stdout"] != second["stdout"]
        assert "" in (first["uuid"], second["uuid"])

    def test_a_job_shows_itself_after_one_with_a_higher_id(self, world):
        job = job_named(world, "shown-late")
        between = job.listed_at - 0.1
        found = [each.id for each in world.visible(["job"], between)]
        assert job.id not in found
        assert max(found) > job.id

    def test_jobs_are_deleted(self, world):
        job = job_named(world, "deleted-running")
        assert world.find("job", job.id, self.begins(job) + 1.9) is job
        assert job.status(self.begins(job) + 1.9) == "running"
        assert world.find("job", job.id, self.begins(job) + 2.1) is None

    def test_a_reaped_job_has_rows_and_no_count(self, world):
        job = job_named(world, "reaped")
        assert job.fields(self.END)["emitted_events"] == 0
        assert len(counters(job, self.END)) == 23
        assert not job.finished_processing(self.END)

    def test_a_terminal_status_is_replaced_and_finished_stays(self, world):
        job = job_named(world, "reaped-and-alive")
        first = job.detail(self.begins(job) + 2.1)
        last = job.detail(self.END)
        assert (first["status"], last["status"]) == ("failed", "successful")
        assert first["finished"] == last["finished"]

    def test_a_cancelled_job_looks_finished_before_its_events_come(self, world):
        job = job_named(world, "canceled-early")
        early = self.begins(job) + 0.6
        assert job.status(early) == "canceled"
        assert job.finished_processing(early)
        assert counters(job, early) == []
        assert len(counters(job, self.END)) == 23
        assert job.finished_processing(self.END)

    def test_running_goes_back_to_pending(self, world):
        job = job_named(world, "sent-back")
        statuses = [job.status(self.begins(job) + at) for at in (0.5, 1.5, 3, 7)]
        assert statuses == ["running", "pending", "running", "successful"]

    def test_a_job_that_never_started_has_no_events(self, world):
        detail = job_named(world, "never-started").detail(self.END)
        assert (detail["status"], detail["started"], detail["event_processing_finished"]) == (
            "failed",
            None,
            True,
        )

    def test_an_event_without_a_name_and_a_garbled_row(self, world):
        assert "" in [row["event"] for row in job_named(world, "event-without-name").rows(self.END)]
        garbled = [row for row in job_named(world, "garbled-row").rows(self.END) if row["counter"] == 12]
        assert garbled[0]["created"] is None
        assert isinstance(garbled[0]["event_data"], str)

    def test_the_truth_says_all_of_it(self, world):
        known = {job["name"]: job for job in world.truth()["jobs"]}
        assert known["lost-tail"]["lost"] == [[22, 23]]
        assert known["row-twice"]["repeated"] == [10]
        assert known["deleted-running"]["will_be_deleted"]
        assert known["reaped-and-alive"]["statuses"] == [
            "pending",
            "waiting",
            "running",
            "failed",
            "successful",
        ]


def test_a_lost_counter_of_odd_is_never_readable():
    plan = oddities.plain("x", odd=Odd(lost=frozenset({1, 23})))
    world, _ = world_of([Act(at=0, plan=plan)])
    assert counters(world.jobs[1], START + 1e9) == list(range(2, 23))


def test_an_event_is_found_by_its_serial_id():
    world, _ = world_of([Act(at=0, plan=oddities.plain("a")), Act(at=1, plan=oddities.plain("b"))])
    now = START + 60
    for job in world.jobs.values():
        for row in job.rows(now):
            found, position = world.event("job_event", row["id"], now)
            assert found is job
            assert job.events.log.counters[position] == row["counter"]
    assert world.event("job_event", 9999, now) is None
    assert world.event("job_event", 1, START) is None


def test_a_restored_world_gives_ids_again():
    world, _ = world_of(scenarios.demo())
    world.restore("11111111-1111-4111-8111-111111111111", 5)
    assert max(world.jobs) == 5
    assert world.play(plays.system_job()).id == 6
    assert world.install_uuid.startswith("11111111")
