"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bridge

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CODE = sorted(path for room in ("bridge", "simulator") for path in (ROOT / room).rglob("*.py"))
LOCKS = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")

IMPURE = {"asyncio", "logging", "os", "pathlib", "random", "socket", "time"}
PURE_ROOMS = (
    "backoff",
    "closing",
    "encode",
    "ledger",
    "model",
    "normalize",
    "prepare",
    "redact",
    "render",
    "route",
    "sequence",
)
DOORS = {
    "aiohttp": ("awx", "sinks", "web"),
    "aiokafka": ("sinks.kafka",),
    "jinja2": ("render",),
    "prometheus_client": ("observe", "web"),
    "pydantic": ("awx", "cli", "config", "options", "redact", "sinks", "state", "web"),
    "re2": ("config", "redact", "route"),
    "rich": ("cli",),
    "slack_sdk": ("sinks.slack",),
    "sqlite3": ("state",),
    "structlog": ("observe",),
    "typer": ("cli",),
    "yaml": ("config",),
}
"""Which rooms may import which library: one door each, so that its errors are translated once."""


def tracked():
    """Every text file that is ours: what is neither hidden nor made by a tool."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this tree is no git clone")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in {".png", ".jar", ".gz"}]


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def room(path):
    """The module's name below `bridge`, as in `sinks.kafka`."""
    return ".".join(path.relative_to(ROOT / "bridge").with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """The top-level names of what a module imports, outside `if TYPE_CHECKING` or inside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def within(name, rooms):
    return any(name == allowed or name.startswith((f"{allowed}.", f"{allowed}_")) for allowed in rooms)


def test_files_are_short():
    sources = [*CODE, *(ROOT / "tests").rglob("*.py")]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources
    }
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_functions_are_short():
    lengths = [entry for path in CODE for entry in functions(path)]
    assert [entry for entry in lengths if entry[1] > 60] == []
    longer = [entry for entry in lengths if entry[1] > 35]
    assert len(longer) <= 0.05 * len(lengths), longer


def test_every_module_says_what_it_is_for():
    assert [
        str(path) for path in CODE if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_pure_rooms_touch_nothing_outside():
    rooms = {path: room(path) for path in CODE if path.is_relative_to(ROOT / "bridge")}
    found = {name: imported(path) & IMPURE for path, name in rooms.items() if within(name, PURE_ROOMS)}
    assert {name: modules for name, modules in found.items() if modules} == {}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_comes_in_through_its_door(library):
    rooms = {path: room(path) for path in CODE if path.is_relative_to(ROOT / "bridge")}
    users = {name for path, name in rooms.items() if library in imported(path)}
    assert {name for name in users if not within(name, DOORS[library])} == set()


def test_layers_are_a_checked_contract():
    settings = PYPROJECT["tool"]["importlinter"]
    layers, demo = settings["contracts"]
    assert layers["type"] == "layers"
    assert layers["exhaustive"] is True
    assert (demo["type"], demo["forbidden_modules"]) == ("forbidden", ["simulator"])
    assert all(allowed.startswith("bridge.cli.show.stage -> simulator") for allowed in demo["ignore_imports"])


def test_no_file_knows_a_machine_or_a_registry():
    machine = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt/wheels)/\w|[A-Z]:\\Users")
    registry = re.compile(r"pypi[.]org|pythonhosted[.]org|repo1?[.]maven|registry[.]npmjs")
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [
            f"{path.relative_to(ROOT)}: {hit[0]}"
            for rule in (machine, registry)
            for hit in rule.finditer(text)
        ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_hashes_and_no_addresses(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert not re.search(r"://|^-", text, re.MULTILINE)
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def locked(lock):
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_locks_hold_what_the_project_asks_for():
    groups = PYPROJECT["dependency-groups"]
    direct = {
        "requirements.txt": PYPROJECT["project"]["dependencies"],
        "requirements-build.txt": groups["build"],
        "requirements-dev.txt": [entry for entry in groups["dev"] if isinstance(entry, str)],
    }
    for lock, wanted in direct.items():
        pins = locked(lock)
        for asked in map(Requirement, wanted):
            assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), f"{lock}: {asked}"


@pytest.mark.parametrize("lock", LOCKS[:2])
def test_one_version_of_a_package_everywhere(lock):
    development = locked("requirements-dev.txt")
    assert {name: pin for name, pin in locked(lock).items() if development.get(name) != pin} == {}


def test_the_changelog_tells_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(bridge.__version__)}\b", changelog, re.MULTILINE)


def test_make_without_a_word_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):(?!=)", makefile, re.MULTILINE))
    shown = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\w+)", shown, re.MULTILINE)) == targets
    assert set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()) == targets
    assert len(makefile.splitlines()) <= 70


def test_ci_runs_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line.startswith("make ")] == ["make check", "make test"]
