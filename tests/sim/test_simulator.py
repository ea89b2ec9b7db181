"""A million steps of the production scheduler among faults, in chunks of seeds; PPACER_SIM_STEPS for more.

PPACER_SIM_FROM is the first seed. A failure names the seed and the command that plays it again.
"""

import gc
import os

import pytest

from sim.play import Plan, plan_of, play, report, shrink

TOTAL = int(os.environ.get("PPACER_SIM_STEPS", "1000000"))
FROM = int(os.environ.get("PPACER_SIM_FROM", "0"))
CHUNK = 25  # seeds in one test: a few seconds
STEPS_HEALED = 1_080  # steps of a seed with those after it is healed, on average
CHUNKS = -(-TOTAL // (STEPS_HEALED * CHUNK))


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
