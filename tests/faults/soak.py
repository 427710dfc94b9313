"""Kills the bridge again and again, at every boundary and at random, and compares the end with the truth.

`python -m tests.faults.soak --rounds N --seed S` prints a report; exit 1 when anything was lost or
doubled, or when a fail point was never hit. The same seed gives the same points and moments.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.points import POINTS
from tests.support.kafka import KafkaBroker, running_broker
from tests.support.outcome import check_failures, check_secrets
from tests.support.process import ROOT, Process, Simulated, simulated
from tests.support.scene import FAILED, Scene, set_up, settled
from tests.support.truth import check_everything

RANDOM = "at random"
"""A kill at a moment that no fail point stands at."""

FIRST = "state.mark.done"
"""The mark is written at the very first start, and then not for five minutes."""

AT_ONCE = 60
"""Rounds with one state and one topic; a longer soak begins anew after so many."""

MOST_PASSES = {
    "awx.jobs.answered": 4,
    "awx.proof.answered": 3,
    "state.receipt.begins": 2,
    "state.receipt.done": 2,
    "kafka.started": 1,
    "kafka.places.read": 1,
    "webhook.send.begins": 2,
    "webhook.send.done": 2,
    "slack.send.begins": 2,
    "slack.send.done": 2,
}
"""How often a point is passed within a few seconds, where that is not often."""

PASSES = 8
LONGEST_ROUND = 8.0
PLAY_EVERY = 2
PLAY_EVERY = 3


@dataclass
class Report:
    """What a soak did."""

    seed: int
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    events: int = 0
    seconds: float = 0.0

    @property
    def never_hit(self) -> list[str]:
        return [point for point in POINTS if not self.kills[point]]

    def table(self) -> str:
        """Return the report as Markdown."""
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        head = (
            f"{self.rounds} rounds, seed {self.seed}, commit {commit}: {self.jobs} jobs, {self.events} events "
            f"in {self.seconds:.0f} s; lost 0, doubled 0.\n\n| killed at | kills |\n|---|---|\n"
        )
        return head + "".join(f"| {point} | {self.kills[point]} |\n" for point in (*POINTS, RANDOM))


class Victim(Process):
    """One run of the bridge that is meant to die, or to stand still by SIGSTOP."""

    def __init__(
        self,
        folder: Path,
        config: Path,
        note: Path,
        *,
        point: str = "",
        at: int = 0,
        by: signal.Signals = signal.SIGKILL,
    ):
        super().__init__(folder, "victim", "-m", "tests.faults.victim", config, note, point, at, int(by))


def plan(seed: int, rounds: int) -> list[tuple[str, int, float]]:
    """Return for each round the fail point, the number of its passing, and the moment of a random kill."""
    rng = random.Random(seed)
    bag: list[str] = []
    planned = [(FIRST, 1, 0.0)]
    for _ in range(rounds - 1):
        if not bag:
            bag = [point for point in POINTS if point != FIRST] + [RANDOM, RANDOM]
            rng.shuffle(bag)
        point = bag.pop()
        planned.append((point, rng.randint(1, MOST_PASSES.get(point, PASSES)), rng.uniform(0.5, 4.0)))
    return planned


async def _round(victim: Victim, note: Path, point: str, moment: float) -> str:
    """Let one victim run until it dies; return what it died of."""
    limit = moment if point == RANDOM else LONGEST_ROUND
    with contextlib.suppress(AssertionError):  # a random kill, or a point that was not passed in time
        await victim.ends(within=limit)
    victim.kill()
    assert victim.code == -9, f"ended with {victim.code}: {victim.errors()[-3000:]}"
    return noted(note)


def noted(note: Path) -> str:
    """Return the fail point that killed the last victim, if it was one."""
    return note.read_text() if note.exists() else RANDOM


async def _rounds(scene: Scene, awx: Simulated, config: Path, report: Report) -> list[Process]:
    ran: list[Process] = []
    note = scene.folder / "died-of"
    for number, (point, at, moment) in enumerate(plan(report.seed, report.rounds)):
        if number % PLAY_EVERY == 0:
            await awx.play("demo")
        note.unlink(missing_ok=True)
        victim = Victim(scene.folder, config, note, point="" if point == RANDOM else point, at=at)
        ran.append(victim)
        report.kills[await _round(victim, note, point, moment)] += 1
    return ran


async def soak(folder: Path, broker: KafkaBroker, *, rounds: int, seed: int) -> Report:
    """Run `rounds` kills and a last run to the end; raise AssertionError where it is not the truth."""
    report, began = Report(seed, rounds), time.monotonic()
    async with (
        set_up(folder, broker) as scene,
        simulated(folder, "--scenario", "empty", "--seed", seed) as awx,
    ):
        config = scene.write(
            awx,
            source={"gap_wait": "1s", "close_wait": "4s"},
            routes=[{"match": FAILED, "to": ["ops", "cmdb"]}],
        )
        ran = await _rounds(scene, awx, config, report)
        truth = await settled(awx)
        last = Victim(scene.folder, config, scene.folder / "died-of")
        ran.append(last)
        try:
            await scene.idle(last, truth["jobs"], within=120)
            assert await last.stop() == 0
        finally:
            last.kill()
        told = await scene.told()
    check_everything(told, truth)
    check_failures(scene, truth, repeats=True)
    check_secrets(scene, ran, told)
    report.jobs, report.events = len(truth["jobs"]), sum("counter" in one.fields for one in told)
    report.seconds = time.monotonic() - began
    return report


def total(reports: Sequence[Report]) -> Report:
    """Add reports up."""
    whole = Report(reports[0].seed)
    for one in reports:
        whole.rounds += one.rounds
        whole.kills += one.kills
        whole.jobs += one.jobs
        whole.events += one.events
        whole.seconds += one.seconds
    return whole


async def _main(options: argparse.Namespace) -> int:
    reports: list[Report] = []
    left = options.rounds
    while left > 0:
        with tempfile.TemporaryDirectory(prefix="awx-bridge-soak-") as folder, running_broker() as broker:
            seed = options.seed + len(reports)
            reports.append(await soak(Path(folder), broker, rounds=min(left, AT_ONCE), seed=seed))
        left -= AT_ONCE
        sys.stderr.write(f"{sum(one.rounds for one in reports)} rounds, nothing lost, nothing doubled\n")
    report = total(reports)
    sys.stdout.write(report.table())
    if report.never_hit:
        sys.stdout.write(f"\nNever hit: {', '.join(report.never_hit)}\n")
        return 1
    return 0


def main() -> int:
    """Parse the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
