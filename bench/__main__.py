"""`python -m bench`: list the measurements, or run one."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path


def main() -> int:
    """Run what the command line names; without a name say what there is."""
    found = {path.stem: path for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))}
    if len(sys.argv) > 1 and sys.argv[1] in found:
        name = sys.argv.pop(1)
        runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=True)
        return 0
    for name, path in found.items():
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"python -m bench {name:8} {doc.splitlines()[0]}")
    return 2 if len(sys.argv) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
