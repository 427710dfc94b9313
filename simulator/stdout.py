"""The `stdout/` endpoint in its formats.

Source: UnifiedJobStdout in awx/api/views/__init__.py; recorded answers of AWX 24.6.1.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import Final

from aiohttp import web

from simulator import answers
from simulator.job import Job

MOST: Final = 1024 * 1024
"""Characters that the endpoint shows; above it only the downloads work."""

_SGR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FORMATS: Final = ("api", "html", "json", "txt", "ansi", "txt_download", "ansi_download")


def answer(job: Job, now: float, request: web.Request) -> web.Response:
    """Answer with a job's output in the format asked for."""
    form = request.query.get("format") or _by_accept(request.headers.get("Accept", "*/*"))
    if form not in _FORMATS:
        return answers.html(answers.NOT_FOUND_PAGE, HTTPStatus.NOT_FOUND)
    found = sorted(job.rows(now), key=lambda row: row["start_line"])
    text = "".join(f"{row['stdout']}\n" for row in found if row["stdout"])
    text = text.replace("\r\n", "\n").replace("\\", "\\\\")  # recorded: PostgreSQL's COPY doubles backslashes
    if form.endswith("_download"):
        plain = _SGR.sub("", text) if form.startswith("txt") else text
        name = f"{job.kind}_{job.id}{'' if form.startswith('txt') else '.ansi'}.txt"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Type": "text/plain"}
        return web.Response(body=plain.encode(), headers=headers)
    size = sum(len(row["stdout"]) for row in found)
    large = size > MOST
    if large:
        limit = f"only download supported for sizes over {MOST} bytes."
        text = f"Standard Output too large to display ({size} bytes), {limit}"
    if form == "json":
        return _json(text, request, large=large)
    if not text:
        return web.Response()
    if form in {"api", "html"}:
        return answers.html(text if large else f"<!DOCTYPE HTML><html><body><pre>{text}</pre></body></html>")
    plain = _SGR.sub("", text) if form == "txt" else text
    return web.Response(text=plain, content_type="text/plain", charset="utf-8")


def _by_accept(accept: str) -> str:
    if "application/json" in accept:
        return "json"
    return "txt" if "text/plain" in accept else "api"


def _json(text: str, request: web.Request, *, large: bool) -> web.Response:
    lines = text.splitlines(keepends=True)
    total = 1 if large else len(lines)
    try:
        start = int(request.query.get("start_line", "0"))
        end = int(request.query.get("end_line", str(total)))
    except ValueError:  # recorded: AWX fails on it
        return answers.html(answers.SERVER_ERROR_PAGE, HTTPStatus.INTERNAL_SERVER_ERROR)
    start = total + start if start < 0 else start
    content = text if large else "".join(lines[start:end])
    if request.query.get("content_encoding") == "base64":
        content = base64.b64encode(content.encode()).decode()
    bounds = {"start": start, "end": min(end, total), "absolute_end": total}
    return answers.json({"range": bounds, "content": content})
