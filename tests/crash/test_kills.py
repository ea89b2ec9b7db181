"""The program and its task processes are killed at random moments and at named points: nothing may be lost.

Where each fault of docs/reliability.md is tested:

scheduler killed anywhere        here; tests/store/test_crash, tests/app/test_serve
executor killed                  here (warm parent, children), test_survivors; tests/executor/test_leaks
partition, duplicate, late       tests/sim; tests/scheduler/test_executors, test_faults
reply lost after commit          tests/sim; tests/scheduler/test_faults
disk full, read-only, locked     test_database; tests/store/test_trouble, tests/tasklog/test_outage
corrupted database               tests/store/test_trouble
power cut                        test_power
clock jumps, DST, host asleep    test_time; tests/sim, tests/scheduler/test_watcher, tests/schedule
task hangs, ignores signals      test_tasks; tests/executor/test_child
segfault, _exit                  test_tasks; tests/executor/test_child, test_parts
OOM kill                         test_memory; tests/executor/test_child, test_parts
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
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest

from crash.startup import POINTS, TASK_POINTS
from ppacer.torture import Campaign, Plan, Verdict

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("PPACER_CRASH_KILLS", "30"))
"""Of the program, and as many of its task processes."""

KILLS_PER_DATABASE = 5
RANDOM = max(KILLS - len(POINTS), 2 * KILLS_PER_DATABASE)
TURNS = range(max(1, KILLS // 30))
STARTUP = (sys.executable, str(Path(__file__).with_name("startup.py")))
NAMES = [*POINTS]
ONCE_OR_RARE = {*NAMES[: NAMES.index("event is there")], "log is written", "alert is sent"}


def in_groups(names: Iterable[str], size: int) -> list[list[str]]:
    """One database for each group."""
    all_names = list(names)
    return [all_names[at : at + size] for at in range(0, len(all_names), size)]


def play(folder: Path, plan: Plan) -> Verdict:
    with Campaign(folder, plan) as campaign:
        verdict = campaign.play()
    assert verdict.findings == []
    return verdict


def play_points(folder: Path, points: list[str], passes: Sequence[int]) -> None:
    """The first life makes a database, each of the next ones is led to a point, the last one finishes."""

    def passed() -> list[str]:
        file = folder / "points"
        return file.read_text().splitlines() if file.exists() else []

    environs: dict[int, dict[str, str]] = {
        life: {"PPACER_CRASH_POINT": f"{point}:{number}"}
        for life, (point, number) in enumerate(zip(points, passes, strict=True), 2)
    }
    plan = Plan(
        kills=len(points) + 1,
        command=STARTUP,
        environ=lambda life: environs.get(life, {}),
        is_there=lambda life: len(passed()) == life - 1,
    )
    play(folder, plan)
    assert passed() == points


@pytest.mark.parametrize("seed", range(-(-RANDOM // KILLS_PER_DATABASE)))
def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(seed: int, tmp_path: Path) -> None:
    runner = "pool" if seed % 3 == 2 else "process"
    executor_kills = KILLS_PER_DATABASE * KILLS // RANDOM
    verdict = play(tmp_path, Plan(KILLS_PER_DATABASE, executor_kills, seed, runner))
    assert (verdict.kills, verdict.executor_kills) == (KILLS_PER_DATABASE, executor_kills)
    assert verdict.attempts > verdict.runs > 0  # or nothing was put to the test


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("points", in_groups(POINTS, 4), ids="; ".join)
def test_nothing_is_lost_or_doubled_by_kills_at_named_points(
    points: list[str], turn: int, tmp_path: Path
) -> None:
    random = Random(turn)
    passes = [1 if point in ONCE_OR_RARE else random.randint(1, 12) for point in points]
    play_points(tmp_path, points, passes)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("points", in_groups(TASK_POINTS, 3), ids="; ".join)
def test_nothing_is_lost_or_doubled_by_task_processes_that_die_at_named_points(
    points: list[str], turn: int, tmp_path: Path
) -> None:
    random = Random(turn)
    passes = [1 if point.startswith("child") else random.randint(1, 6) for point in points]
    play_points(tmp_path, points, passes)
