"""Every promise on the page about reliability names tests, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
PROMISE = re.compile(r"^\* `(?P<name>[a-z-]+)`: (?P<text>.+)$", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<name>[a-z-]+)` \| (?P<tests>.*) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)::([A-Za-z_0-9]+)`")
TOPICS = {
    "Delivery": 8,
    "Gaps": 5,
    "Closing": 8,
    "No job is missed": 3,
    "Another AWX": 3,
    "Two bridges": 2,
    "A changed configuration": 5,
    "Bad input": 8,
    "Sinks that fail": 14,
}
"""How many promises each topic has: none can leave unnoticed."""


def page():
    return PAGE.read_text(encoding="utf-8")


def promises():
    return [found["name"] for found in PROMISE.finditer(page())]


def rows():
    return {found["name"]: found["tests"] for found in ROW.finditer(page())}


@cache
def defined_in(path):
    """Return the tests of a file: functions, and the classes that hypothesis makes of its machines."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in tree.body if isinstance(node, functions)}
    assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
    names |= {target.id for targets in assigned for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if name.startswith(("test_", "Test"))}


def test_every_promise_has_its_row_and_every_row_its_promise():
    assert len(promises()) == len(set(promises())) == sum(TOPICS.values())
    assert promises() == list(rows())


@pytest.mark.parametrize("topic", TOPICS)
def test_no_promise_has_left(topic):
    _, _, after = page().partition(f"### {topic}\n")
    section = re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]
    assert len(PROMISE.findall(section)) == TOPICS[topic]


@pytest.mark.parametrize("promise", rows())
def test_the_tests_of_a_promise_exist(promise):
    named = TEST.findall(rows()[promise])
    assert named
    assert rows()[promise] == "<br>".join(f"`{path}::{test}`" for path, test in named)
    assert [f"{path}::{test}" for path, test in named if not (ROOT / path).is_file()] == []
    assert [f"{path}::{test}" for path, test in named if test not in defined_in(path)] == []


def test_whatever_else_the_page_names_exists():
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)", page())
    assert [path for path in named if not (ROOT / path).exists()] == []
