"""The program and its task processes are killed at random moments and at named points: nothing may be lost.

Where each fault of RELIABILITY.md is tested:

scheduler killed anywhere        here; tests/store/test_crash, tests/app/test_serve
executor killed                  here (warm parent, children); tests/executor/test_program, test_leaks
partition, duplicate, late       tests/scheduler/test_executors, test_faults
reply lost after commit          tests/scheduler/test_faults
disk full, read-only, locked     test_database; tests/store/test_trouble, tests/tasklog/test_outage
corrupted database               tests/store/test_trouble
power cut                        tests/store (the replay of recorded writes)
clock jumps, DST, host asleep    test_time; tests/scheduler/test_watcher, tests/schedule
task hangs, ignores signals      test_tasks; tests/executor/test_child
segfault, _exit, OOM kill        test_tasks; tests/executor/test_child, test_parts
BaseException, sys.exit          tests/executor/test_execute, test_child
1 GB of output, 1 M log lines    test_floods; tests/executor/test_flood, test_output
100,000 dags or tasks            tests/dag/test_size, tests/store/test_many_rows, bench
dag changed during a run         tests/scheduler/test_restart, tests/app/test_serve
older or unknown code            tests/executor/test_execute
two schedulers on one file       tests/app/test_serve, tests/store/test_lock
hostile input, HTTP, network     tests/dag/test_validation, tests/api
notifier down                    tests/scheduler/test_outbox
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from crash.startup import POINTS, TASK_POINTS
from ppacer.torture import Campaign, Plan, Verdict

KILLS = int(os.environ.get("PPACER_CRASH_KILLS", "30"))
"""Of the program, and as many of its task processes."""

KILLS_PER_DATABASE = 5
STARTUP = (sys.executable, str(Path(__file__).with_name("startup.py")))
ALL = [*POINTS, *TASK_POINTS]
POINT_SETS = [ALL[at : at + 4] for at in range(0, len(ALL), 4)]
ONCE_OR_RARE = {*ALL[: ALL.index("event is there")], "log is written", "alert is sent"}
RANDOM = max(KILLS - len(POINTS), 2 * KILLS_PER_DATABASE)


def play(folder: Path, plan: Plan) -> Verdict:
    with Campaign(folder, plan) as campaign:
        verdict = campaign.play()
    assert verdict.findings == []
    return verdict


@pytest.mark.parametrize("seed", range(-(-RANDOM // KILLS_PER_DATABASE)))
def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(seed: int, tmp_path: Path) -> None:
    runner = "pool" if seed % 3 == 2 else "process"
    executor_kills = KILLS_PER_DATABASE * KILLS // RANDOM
    verdict = play(tmp_path, Plan(KILLS_PER_DATABASE, executor_kills, seed, runner))
    assert (verdict.kills, verdict.executor_kills) == (KILLS_PER_DATABASE, executor_kills)
    assert verdict.attempts > verdict.runs > 0  # or nothing was put to the test


@pytest.mark.parametrize("turn", range(max(1, KILLS // 30)))
@pytest.mark.parametrize("points", POINT_SETS, ids="; ".join)
def test_nothing_is_lost_or_doubled_by_kills_at_named_points(
    points: list[str], turn: int, tmp_path: Path
) -> None:
    random = Random(turn)

    def environ(life: int) -> Mapping[str, str]:
        """The first life makes a database and is killed from outside, the last one may finish its work."""
        if not 2 <= life <= len(points) + 1:
            return {}
        name = points[life - 2]
        most = 1 if name in ONCE_OR_RARE else 12
        return {"PPACER_CRASH_POINT": f"{name}:{random.randint(1, most)}"}

    play(tmp_path, Plan(len(points) + 1, 0, turn, life_max=2.5, command=STARTUP, environ=environ))
    assert (tmp_path / "points").read_text().splitlines() == points
