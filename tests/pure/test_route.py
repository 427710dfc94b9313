"""The rules: what matches, where events go, why not, and which sinks want AWX's events."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import contract
from bridge.errors import ConfigError
from bridge.ports import Routes
from bridge.route import RouteSpec, compile_match, compile_routes
from bridge.route.match import NESTED_FIELDS


def matches(match, fields):
    return compile_match(match, path="match", known_fields=contract.FIELDS).matches(fields)


def router(*routes):
    return compile_routes([RouteSpec(**route) for route in routes], known_fields=contract.FIELDS)


def problems(match):
    with pytest.raises(ConfigError) as caught:
        compile_match(match, path="m", known_fields=contract.FIELDS)
    return {problem.path: problem.message for problem in caught.value.problems}


EVENT = {
    "type": "awx.event.runner_on_failed",
    "template": "deploy-web",
    "job_id": 42,
    "labels": ["prod", "web"],
    "failed": True,
    "changed": False,
    "duration": 2.5,
    "organization": None,
    "event_data": msgspec.Raw(b'{"res": {"rc": 3, "results": [{"item": "a"}, {"item": ["b", "c"]}, 1]}}'),
    "hosts": [{"host": "db1", "failures": 2}, {"host": "web1", "failures": 0}],
}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"template": "deploy-*"}, True),
        ({"template": "deploy"}, False),
        ({"template": ["a", "deploy-*"]}, True),
        ({"template": {"regex": "^deploy-(web|db)$"}}, True),
        ({"template": {"regex": "loy"}}, True),
        ({"template": {"not": "deploy-*"}}, False),
        ({"template": {"not": ["a", "b"]}}, True),
        ({"job_id": 42}, True),
        ({"job_id": 42.0}, True),
        ({"job_id": "42"}, False),
        ({"template": 42}, False),
        ({"job_id": {"gt": 41, "lte": 42}}, True),
        ({"job_id": {"gt": 42}}, False),
        ({"job_id": {"gte": 43}}, False),
        ({"template": {"gt": 1}}, False),
        ({"failed": True}, True),
        ({"failed": 1}, False),
        ({"changed": 0}, False),
        ({"failed": {"gt": 0}}, False),
        ({"job_id": {"regex": "4"}}, False),
        ({"labels": "prod"}, True),
        ({"labels": {"not": "prod"}}, False),
        ({"labels": {"not": "test"}}, True),
        ({"labels": {"regex": "^w"}}, True),
        ({"organization": "*"}, False),
        ({"organization": {"not": "*"}}, True),
        ({"organization": {"exists": False}}, True),
        ({"organization": {"exists": True}}, False),
        ({"project": {"exists": False}}, True),
        ({"project": {"not": {"exists": True}}}, True),
        ({"labels": {"exists": True}}, True),
        ({"event_data.res.rc": 3}, True),
        ({"event_data.res.rc": {"not": 3}}, False),
        ({"event_data.res.nothing": 3}, False),
        ({"event_data.res.rc.deeper": {"exists": False}}, True),
        ({"event_data.res.results.item": "c"}, True),
        ({"event_data.res.results.nothing": {"exists": True}}, False),
        ({"event_data": {"exists": True}}, True),
        ({"hosts.host": "db*"}, True),
        ({"hosts.failures": {"gt": 0, "lt": 2}}, False),
        ({"any": [{"template": "x"}, {"job_id": 42}]}, True),
        ({"any": [{"template": "x"}, {"job_id": 1}]}, False),
        ({"any": [{"template": "x"}, {"any": [{"job_id": 42}]}], "failed": True}, True),
        ({"any": [{}], "failed": False}, False),
        ({"template": ["deploy-*", {"not": "x"}]}, True),
    ],
)
def test_the_language(match, expected):
    assert matches(match, EVENT) is expected


def test_one_element_must_meet_all_operators():
    fields = {"hosts": [{"host": "a", "failures": 1}, {"host": "b", "failures": 9}]}
    assert not matches({"hosts.failures": {"gt": 1, "lt": 9}}, fields)


def test_every_mistake_is_reported_with_its_path():
    found = problems(
        {
            "templat": "x",
            "template": {"regx": "a"},
            "type": "[",
            "job_id": {"gt": "600"},
            "elapsed": {"lt": True},
            "any": [],
            "labels.name": "x",
            "stdout": {"regex": "("},
            "task": None,
            "host": {"not": {"exists": "no"}},
            "event": [],
            "play": {},
            "event_data..rc": 1,
            "not": {"host": "a"},
        }
    )
    assert found["m.templat"] == "unknown field 'templat'; did you mean 'template'?"
    assert found["m.template.regx"].endswith("did you mean 'regex'?")
    assert set(found) == {
        "m.templat",
        "m.template.regx",
        "m.type",
        "m.job_id.gt",
        "m.elapsed.lt",
        "m.any",
        "m.labels.name",
        "m.stdout.regex",
        "m.task",
        "m.host.not.exists",
        "m.event",
        "m.play",
        "m.event_data..rc",
        "m.not",
    }


def test_paths_reach_into_lists_and_alternatives():
    assert set(problems({"any": [{"type": ["a", "["]}, "x"]})) == {"m.any[0].type[1]", "m.any[1]"}
    assert set(problems("x")) == {"m"}
    with pytest.raises(ConfigError) as caught:
        router({"match": {}, "to": ["a"]}, {"match": {"tpe": 1}, "to": ["a"]})
    assert [problem.path for problem in caught.value.problems] == ["routes[1].match.tpe"]


def test_endless_nesting_is_refused():
    deep = "x"
    for _ in range(1000):
        deep = {"not": deep}
    assert "nested deeper" in next(iter(problems({"host": deep}).values()))
    match = {}
    for _ in range(1000):
        match = {"any": [match]}
    assert "nested deeper" in next(iter(problems(match).values()))


def test_fields_with_something_inside_are_those_of_the_contract():
    def inside(schema):
        return schema.get("type") == "object" or ("items" in schema and inside(schema["items"]))

    assert {field.name for field in contract.ALL_FIELDS if inside(field.schema)} == NESTED_FIELDS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b*", "?", "[ab]", "", "*"])
CONDITIONS = st.recursive(
    SCALARS
    | st.fixed_dictionaries({}, optional={"gt": st.integers(-2, 2), "lte": st.floats(-2, 2)}).filter(bool)
    | st.fixed_dictionaries({"exists": st.booleans()})
    | st.fixed_dictionaries({"regex": st.sampled_from(["a", "^b", "."])}),
    lambda inner: (
        st.fixed_dictionaries({"not": inner}, optional={"exists": st.booleans()})
        | st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=5,
)
VALUES = JSON | SCALARS | st.lists(SCALARS, max_size=3)


@given(CONDITIONS, VALUES)
def test_not_is_the_opposite(condition, value):
    fields = {"task": value}
    assert matches({"task": {"not": condition}}, fields) is not matches({"task": condition}, fields)


@given(st.lists(CONDITIONS, min_size=1, max_size=4), VALUES)
def test_a_list_and_any_are_alternatives(conditions, value):
    fields = {"task": value}
    each = [matches({"task": condition}, fields) for condition in conditions]
    assert matches({"task": conditions}, fields) is any(each)
    assert matches({"any": [{"task": condition} for condition in conditions]}, fields) is any(each)


@given(CONDITIONS)
def test_a_missing_field_is_like_null(condition):
    assert matches({"task": condition}, {}) is matches({"task": condition}, {"task": None})


@given(
    st.lists(CONDITIONS, min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(["task", "type", "labels"]), VALUES),
)
def test_the_index_changes_nothing(conditions, fields):
    names = ["task", "type", "labels"]
    specs = [
        {"match": {names[i % 3]: condition, names[(i + 1) % 3]: condition}, "to": [str(i)]}
        for i, condition in enumerate(conditions)
    ]
    expected = [str(i) for i, spec in enumerate(specs) if matches(spec["match"], fields)]
    assert router(*specs).sinks_for(fields) == expected


@given(JSON, st.binary(max_size=20))
def test_routing_is_total(value, raw):
    compiled = router(
        {"match": {"event_data.res.rc": {"gt": 1}}, "to": ["a"]},
        {"match": {"template": ["b*", {"regex": "x"}]}, "to": ["a"]},
        {"match": {"job_id": {"not": {"lt": 5}}}, "to": ["a"]},
    )
    for fields in (
        {"event_data": value, "template": value, "job_id": value},
        {"event_data": msgspec.Raw(raw), "template": raw, "job_id": {1, 2}},
        {"event_data": b"[" * 100_000, "template": "\ud800", "job_id": 10**400},
    ):
        assert set(compiled.sinks_for(fields)) <= {"a"}
        assert len(compiled.explain(fields)) == 3


def test_every_route_that_matches_delivers_and_stop_ends_there():
    compiled = router(
        {"match": {}, "to": ["all"]},
        {"match": {"template": "deploy-*"}, "to": ["ops", "all"], "stop": True},
        {"match": {}, "to": ["rest"]},
    )
    assert compiled.sinks_for({"template": "deploy-x"}) == ["all", "ops"]
    assert compiled.sinks_for({"template": "x"}) == ["all", "rest"]


def test_a_route_without_sinks_drops():
    compiled = router({"match": {"event": "verbose"}, "to": [], "stop": True}, {"match": {}, "to": ["all"]})
    assert compiled.sinks_for({"event": "verbose"}) == []
    assert compiled.sinks_for({"event": "x"}) == ["all"]


def test_explain_says_why():
    compiled = router(
        {"match": {"template": "deploy-*", "type": "awx.job.*"}, "to": ["ops"]},
        {"match": {"job_id": {"gt": 5, "not": 42}}, "to": ["ops"]},
        {"match": {"project": {"exists": True}}, "to": ["ops"]},
        {"match": {"any": [{"host": "a"}, {"failed": [False, "x"]}]}, "to": ["ops"]},
        {"match": {"stdout": {"regex": "x"}}, "to": ["ops"]},
        {"match": {}, "to": ["k"], "stop": True, "name": "everything"},
        {"match": {}, "to": ["k"]},
    )
    fields = {"template": "web", "job_id": 42, "failed": True, "stdout": "y" * 500}
    verdicts = compiled.explain(fields)
    assert [verdict.matched for verdict in verdicts] == [False] * 5 + [True, False]
    reasons = [verdict.why for verdict in verdicts]
    assert reasons[:4] == [
        "template is 'web', wanted 'deploy-*'",
        "job_id is 42, wanted more than 5 and not 42",
        "project is missing, wanted a value",
        "none of the alternatives holds: host is missing, wanted 'a'; failed is True, wanted one of False, 'x'",
    ]
    assert len(reasons[4]) < 200
    assert reasons[5:] == ["matches, and stops here", "not looked at: routes[5] (everything) stops"]


@given(st.lists(st.tuples(CONDITIONS, st.booleans()), min_size=1, max_size=4), VALUES)
def test_explain_agrees_with_routing(rules, value):
    specs = [
        {"match": {"task": condition}, "to": [str(i)], "stop": stop}
        for i, (condition, stop) in enumerate(rules)
    ]
    compiled = router(*specs)
    said = [v.to[0] for v in compiled.explain({"task": value}) if v.matched]
    assert said == compiled.sinks_for({"task": value})


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"type": "awx.job.*"}, False),
        ({"type": "awx.*"}, True),
        ({"type": "awx.event.runner_on_failed"}, True),
        ({"type": ["awx.job.failed", "bridge.*"]}, False),
        ({"type": ["awx.job.failed", "awx.event.x"]}, True),
        ({"type": {"not": "awx.event.*"}}, False),
        ({"type": {"not": "awx.event.runner_*"}}, True),
        ({"type": {"not": "*"}}, False),
        ({"type": "*failed"}, True),
        ({"type": {"regex": "^awx.job"}}, True),
        ({"type": {"gt": 5}}, False),
        ({"type": {"exists": False}}, False),
        ({"type": 5}, False),
        ({"status": "failed"}, False),
        ({"terminal": True}, False),
        ({"status": {"exists": False}}, True),
        ({"hosts.host": "db*"}, False),
        ({"counter": {"gt": 5}}, True),
        ({"job_type": "workflow_job"}, False),
        ({"job_type": ["workflow_job", "job"]}, True),
        ({"any": [{"type": "awx.job.failed"}, {"type": "bridge.*"}]}, False),
        ({"any": [{"type": "awx.job.failed"}, {"failed": True}]}, True),
        ({"late": True}, True),
    ],
)
def test_which_sinks_want_events(match, expected):
    assert router({"match": match, "to": ["s"]}).wants_events("s") is expected


def test_a_stop_for_every_event_hides_what_follows():
    rest = {"match": {}, "to": ["rest"]}
    assert not router({"match": {"type": "awx.event.*"}, "to": ["k"], "stop": True}, rest).wants_events(
        "rest"
    )
    assert not router(
        {"match": {"type": {"not": "awx.job.*"}}, "to": ["k"], "stop": True}, rest
    ).wants_events("rest")
    assert router({"match": {"failed": True}, "to": ["k"], "stop": True}, rest).wants_events("rest")
    assert not router(rest).wants_events("unknown")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "match": st.dictionaries(
                    st.sampled_from(["type", "job_type", "status", "failed", "task"]),
                    CONDITIONS
                    | st.sampled_from(
                        ["awx.event.*", "awx.*", "job", {"not": "awx.job.*"}, {"not": "awx.event.a"}]
                    ),
                    max_size=2,
                ),
                "to": st.sampled_from(["a", "b"]).map(lambda name: [name]),
                "stop": st.booleans(),
            }
        ),
        max_size=4,
    ),
    st.sampled_from(["a", "b", "runner_on_failed", ""]),
    st.sampled_from(["job", "project_update"]),
    VALUES,
)
def test_whoever_gets_an_event_wants_events(specs, event, job_type, value):
    compiled = router(*specs)
    fields = {"type": f"awx.event.{event}", "job_type": job_type, "failed": value, "task": value}
    assert all(compiled.wants_events(sink) for sink in compiled.sinks_for(fields))


def test_a_router_is_what_the_loops_depend_on():
    compiled: Routes = router({"match": {}, "to": ["a"]})
    assert compiled.sinks_for({}) == ["a"]


def test_event_data_is_decoded_at_most_once(monkeypatch):
    calls = []
    decode = msgspec.json.decode
    monkeypatch.setattr(msgspec.json, "decode", lambda raw: calls.append(raw) or decode(raw))
    compiled = router(*({"match": {"event_data.res.rc": {"gt": i}}, "to": ["a"]} for i in range(5)))
    assert compiled.sinks_for(EVENT) == ["a"]
    assert len(calls) == 1
