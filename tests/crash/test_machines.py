"""A scheduler and three executors, each its own program in its own folder, killed and started at random."""

import os
from pathlib import Path

from crash.machines import Machines, Outcome

SECONDS = float(os.environ.get("PPACER_MACHINES_SECONDS", "8"))
LONG = SECONDS >= 60
LEASE = 30.0 if LONG else 2.0
RUNS = 200 if LONG else 20
SCHEDULER_KILLS = 5 if LONG else 2


def judged(outcome: Outcome) -> None:
    print(outcome)  # shown by `pytest -s`, and when it fails
    assert outcome.findings == []
    assert outcome.runs >= RUNS
    assert outcome.attempts >= 10 * outcome.runs
    assert outcome.executor_kills > 0
    assert outcome.scheduler_kills == SCHEDULER_KILLS


def test_nothing_is_lost_when_executors_and_the_scheduler_are_killed(tmp_path: Path) -> None:
    with Machines(tmp_path, lease=LEASE) as machines:
        judged(machines.play(SECONDS, RUNS, SCHEDULER_KILLS))
