"""Wall time for what the command runs."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()
