"""What the documentation says is true: it loads, it exists, it leads somewhere, it is current."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from bridge import config

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECRETS = {"AWX_TOKEN": "t", "SLACK_TOKEN": "xoxb-1", "CMDB_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def name(path):
    return str(path.relative_to(ROOT))


def blocks(language):
    """Every fenced block of `language`, named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            pytest.param(block["text"], id=f"{name(page)}:{text.count(chr(10), 0, block.start()) + 2}")
            for block in BLOCK.finditer(text)
            if block["language"] == language
        ]
    return found


def commands():
    """Every line of the `sh` blocks, and every `make x` and `awx-bridge x` in the text, in words."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        shown = [
            block["text"].replace("\\\n", " ") for block in BLOCK.finditer(text) if block["language"] == "sh"
        ]
        lines = [line for block in shown for line in block.splitlines()]
        lines += re.findall(r"`((?:make|awx-bridge) [^`]+)`", BLOCK.sub("", text))
        for line in lines:
            words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
            found += [pytest.param(words, id=f"{name(page)}: {line.strip()[:60]}")] if words else []
    return found


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations_load(text, tmp_path):
    if not re.search(r"^sources:", text, re.MULTILINE):
        text = f"""
sources: {{awx: {{url: "https://awx.example.com", token: t}}}}
sinks: {{out: {{type: stdout}}}}
routes: [{{to: out}}]
{text}"""
    (tmp_path / "bridge.yaml").write_text(text, encoding="utf-8")
    config.load(tmp_path / "bridge.yaml", SECRETS)


@pytest.mark.parametrize("words", commands())
def test_commands_exist(words):
    if Path(words[0]).name == "make":
        targets = set(re.findall(r"^([a-z]+):(?!=)", MAKEFILE, re.MULTILINE))
        assert set(words[1:]) <= targets
    ours = [word for word in words[1:] if word.startswith(("deploy/", "docs/", "requirements"))]
    assert [word for word in ours if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", BLOCK.sub("", page.read_text(encoding="utf-8")))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_indexes_name_every_page():
    for folder in (ROOT / "docs", ROOT / "docs" / "adr"):
        linked = set(re.findall(r"\(([^)/]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
        assert linked == {path.name for path in folder.glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_tables_say_what_the_code_says(page):
    text = page.read_text(encoding="utf-8")
    assert text == runpy.run_path(str(ROOT / "docs" / "tables.py"))["rewritten"](text), "run `make docs`"
