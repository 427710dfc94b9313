"""The log and the metrics as their readers see them."""

import ast
import io
import json
import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.model import JobKey
from bridge.observe import (
    LOG_EVENTS,
    METRICS,
    PREFIX,
    LogObserver,
    Metrics,
    library_logs,
    open_log,
)
from bridge.ports import Observer
from tests.support.fakes import FakeClock, FakeObserver

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stream():
    return io.StringIO()


def observer_on(stream, **options):
    return LogObserver(open_log(stream, clock=FakeClock(), **{"console": False, **options}), Metrics())


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_known_keys_first(stream):
    observer: Observer = observer_on(stream)
    observer.note("job.closed_incomplete", missing=3, sink="ops", job=JobKey("prod", "job", 7), source="prod")
    (line,) = lines(stream)
    assert list(line.items()) == [
        ("time", "2026-05-28T20:26:40.000Z"),
        ("level", "warning"),
        ("event", "job.closed_incomplete"),
        ("source", "prod"),
        ("job", "prod/job/7"),
        ("sink", "ops"),
        ("missing", 3),
    ]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_lines_below_the_level_are_left_out(stream, level):
    observer = observer_on(stream, level=level)
    for name in LOG_EVENTS:
        observer.note(name)
    order = ["debug", "info", "warning", "error"]
    assert {line["event"] for line in lines(stream)} == {
        name for name, event in LOG_EVENTS.items() if order.index(event.level) >= order.index(level)
    }


def test_anything_can_be_a_fact(stream):
    observer_on(stream).note(
        "event.tripped",
        error=ValueError("bad\nvalue"),
        path=Path("x"),
        text="\ud800 ä\x1b[31m",
        ranges=((1, 2), (4, 4)),
        keys={1: None},
    )
    (line,) = lines(stream)
    assert line["error"] == "ValueError: bad\nvalue"
    assert line["path"] == "x"
    assert line["text"] == "\ud800 ä\x1b[31m"
    assert line["ranges"] == [[1, 2], [4, 4]]
    assert stream.getvalue().isascii()


@pytest.mark.parametrize("colour", [False, True])
def test_a_terminal_gets_readable_lines(stream, colour):
    observer_on(stream, console=True, colour=colour).note("source.up", source="prod", version="24.6.1")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert re.fullmatch(
        r"2026-05-28T20:26:40\.000Z \[info +\] source\.up +source=prod version=24\.6\.1 *\n", shown
    )
    assert ("\x1b" in stream.getvalue()) is colour


def test_what_awx_says_cannot_steer_the_terminal(stream):
    observer_on(stream, console=True).note(
        "job.discovered", name="x\x1b]0;owned\x07\x1b[2J\r\nfake\u202e line", more=["\x1b[2J"]
    )
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().rstrip("\n").isprintable()


class ClosedPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_does_not_stop_the_bridge():
    observer_on(ClosedPipe()).note("bridge.started")


def observers():
    return [observer_on(io.StringIO()), FakeObserver()]


@pytest.mark.parametrize("observer", observers(), ids=["real", "fake"])
def test_names_outside_the_catalogue_are_bugs(observer):
    for wrong in (
        lambda: observer.note("job.invented"),
        lambda: observer.note("job.closed", event="x"),
        lambda: observer.count("inventions_total"),
        lambda: observer.count("events_read_total"),
        lambda: observer.count("events_read_total", source="prod", sink="ops"),
        lambda: observer.count("jobs_open", source="prod"),
        lambda: observer.gauge("events_read_total", 1, source="prod"),
    ):
        with pytest.raises(KeyError):
            wrong()


def samples(metrics):
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_shown_with_their_prefix_and_labels():
    metrics = Metrics()
    observer = LogObserver(open_log(io.StringIO(), clock=FakeClock(), console=False), metrics)
    observer.count("events_read_total", 0, source="prod")
    observer.count("deliveries_failed_total", sink="ops", **{"class": "temporary"})
    observer.count("deliveries_failed_total", 2, **{"class": "temporary"}, sink="ops")
    observer.count("state_commits_total")
    observer.gauge("sink_state", 2, sink='o"p\ns')
    observer.gauge("sink_state", 0, sink='o"p\ns')
    shown = samples(metrics)
    assert shown["awx_bridge_events_read_total", ("source", "prod")] == 0
    assert shown["awx_bridge_deliveries_failed_total", ("class", "temporary"), ("sink", "ops")] == 3
    assert shown["awx_bridge_state_commits_total",] == 1
    assert shown["awx_bridge_sink_state", ("sink", 'o"p\ns')] == 0
    assert shown["process_resident_memory_bytes",] > 0


def test_every_metric_is_announced_before_its_first_value():
    page = Metrics().render().decode()
    for name, spec in METRICS.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        assert f"# TYPE {PREFIX}{name} {kind}\n" in page
        assert f"# HELP {PREFIX}{name} {spec.help}\n" in page


def test_two_sets_of_metrics_know_nothing_of_each_other():
    one, other = Metrics(), Metrics()
    one.add("state_commits_total", 1, {})
    assert ("awx_bridge_state_commits_total",) in samples(one)
    assert ("awx_bridge_state_commits_total",) not in samples(other)


def test_what_libraries_log_becomes_lines_of_the_same_form(stream):
    with library_logs(observer_on(stream)):
        log = logging.getLogger("some.library")
        log.info("not this")
        log.warning("leader of %s is gone", "topic")
        log.error("failed", exc_info=OSError("gone"))
    assert [(line["event"], line["library"], line["message"]) for line in lines(stream)] == [
        ("library.warned", "some.library", "leader of topic is gone"),
        ("library.failed", "some.library", "failed"),
    ]
    assert lines(stream)[1]["error"] == "OSError: gone"


def test_the_catalogue_keeps_its_own_rules():
    assert list(LOG_EVENTS) == sorted(LOG_EVENTS)
    assert list(METRICS) == sorted(METRICS)
    for name, event in LOG_EVENTS.items():
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
        assert re.fullmatch(r"[A-Z].*\.", event.meaning)
    for name, spec in METRICS.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert re.fullmatch(r"[A-Z0-9].*[^.]", spec.help)


def calls():
    """Every call in the product of an observer's method with literal names."""
    for path in sorted((ROOT / "bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                names = [leaf for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)]
                for leaf in names:
                    if node.func.attr in ("note", "count", "gauge") and isinstance(leaf.value, str):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", node.func.attr, leaf.value


def test_every_name_that_the_product_uses_is_in_the_catalogue():
    known = {"note": LOG_EVENTS.keys(), "count": METRICS.keys(), "gauge": METRICS.keys()}
    unknown = [
        (where, name)
        for where, method, name in calls()
        if name not in known[method] and re.fullmatch(r"[a-z]+\.[a-z_]+|[a-z]+_[a-z_]+", name)
    ]
    assert unknown == []


def test_the_documentation_names_the_whole_catalogue():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    names = [*LOG_EVENTS, *(PREFIX + name for name in METRICS)]
    assert [name for name in names if f"| `{name}` |" not in pages] == []
