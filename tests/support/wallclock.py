"""The real wall time, for tests against real servers; `skew` moves it."""

from __future__ import annotations

import time


class WallClock:
    def __init__(self):
        self.skew = 0.0

    def now(self):
        return time.time() + self.skew
