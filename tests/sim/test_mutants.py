"""Every planted bug is noticed by the simulator, and stands in the source as the list says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.mutant_list import MUTANTS
from sim.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]


PLAYED = MUTANTS if os.environ.get("PPACER_SIM_MUTANTS") == "all" else MUTANTS[::8]
"""Each takes seconds, some a minute: all of them are in `dev.py prove simulator`."""


@pytest.mark.parametrize("mutant", PLAYED, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_simulator_notices(mutant: Mutant) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "sim.mutants", mutant.name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen["number"] is not None, seen


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_bug_stands_in_the_source_once(mutant: Mutant) -> None:
    source = (ROOT / "src" / mutant.path).read_text("utf-8")
    compile(mutant.mutate(source), mutant.path, "exec")


def test_the_list_is_long_enough_and_names_are_their_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 35
