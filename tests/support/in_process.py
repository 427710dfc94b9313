"""The simulated AWX without a socket: its answers reach the client in virtual time."""

from __future__ import annotations

from aiohttp.test_utils import make_mocked_request
from yarl import URL

from bridge.awx.budget import RequestBudget
from bridge.awx.options import SourceOptions
from bridge.awx.source import AwxSource
from bridge.awx.transport import Answer, Transport
from simulator.access import TOKEN
from simulator.server import Simulator
from simulator.world import World
from tests.support.fakes import FakeClock

URL_OF_IT = "http://awx.invalid"


class InProcess(Transport):
    """Hands requests to the simulator's application instead of a connection."""

    def __init__(self, name: str, options: SourceOptions, *, simulator: Simulator, clock: FakeClock) -> None:
        super().__init__(name, options, session=None, budget=RequestBudget(options.max_requests), clock=clock)
        self._app = simulator.app()
        self._app.freeze()

    async def _exchange(self, path, params, purpose, where):
        url = URL(URL_OF_IT).join(URL(path, encoded=True)).with_query(params)
        headers = {"Authorization": self._credentials(), "Accept": "application/json"}
        async with self._budget.turn(purpose):
            request = make_mocked_request("GET", str(url.relative()), headers=headers, app=self._app)
            response = await self._app._handle(request)
        return Answer(response.status, response.headers, bytes(response.body))


def simulated_source(world: World, *, clock: FakeClock, **options: object) -> tuple[AwxSource, Simulator]:
    """Make the source `prod` over `world`, and the simulator that it asks."""
    simulator = Simulator(world)
    credentials = {} if "token_file" in options else {"token": TOKEN}
    chosen = SourceOptions.model_validate({"url": URL_OF_IT, "max_requests": 50, **credentials, **options})
    transport = InProcess("prod", chosen, simulator=simulator, clock=clock)
    return AwxSource("prod", chosen, transport=transport, budget=transport._budget), simulator
