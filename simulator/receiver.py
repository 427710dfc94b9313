"""When an emitted event becomes readable: AWX's callback receiver as numbers.

Pure: times in seconds, randomness passed in.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

NEVER: Final = math.inf

_FLUSH_SHARE: Final = 0.75


@dataclass(frozen=True, slots=True)
class Receiver:
    """AWX's callback workers: each takes events at random and writes its own buffer now and then.

    `jitter` is the longest ordinary time in seconds from emission to visibility. Three quarters of
    it are the workers' flush interval and the rest is the commit, so that counters become visible
    in batches and out of order (awx/main/dispatch/worker/callback.py; measured on AWX 24.6.1 with
    four workers: up to 2.1 s). 0 makes every event readable when it is emitted.
    """

    workers: int = 4
    jitter: float = 2.0

    def visible(self, emitted: Sequence[float], rng: Random) -> array[float]:
        """Return for each emission time the time at which its row can be read."""
        if self.jitter <= 0:
            return array("d", emitted)
        interval = self.jitter * _FLUSH_SHARE
        phases = [rng.random() * interval for _ in range(self.workers)]
        commits: dict[tuple[int, int], float] = {}
        visible = array("d")
        for at in emitted:
            worker = rng.randrange(self.workers)
            tick = math.ceil((at - phases[worker]) / interval)
            if (worker, tick) not in commits:
                commits[worker, tick] = rng.random() * (self.jitter - interval)
            visible.append(phases[worker] + tick * interval + commits[worker, tick])
        return visible
