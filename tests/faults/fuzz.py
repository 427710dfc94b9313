"""Odd input by the thousand: nothing that AWX sends or a file holds may trip our own code.

`python -m tests.faults.fuzz --inputs 1000000`. An input depends on nothing but its area, the seed and
its number, so the line that a failure prints makes it again, and it alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from tests.faults import fuzz_config, fuzz_events, fuzz_wire

SLOW = 5.0
"""Seconds of processor time that no input may take: bad input must not hold up the rest."""

SHOWN = 2_000
AREAS = {
    "wire": (fuzz_wire.make, fuzz_wire.check),
    "events": (fuzz_events.make, fuzz_events.check),
    "config": (fuzz_config.make, fuzz_config.check),
}
SHARE = {"wire": 0.55, "events": 0.3, "config": 0.15}
"""Which part of all inputs goes to each area: an answer takes least."""


class Tripped(AssertionError):
    """An input that did what none may; the message has it, and how to try it again."""


def one(area, seed, number):
    """Make and try one input; return in a word what became of it."""
    make, check = AREAS[area]
    made = make(random.Random(f"{area}/{seed}/{number}"))
    began = time.process_time()
    try:
        became = check(made)
        took = time.process_time() - began
        assert took < SLOW, f"took {took:.1f} s"
    except Exception as err:
        again = f"python -m tests.faults.fuzz --area {area} --seed {seed} --number {number}"
        raise Tripped(f"{type(err).__name__}: {err}\n{again}\n{made!r:.{SHOWN}}") from err
    return became


def fuzz(area, *, inputs, seed, first=0):
    """Try that many inputs; return how many became what."""
    return Counter(one(area, seed, number) for number in range(first, first + inputs))


def main(words):
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many, over all areas")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--area", choices=AREAS, action="append", help="only this one")
    parser.add_argument("--number", type=int, help="only the input with this number")
    asked = parser.parse_args(words)
    for area in asked.area or AREAS:
        inputs = 1 if asked.number is not None else round(asked.inputs * SHARE[area])
        began = time.monotonic()
        became = fuzz(area, inputs=inputs, seed=asked.seed, first=asked.number or 0)
        said = ", ".join(f"{word} {count:,}" for word, count in became.most_common())
        print(f"{area}: {inputs:,} inputs of seed {asked.seed} in {time.monotonic() - began:.0f} s: {said}")  # noqa: T201 - it is a command


if __name__ == "__main__":
    main(sys.argv[1:])
