"""The published files under `schema/`, as the code makes them; run it to write them anew."""

from __future__ import annotations

import json
from pathlib import Path

from bridge.contract import event_schema
from bridge.examples import golden_examples

SCHEMA = Path(__file__).parents[2] / "schema"


def rendered() -> dict[Path, str]:
    """Return the text of every file, by its path below `schema/`."""
    files = {Path("event.schema.json"): event_schema()}
    files |= {Path("examples") / f"{kind}.json": fields for kind, fields in golden_examples().items()}
    return {path: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for path, value in files.items()}


if __name__ == "__main__":
    for path, text in rendered().items():
        (SCHEMA / path).write_text(text, encoding="utf-8")
