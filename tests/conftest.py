"""Fixtures that more than one ring of tests uses."""

import asyncio

pytest_plugins = ["tests.support.kafka"]


def pytest_configure() -> None:
    # looptime asks for the current loop even in tests without one, and asyncio would then make one
    # that nobody closes: after this it says that there is none.
    asyncio.set_event_loop(None)
