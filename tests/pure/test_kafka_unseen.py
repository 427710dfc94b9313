"""Commits of which the caller never heard: nothing twice, nothing lost, no place moved back."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge.model import JobKey, Place
from bridge.sinks.kafka.unseen import Doubt, Unseen
from tests.support.kafka_sink import make_event

JOBS = [JobKey("prod", "job", number) for number in (1, 2, 3)]
FATES = ["confirmed", "committed in doubt", "lost in doubt"]


class Caller(RuleBasedStateMachine):
    """A lane that takes any heads of its jobs, and a topic whose commits are confirmed or not."""

    @initialize()
    def start(self):
        self.log = {key: [] for key in JOBS}
        self.places = {}
        self.restart()

    def restart(self):
        """The process died: what was unseen is gone, and the places say where to go on."""
        self.unseen = Unseen()
        self.settled = {key: self.places.get(key, Place()).through for key in JOBS}

    @rule(
        counts=st.lists(st.integers(0, 4), min_size=3, max_size=3),
        idle=st.sets(st.sampled_from(JOBS)),
        fate=st.sampled_from(FATES),
    )
    def send(self, counts, idle, fate):
        ends = {key: self.settled[key] + count for key, count in zip(JOBS, counts, strict=True)}
        events = [
            make_event(key.job_id, counter)
            for key in JOBS
            for counter in range(self.settled[key] + 1, ends[key] + 1)
        ]
        places = {key: Place(through=ends[key]) for key in JOBS if counts[JOBS.index(key)] or key in idle}
        unsent, unmoved = self.unseen.unsent(events), self.unseen.unmoved(places)
        if fate != "lost in doubt":
            for event in unsent:
                self.log[JOBS[event.read()["job_id"] - 1]].append(event.counter)
            self.places |= unmoved
        if fate == "confirmed":
            self.unseen.told(events, places)
            self.settled |= ends
        elif fate == "committed in doubt":
            self.unseen.add(Doubt(1, unsent, unmoved))

    @rule()
    def crash(self):
        self.restart()

    @rule()
    def begin_anew(self):
        self.settled = {key: self.places.get(key, Place()).through for key in JOBS}
        self.unseen.clear()

    @invariant()
    def every_event_once_in_order_and_the_places_tell_the_truth(self):
        for key in JOBS:
            assert self.log[key] == list(range(1, len(self.log[key]) + 1))
            assert self.places.get(key, Place()).through == len(self.log[key])

    @invariant()
    def nothing_is_remembered_that_the_caller_knows(self):
        if all(self.settled[key] == len(self.log[key]) for key in JOBS):
            assert not self.unseen._ids


TestCaller = Caller.TestCase
TestCaller.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_without_a_doubt_everything_passes_as_it_is():
    unseen = Unseen()
    events, places = [make_event()], {JOBS[0]: Place(through=1)}
    assert unseen.unsent(events) is events
    assert unseen.unmoved(places) is places


def test_a_place_behind_the_committed_one_is_not_written():
    unseen = Unseen()
    unseen.add(Doubt(1, [make_event(1, 5)], {JOBS[0]: Place(through=5)}))
    assert unseen.unmoved({JOBS[0]: Place(through=4), JOBS[1]: Place(through=1)}) == {
        JOBS[1]: Place(through=1)
    }
    assert unseen.unmoved({JOBS[0]: Place(through=6)}) == {JOBS[0]: Place(through=6)}


def test_a_place_that_gives_up_what_was_committed_keeps_it_settled():
    unseen = Unseen()
    unseen.add(Doubt(1, [make_event(1, 5)], {JOBS[0]: Place(through=5)}))
    given_up = Place(through=7, wanted=((5, 5),))
    assert unseen.unmoved({JOBS[0]: given_up}) == {JOBS[0]: Place(through=7)}
    unseen.told([], {JOBS[0]: given_up})
    assert unseen.unmoved({JOBS[0]: given_up}) == {JOBS[0]: Place(through=7)}


def test_a_job_to_forget_is_forgotten_whatever_was_committed():
    unseen = Unseen()
    unseen.add(Doubt(1, [make_event(1, 5)], {JOBS[0]: Place(through=5)}))
    assert unseen.unmoved({JOBS[0]: None}) == {JOBS[0]: None}
    unseen.told([], {JOBS[0]: None})
    assert unseen.unsent([make_event(1, 5)]) == [make_event(1, 5)]


def test_a_forgetting_that_was_committed_leaves_no_place_behind():
    unseen = Unseen()
    unseen.add(Doubt(1, [], {JOBS[0]: Place(through=5)}))
    unseen.add(Doubt(2, [], {JOBS[0]: None}))
    assert unseen.unmoved({JOBS[0]: Place(through=2)}) == {JOBS[0]: Place(through=2)}


def test_events_without_a_place_are_dropped_until_they_were_offered():
    unseen = Unseen()
    event = make_event(1, 5)
    unseen.add(Doubt(1, [event], {}))
    assert unseen.unsent([event]) == []
    assert unseen.unsent([event]) == []
    unseen.told([event], {})
    assert unseen.unsent([event]) == [event]
