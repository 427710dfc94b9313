"""Where the command starts: `awx-bridge`, or `python -m bridge`."""

from __future__ import annotations

from bridge.cli import build
from bridge.cli.exits import Exits


def main() -> None:
    """Run the command.

    Raises:
        SystemExit: always, with an exit code of `bridge.cli.exits`.
    """
    with Exits() as exits:
        build()(obj=exits, prog_name="awx-bridge")


if __name__ == "__main__":
    main()
