"""An event as a Slack message, within Slack's limits and without pinging anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bridge.render.clean import line_of
from bridge.render.story import Fields, Story, tell

HEADLINE: Final = 600
FACT: Final = 300
LEAD: Final = 400
MESSAGE: Final = 700
LINK: Final = 1000
FALLBACK: Final = 1200
"""Most characters, escapes included, of a headline, a fact, a failure's place, its words, a link, `text`.

Slack allows 3,000 in a section, 2,000 in one of its fields, and about 13,200 in all blocks together
(slackapi/bolt-js issue 2509); these add up to less than 12,000.
"""

Block = dict[str, Any]

_PING: Final = re.compile(r"@(?=(?:here|channel|everyone|group)\b)", re.IGNORECASE)


class SlackMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of chat.postMessage.

    The headline is a block of its own; what follows stands beside a bar in the outcome's colour,
    which Slack only gives to attachments. `text` is for notifications and screen readers.
    """

    text: str
    blocks: list[Block]
    attachments: list[Block]


def slack_message(fields: Fields) -> SlackMessage:
    """Write an event for Slack."""
    story = tell(fields)
    subject = _escape(story.subject, HEADLINE // 3)
    if story.link and _escaped_size(story.link) <= LINK:
        subject = f"<{_escape(story.link, 0)}|{subject}>"
    parts = (_escape(story.before, FACT), f"*{subject}*" if subject else "", _escape(story.after, FACT))
    headline = " ".join([story.look.emoji, *filter(None, parts)])
    blocks = list(_slack_details(story))
    return SlackMessage(
        text=_escape(f"{story.look.emoji} {_in_one_line(story)}", FALLBACK),
        blocks=[{"type": "section", "text": _mrkdwn(headline)}],
        attachments=[{"color": story.look.colour, "blocks": blocks}] if blocks else [],
    )


def _in_one_line(story: Story) -> str:
    first = [f"{detail.where}: {line_of(detail.message)}".removeprefix(": ") for detail in story.details[:1]]
    facts = [f"{name} {value}" for name, value in story.facts if name in {"Reason", "Hosts"}]
    return ". ".join([story.headline.rstrip("."), *facts, *first])


def _slack_details(story: Story) -> Iterator[Block]:
    if story.facts:
        texts = [f"*{name}*\n{_escape(value, FACT)}" for name, value in story.facts]
        yield {"type": "section", "fields": [_mrkdwn(text) for text in texts]}
    for detail in story.details:
        where = f"*{_escape(detail.where, LEAD)}*\n" if detail.where else ""
        message = _code(detail.message)
        if where or message:
            # Slack folds long sections otherwise, and what went wrong is what people came for.
            yield {"type": "section", "expand": True, "text": _mrkdwn((where + message).strip())}
    notes = [note for note in (story.more, *story.notes) if note]
    if notes:
        yield {"type": "context", "elements": [_mrkdwn(_escape(note, FACT)) for note in notes]}


def _code(message: str) -> str:
    escaped = _escape(message.replace("```", "'''"), MESSAGE)
    return f"```{escaped}```" if escaped else ""


def _mrkdwn(text: str) -> Block:
    # verbatim: Slack looks for neither addresses nor names to turn into links and pings.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _escape(text: str, limit: int) -> str:
    """Escape for mrkdwn (&, <, >; no words that ping), at most `limit` characters; 0: as long as it is."""
    quiet = _PING.sub("@\u2060", text)
    if limit and _escaped_size(quiet) > limit:
        quiet = _longest(quiet, limit - 1) + "…"
    return quiet.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escaped_size(text: str) -> int:
    return len(text) + 4 * text.count("&") + 3 * text.count("<") + 3 * text.count(">")


def _longest(text: str, limit: int) -> str:
    fits, too_long = 0, min(len(text), limit) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _escaped_size(text[:middle]) <= limit:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip()
