"""Where the bridge keeps its memory."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bridge.options import Options


class StateOptions(Options):
    """The `state` block of the configuration."""

    path: Path = Field(
        Path("./state/bridge.db"),
        description="the state file, on a disk of this machine; its folder is made when missing",
    )
