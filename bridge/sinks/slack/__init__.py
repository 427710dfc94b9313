"""The Slack sink: the only room that knows slack_sdk.

`sink` decides what is posted, and what is looked for first; `messages` is what it remembers, `api`
asks Slack, `errors` says what its answers mean, `clock` what its clock shows.
"""

from bridge.sinks.slack.opening import open_slack
from bridge.sinks.slack.options import SlackOptions

__all__ = ["SlackOptions", "open_slack"]
