"""What Slack accepts in a message: the limits that docs.slack.dev publishes for each block.

One limit is not published: all text of all blocks together (slackapi/bolt-js, issue 2509).
"""

from __future__ import annotations

import json

MOST_BLOCKS = 50
SECTION_TEXT = 3000
FIELD_TEXT = 2000
FIELDS = 10
HEADER_TEXT = 150
CONTEXT_ELEMENTS = 10
CONTEXT_TEXT = 3000
ALL_BLOCKS = 13_200
TEXT = 40_000

TEXT_KEYS = {
    "mrkdwn": {"type", "text", "verbatim"},
    "plain_text": {"type", "text", "emoji"},
}
BLOCK_KEYS = {
    "section": {"text", "fields", "accessory", "expand"},
    "header": {"text"},
    "context": {"elements"},
    "divider": set(),
    "actions": {"elements"},
}


def message_problems(message):
    """Return (Slack's error, what is wrong) for everything that Slack refuses in `message`."""
    problems = []
    blocks = message.get("blocks") or []
    attachments = message.get("attachments") or []
    if not isinstance(blocks, list) or not isinstance(attachments, list):
        return [("invalid_blocks_format", "blocks and attachments are lists")]
    if not (message.get("text") or blocks or attachments):
        problems.append(("no_text", "no text"))
    if len(message.get("text") or "") > TEXT:
        problems.append(("msg_too_long", "text"))
    groups = [blocks]
    for attachment in attachments:
        if not isinstance(attachment, dict) or not set(attachment) <= {"color", "blocks", "fallback"}:
            problems.append(("invalid_attachments", f"an attachment of {attachment!r:.80}"))
        else:
            groups.append(attachment.get("blocks") or [])
    for group in groups:
        problems += [("invalid_blocks", problem) for problem in block_problems(group)]
    if sum(len(text) for group in groups for text in texts_of(group)) > ALL_BLOCKS:
        problems.append(("msg_blocks_too_long", "all blocks together"))
    return problems


def block_problems(blocks):
    """Return what is wrong with a list of blocks."""
    problems = [] if len(blocks) <= MOST_BLOCKS else [f"more than {MOST_BLOCKS} blocks"]
    for number, block in enumerate(blocks):
        kind = block.get("type")
        if kind not in BLOCK_KEYS:
            problems.append(f"{number}: unsupported type {kind!r}")
            continue
        extra = set(block) - BLOCK_KEYS[kind] - {"type", "block_id"}
        if extra:
            problems.append(f"{number}: {kind} has no {sorted(extra)}")
        problems += [f"{number}: {problem}" for problem in _CHECKS[kind](block)]
    return problems


def texts_of(value):
    """Yield every text in blocks."""
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for item in value.values():
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)


def metadata_problem(metadata):
    """Return Slack's error for bad message metadata, or None."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_payload"), dict):
        return "invalid_metadata_format"
    if not isinstance(metadata.get("event_type"), str) or not metadata["event_type"]:
        return "invalid_metadata_format"
    return "metadata_too_large" if len(json.dumps(metadata)) > 8000 else None


def _text(value, most, *, only=None):
    if not isinstance(value, dict) or value.get("type") not in TEXT_KEYS:
        return ["no text object"]
    if only and value["type"] != only:
        return [f"text must be {only}"]
    problems = [f"text has no {key!r}" for key in set(value) - TEXT_KEYS[value["type"]]]
    text = value.get("text")
    if not isinstance(text, str) or not text:
        return [*problems, "text is empty"]
    return [*problems, f"text has {len(text)} of {most} characters"] if len(text) > most else problems


def _section(block):
    problems = []
    fields = block.get("fields", [])
    if "text" not in block and not fields:
        problems.append("neither text nor fields")
    if "text" in block:
        problems += _text(block["text"], SECTION_TEXT)
    if "fields" in block and not 0 < len(fields) <= FIELDS:
        problems.append(f"{len(fields)} fields")
    for field in fields:
        problems += _text(field, FIELD_TEXT)
    return problems


def _header(block):
    return _text(block.get("text"), HEADER_TEXT, only="plain_text")


def _context(block):
    elements = block.get("elements", [])
    problems = [] if 0 < len(elements) <= CONTEXT_ELEMENTS else [f"{len(elements)} elements"]
    for element in elements:
        problems += _text(element, CONTEXT_TEXT)
    return problems


def _nothing(block):
    return []


_CHECKS = {
    "section": _section,
    "header": _header,
    "context": _context,
    "divider": _nothing,
    "actions": _nothing,
}
