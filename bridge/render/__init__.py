"""What chat and terminals say of an event.

Pure, and total: whatever the fields hold, the words are within Slack's limits, ping nobody and run
no control sequence. First the story is told without any markup, then it is written for a medium.
"""

from __future__ import annotations

from bridge.render.plain import plain_text
from bridge.render.slack import SlackMessage, slack_message
from bridge.render.story import Detail, Fields, Look, Story, tell

__all__ = ["Detail", "Fields", "Look", "SlackMessage", "Story", "plain_text", "slack_message", "tell"]
