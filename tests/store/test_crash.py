"""SIGKILL in a stream of batches: what was acknowledged is there, and nothing is there by half."""

import random
from pathlib import Path

import pytest

from ppacer.store import Store
from store.shelf import SRC, WAIT, python, rows

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from store.shelf import created, ended, granted, new
from engine.world import at
from ppacer.engine import RunRef
from ppacer.store import Store

store = Store(sys.argv[1])
for number in range(store.newest_run_id() + 1, 1_000_000):
    ref = RunRef(number, "d", at(number))
    tasks = [f"t{n}" for n in range(20)]
    store.apply([*created(ref), *(new(task, ref=ref) for task in tasks)])
    print(number, "created", flush=True)
    store.apply([granted(task, f"{number}.{task}", ref=ref) for task in tasks])
    print(number, "granted", flush=True)
    store.apply([ended(task, f"{number}.{task}", ref=ref, result="1") for task in tasks])
    print(number, "ended", flush=True)
"""
STATUSES = {"created": "SCHEDULED", "granted": "RUNNING", "ended": "SUCCESS"}
ORDER = ["SCHEDULED", "RUNNING", "SUCCESS"]


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_has_lost_nothing_that_it_acknowledged(seed: int, db: str) -> None:
    chance = random.Random(seed)
    said: dict[str, str] = {}
    for _ in range(3):  # each time it goes on where the one before was killed
        writer = python(WRITER, db, str(TESTS), str(SRC))
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 120)):
            number, _, word = writer.stdout.readline().strip().partition(" ")
            said[number] = STATUSES[word]
        writer.kill()
        rest, _ = writer.communicate(timeout=WAIT)
        for line in rest.splitlines():  # what it said between our last look and its death
            number, _, word = line.partition(" ")
            if word in STATUSES:
                said[number] = STATUSES[word]
        check(db, said)


def check(db: str, said: dict[str, str]) -> None:
    Store(db).close()  # a start is all the repair there is
    names = {row["ExecTs"]: str(row["RunId"]) for row in rows(db, "dagruns")}
    found: dict[str, list[str]] = {}
    for row in rows(db, "dagruntasks"):
        found.setdefault(names[row["ExecTs"]], []).append(row["Status"])
    assert set(said) <= set(found)
    for number, statuses in found.items():
        assert len(statuses) == 20, number
        assert len(set(statuses)) == 1, (number, statuses)  # a batch is there whole or not at all
        if number in said:
            assert ORDER.index(statuses[0]) >= ORDER.index(said[number]), (number, statuses[0], said[number])
    results = {names[row["ExecTs"]] for row in rows(db, "dagrunresults")}
    assert results == {number for number, statuses in found.items() if statuses[0] == "SUCCESS"}
