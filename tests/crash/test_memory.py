"""The kernel kills for want of memory: tasks die alone, and say of what; the program is never chosen."""

import sys
from contextlib import closing

import pytest

from crash.cgroups import bounded
from crash.conftest import Make
from crash.world import PATIENCE
from ppacer.torture.program import COMMAND, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")

WORDS = "was killed by SIGKILL, probably out of memory"
EATERS = """
EATERS = {eaters}
HELD = []

@task
def eats() -> None:
    while not (HERE / "enough").exists():
        HELD.append(b"x" * 1_000_000)
        time.sleep(0.005)

@task
def neighbour() -> str:
    wait_for("go")
    return "all is well"

with Dag("hungry") as hungry:
    neighbour()
    for number in range(EATERS):
        eats.with_options(id=f"eats{{number}}")()
with Dag("good") as good:
    neighbour()
"""


@pytest.mark.parametrize(("eaters", "megabytes", "kills"), [(1, 400, 1), (16, 280, 4)])
def test_an_out_of_memory_kill_takes_the_task_alone(
    eaters: int, megabytes: int, kills: int, world: Make
) -> None:
    """Many together reach the bound while each of them is smaller than the program, the largest of all."""
    with (
        bounded(f"eaters{eaters}", COMMAND, megabytes * 1_000_000) as command,
        closing(world(EATERS.format(eaters=eaters), settings={"slots": 20}, command=command)) as w,
    ):
        w.start()
        run_id = w.trigger("hungry")
        failed = "SELECT 1 FROM dagruntasks WHERE Status = 'FAILED'"
        until(lambda: w.has_ended or len(w.rows(failed)) >= kills, "the kernel kills", PATIENCE)
        assert not w.has_ended
        w.touch("enough")
        w.touch("go")
        tasks = {task.task_id: task for task in w.wait(run_id).tasks}
        assert tasks["neighbour"].status == "SUCCESS"
        errors = [task.error or "" for task in tasks.values() if task.status != "SUCCESS"]
        assert len(errors) >= kills
        assert [error for error in errors if WORDS not in error] == []
        assert w.wait(w.trigger("good")).run.status == "SUCCESS"
