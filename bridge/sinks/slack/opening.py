"""From a Slack sink's options to the sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from slack_sdk.web.async_client import AsyncWebClient

from bridge.errors import ConfigError, Problem, SinkRefusedError
from bridge.ports import Sink, SinkContext
from bridge.sinks.over_http import open_session
from bridge.sinks.slack.api import Api, only_slack
from bridge.sinks.slack.clock import SlackClock
from bridge.sinks.slack.options import SlackOptions
from bridge.sinks.slack.sink import SlackSink


@asynccontextmanager
async def open_slack(options: SlackOptions, context: SinkContext) -> AsyncGenerator[Sink]:
    """Open a Slack sink.

    Raises:
        ConfigError: the token or a TLS file cannot be used.
    """
    try:
        token = _read_token(options)
    except SinkRefusedError as err:
        raise ConfigError([Problem(f"sinks.{context.name}.token", err.reason)]) from err
    # Of its own and silent: slack_sdk would log whole messages when debugging is on.
    silent = logging.Logger("slack_sdk", logging.CRITICAL)  # noqa: LOG001 - not in the process-wide tree
    clock = SlackClock(asyncio.get_running_loop().time)
    guard = only_slack(context.clock, answered=clock.answered)
    async with open_session(options, context.name, middlewares=[guard]) as session:
        client = AsyncWebClient(
            token, base_url=options.base_url, session=session, retry_handlers=[], logger=silent
        )
        client.proxy = options.proxy_url  # the constructor would take one from the environment
        api = Api(client, context.clock)
        yield SlackSink(options, api, context, clock=clock, read_token=partial(_read_token, options))


def _read_token(options: SlackOptions) -> str:
    try:
        token = options.reveal("token")
    except (OSError, ValueError) as err:
        raise SinkRefusedError("the token's file cannot be read") from err
    if not token or not token.isascii() or not token.isprintable():
        raise SinkRefusedError("the token is empty, or no token")
    return token
