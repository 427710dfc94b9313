"""`awx-bridge send-test`: does this sink work?"""

# ruff: noqa: PLC0415 - --help must not load every client library

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.clock import SystemClock
from bridge.cli.exits import CommandError, ExitCode
from bridge.cli.files import ConfigFile, read_config
from bridge.cli.output import say
from bridge.errors import (
    PartialDeliveryError,
    PermanentDeliveryError,
    SinkRefusedError,
    TemporaryDeliveryError,
    did_you_mean,
)

if TYPE_CHECKING:
    from bridge.config import Config
    from bridge.model import Event

SinkName = Annotated[
    str, typer.Argument(metavar="SINK", help="The sink's name in the configuration.", show_default=False)
]
Timeout = Annotated[float, typer.Option(min=0.1, help="How many seconds to wait.", metavar="SECONDS")]


def send_test(file: ConfigFile, sink: SinkName, *, timeout: Timeout = 30.0) -> None:
    """Send one event, marked as a test, to a sink, and say what became of it.

    It goes the way of every event, but neither through routes nor into the state.
    """
    config = read_config(file)
    if sink not in config.sinks:
        hint = did_you_mean(sink, config.sinks) or f"; the sinks are {', '.join(config.sinks)}"
        raise CommandError(f"no sink is called {sink!r}{hint}", code=ExitCode.USAGE)
    say(asyncio.run(_send(config, sink, timeout)), style="green")


async def _send(config: Config, name: str, timeout: float) -> str:  # noqa: ASYNC109 - the whole command's
    from bridge.ports import SinkContext
    from bridge.sinks import sink_kinds

    options = config.sinks[name]
    where = f"sink {name} ({options.destination})"
    # Not under the bridge's own name: a Kafka writer of that name would push a running bridge out.
    context = SinkContext(bridge=f"{config.name}.send-test", name=name, clock=SystemClock())
    kind = sink_kinds()[options.model_dump()["type"]]
    try:
        async with asyncio.timeout(timeout), kind.open(options, context) as sink:
            await sink.send([_test_event(config.name, name)])
    except TimeoutError as err:
        message = f"{where} did not answer within {timeout:g} seconds"
        raise CommandError(message, code=ExitCode.UNAVAILABLE) from err
    except PartialDeliveryError as err:
        raise _failure(where, err.errors[0]) from err
    except (TemporaryDeliveryError, PermanentDeliveryError, SinkRefusedError) as err:
        raise _failure(where, err) from err
    return f"{where} accepted the test event"


def _failure(
    where: str, error: TemporaryDeliveryError | PermanentDeliveryError | SinkRefusedError
) -> CommandError:
    if isinstance(error, TemporaryDeliveryError):
        message = f"{where} is not available: {error.reason}"
        return CommandError(message, code=ExitCode.UNAVAILABLE)
    return CommandError(f"{where} refused the test event: {error.reason}")


def _test_event(bridge: str, sink: str) -> Event:
    from bridge.encode import iso, to_event
    from bridge.model import SCHEMA_VERSION

    fields = {
        "id": f"{bridge}/test/{uuid.uuid4()}",
        "type": "bridge.heartbeat",
        "time": iso(SystemClock().now()),
        "source": bridge,
        "schema_version": SCHEMA_VERSION,
        "bridge": bridge,
        "sink": sink,
        "reason": "This is a test: somebody ran awx-bridge send-test.",
    }
    return to_event(fields, key=f"{bridge}/test")
