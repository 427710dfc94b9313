"""What the documentation says is true: it loads, it exists, it leads somewhere, it is current."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge import config, encode
from bridge.errors import SinkRefusedError, TemporaryDeliveryError
from bridge.ports import SinkContext
from tests.support.fakes import FakeClock

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECRETS = {"AWX_TOKEN": "t", "SLACK_TOKEN": "xoxb-1", "CMDB_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EVENT = encode.to_event(
    {
        "id": "prod/job/1/status/failed",
        "type": "awx.job.failed",
        "time": "2026-01-01T00:00:00Z",
        "source": "prod",
        "job_name": "deploy",
    },
    key="prod/job/1",
)


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
    if Path(words[0]).name == "awx-bridge":
        path = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        shown = subprocess.run(
            [sys.executable, "-m", "bridge", *path, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert [word for word in words if word.startswith("--") and word not in shown.stdout] == []
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


async def test_the_sink_that_contributing_shows_keeps_a_sinks_promises(monkeypatch):
    [sample] = blocks("python")
    mattermost = ModuleType("mattermost")
    monkeypatch.setitem(sys.modules, "mattermost", mattermost)
    exec(compile(sample.values[0], "CONTRIBUTING.md", "exec"), vars(mattermost))
    statuses, posted = iter([200, 503, 403]), []

    async def answer(request):
        posted.append(await request.json())
        return web.Response(status=next(statuses))

    app = web.Application()
    app.router.add_post("/hooks/1", answer)
    async with TestServer(app) as server:
        options = mattermost.MattermostOptions(
            type="mattermost", url=str(server.make_url("/hooks/1")), channel="town-square"
        )
        context = SinkContext(bridge="b", name="chat", clock=FakeClock())
        async with mattermost.open_mattermost(options, context) as sink:
            await sink.send([EVENT])
            for error in (TemporaryDeliveryError, SinkRefusedError):
                with pytest.raises(error):
                    await sink.send([EVENT])
    assert posted == [{"text": "deploy: awx.job.failed"}] * 3
