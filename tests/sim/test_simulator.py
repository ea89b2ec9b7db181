"""The production scheduler among faults, in chunks of seeds; PPACER_SIM_STEPS for more steps in all.

PPACER_SIM_FROM is the first seed. A failure names the seed and the command that plays it again.
"""

import gc
import os
from collections.abc import Iterator

import pytest

from ppacer.engine import Engine
from sim.play import Plan, plan_of, play, report, shrink

TOTAL = int(os.environ.get("PPACER_SIM_STEPS", "1000000"))
FROM = int(os.environ.get("PPACER_SIM_FROM", "0"))
CHUNK = 8  # seeds in one test: two seconds, so that all workers have done at the same time
STEPS_HEALED = 1_140  # steps of a seed with those after it is healed, on average: 1,147 of the first 888
CHUNKS = -(-TOTAL // (STEPS_HEALED * CHUNK))


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_stays() -> Iterator[None]:
    """A collection looks at what the seeds leave alone: the modules of all tests took a tenth of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_promise_is_broken_under_any_fault(chunk: int) -> None:
    for seed in range(FROM + chunk * CHUNK, FROM + (chunk + 1) * CHUNK):
        played = play(plan_of(seed))
        if played.violation is not None:
            pytest.fail(report(shrink(played)), pytrace=False)
    gc.enable()
    gc.collect()


def test_a_seed_plays_the_same_again() -> None:
    plans = [Plan(7, 300), Plan(7, 300)]
    assert len({(play(plan).steps, str(play(plan).story)) for plan in plans}) == 1


def test_a_failing_seed_is_told_shrunk_and_can_be_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Engine, "has_room", lambda engine, dag_id: engine.active[dag_id] <= engine.room[dag_id]
    )
    played = next(each for each in map(play, map(Plan, range(1, 20))) if each.violation is not None)
    small = shrink(played, plays_max=20)
    assert small.violation is not None
    assert played.violation is not None
    assert small.violation.number == played.violation.number
    assert small.steps <= played.steps
    assert len(small.plan.without) > len(played.plan.without)
    assert str(play(small.plan).violation) == str(small.violation)
    told = report(small)
    assert f"seed {small.plan.seed}, step {small.steps}: invariant" in told
    assert f"python -m sim --seed {small.plan.seed} --steps {small.plan.steps} --without" in told
