"""Twenty thousand odd inputs; the long form is `python -m tests.faults.fuzz --inputs 1000000`."""

import random
import re
import subprocess
import sys

import pytest

from tests.faults import fuzz
from tests.support.process import ROOT

ADDRESS = re.compile(r"0x[0-9a-f]{8,}")
INPUTS = 20_000
SEED = 1
BECOMES = {
    "wire": {"read", "malformed", "empty", "refused"},
    "events": {"clean", "malformed"},
    "config": {"loaded", "refused"},
}


@pytest.mark.parametrize("area", fuzz.AREAS)
def test_no_input_trips(area):
    """Every kind of outcome comes often enough, so that no area has become a formality."""
    inputs = round(INPUTS * fuzz.SHARE[area])
    became = fuzz.fuzz(area, inputs=inputs, seed=SEED)
    assert set(became) == BECOMES[area]
    assert min(became.values()) > inputs // 20
    assert became.total() == inputs


@pytest.mark.parametrize("area", fuzz.AREAS)
def test_an_input_comes_from_its_area_seed_and_number_alone(area):
    """Neither what was made before it nor the process matters."""
    make, _ = fuzz.AREAS[area]
    names = [f"{area}/{seed}/{number}" for seed in (1, 2) for number in range(200)]
    texts = {name: shown(make(random.Random(name))) for name in names}
    assert {name: shown(make(random.Random(name))) for name in reversed(names)} == texts
    assert len(set(texts.values())) > 250
    again = f"import random; from tests.faults.fuzz import AREAS; print(ascii(AREAS[{area!r}][0](random.Random({names[7]!r}))))"
    printed = subprocess.run(
        [sys.executable, "-c", again], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ADDRESS.sub("", printed.stdout.strip()) == texts[names[7]]


def shown(made):
    return ADDRESS.sub("", ascii(made))


def test_a_failure_says_which_input_it_was(monkeypatch, capsys):
    make, _ = fuzz.AREAS["wire"]

    def check(body):
        if random.Random(body).random() < 0.1:
            raise ZeroDivisionError("a bug")
        return "read"

    monkeypatch.setitem(fuzz.AREAS, "wire", (make, check))
    with pytest.raises(fuzz.Tripped, match="ZeroDivisionError: a bug") as failed:
        fuzz.fuzz("wire", inputs=200, seed=5)
    _, command, shown = str(failed.value).split("\n", 2)
    words = command.removeprefix("python -m tests.faults.fuzz ").split()
    with pytest.raises(fuzz.Tripped) as again:
        fuzz.main(words)
    assert str(again.value) == str(failed.value)
    assert shown.startswith(("b'", 'b"'))
    monkeypatch.setitem(fuzz.AREAS, "wire", (make, lambda body: "read"))
    fuzz.main(words)
    assert "1 inputs of seed 5" in capsys.readouterr().out


def test_an_input_that_takes_too_long_is_a_failure(monkeypatch):
    monkeypatch.setattr(fuzz, "SLOW", 0.0)
    with pytest.raises(fuzz.Tripped, match="took"):
        fuzz.one("config", 1, 1)
