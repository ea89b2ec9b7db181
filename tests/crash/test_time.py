"""A program stopped for longer than a lease, and a wall clock that jumps: no attempt is lost falsely."""

import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from crash.conftest import Make
from crash.world import PATIENCE, World
from ppacer.executor import posix
from ppacer.torture.program import until

pytestmark = pytest.mark.slow

LEASE = 2.0
STARTUP = (sys.executable, str(Path(__file__).with_name("startup.py")))

SLOW = """
@task
def slow(ctx: TaskContext) -> int:
    mark(f"slow {os.getpid()}")
    wait_for("go")
    return 7

@task(retries=1, retry_delay=timedelta(milliseconds=200))
def again(number: int, ctx: TaskContext) -> None:
    assert number == 7
    if ctx.retry == 0:
        raise ConnectionError

@task
def tick() -> None:
    mark("tick")

with Dag("slow") as slow_dag:
    again(slow())
with Dag("ticks", schedule=Fixed(datetime(2024, 3, 11, tzinfo=timezone.utc), timedelta(seconds=1))) as ticks:
    tick()
"""


@pytest.mark.parametrize("what", ["the program", "the program and its tasks"])
def test_a_stop_for_longer_than_a_lease_loses_no_attempt(world: Make, what: str) -> None:
    w = world(SLOW, settings={"lease": LEASE})
    w.start()
    run_id = w.trigger("slow")
    w.pid_of("slow")
    warm = w.warm_parent
    assert warm is not None
    pids = [w.pid] if what == "the program" else [w.pid, warm, *w.task_processes()]
    posix.signal_all(pids, signal.SIGSTOP)
    posix.pause(3 * LEASE)
    if what == "the program":  # what ends meanwhile is not lost either
        w.touch("go")
        posix.pause(0.2)
    posix.signal_all(pids, signal.SIGCONT)
    w.touch("go")
    assert w.wait(run_id).run.status == "SUCCESS"
    assert w.attempts("slow") == [("SUCCESS", None)]
    assert sum(line.startswith("slow") for line in w.lines()) == 1


@pytest.mark.parametrize("seconds", [7200.0, -7200.0])
def test_a_clock_that_jumps_loses_no_attempt_and_no_point(world: Make, seconds: float) -> None:
    w = world(SLOW, settings={"lease": LEASE}, command=STARTUP)
    w.start({"PPACER_CLOCK_JUMP": str(seconds)})
    run_id = w.trigger("slow")
    w.pid_of("slow")
    until(lambda: w.lines().count("tick") >= 2, "ticks before the jump", PATIENCE)
    w.touch("jump")
    until(lambda: w.lines("points"), "the jump", PATIENCE)
    posix.pause(2 * LEASE)
    w.touch("go")
    assert w.wait(run_id).run.status == "SUCCESS"
    assert w.attempts("slow") == [("SUCCESS", None)]
    assert w.attempts("again") == [("FAILED_PENDING_RETRY", "FAILED"), ("SUCCESS", None)]
    before = w.lines().count("tick")
    if seconds > 0:  # back in time no point is due, because it has had its run
        until(lambda: w.lines().count("tick") > before, "ticks after the jump", PATIENCE)
    assert w.stop() == 0
    check_points(w, seconds)


def check_points(world: World, seconds: float) -> None:
    points = world.rows(
        "SELECT ScheduleTs, NextScheduleTs, Event FROM schedules WHERE DagId = 'ticks' ORDER BY ScheduleTs"
    )
    assert all(before[1] == after[0] for before, after in pairwise(points))
    assert any(event == "SKIPPED" for _, _, event in points[1:]) == (seconds > 0)
    runs = world.rows("SELECT ExecTs FROM dagruns WHERE DagId = 'ticks' ORDER BY ExecTs")
    assert runs == [(ts,) for ts, _, event in points if event != "SKIPPED"]
    assert len(runs) == len(set(runs))
