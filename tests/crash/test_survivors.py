"""What a task has started does not outlive its program, even when the warm parent could not see to it."""

import os
import signal

import pytest

from crash.conftest import Make
from crash.world import PATIENCE, World, is_running
from ppacer.torture.program import until

FAMILY = """
@task
def family(ctx: TaskContext) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    daemon = subprocess.Popen(sleep, start_new_session=True)
    if (fork := os.fork()) == 0:
        os.setsid()
        time.sleep(600)
    mark(f"forked {fork}")
    mark(f"daemon {daemon.pid}")
    mark(f"task {os.getpid()}")
    wait_for("go")
    for pid in (daemon.pid, fork):
        os.kill(pid, signal.SIGKILL)

with Dag("family") as dag:
    family()
"""
NAMES = ("task", "daemon", "forked")


def begun(world: World) -> tuple[int, list[int]]:
    """A run whose task has a daemon that is a program, and one that is a mere fork."""
    run_id = world.trigger("family")
    world.pid_of("task")
    return run_id, [world.pid_of(name) for name in NAMES]


def test_a_successor_ends_what_outlived_the_warm_parent(world: Make) -> None:
    w = world(FAMILY)
    w.start()
    run_id, pids = begun(w)
    w.kill(with_warm_parent=True)
    assert any(map(is_running, pids))  # or this test shows nothing
    w.start()
    assert not any(map(is_running, pids))
    until(lambda: len(w.lines()) == 6, "the task runs again", PATIENCE)
    w.touch("go")
    assert w.wait(run_id).run.status == "SUCCESS"
    assert "of a program that was killed" in w.log


def test_a_new_warm_parent_begins_when_what_outlived_the_old_one_is_gone(world: Make) -> None:
    w = world(FAMILY)
    w.start()
    run_id, pids = begun(w)
    warm = w.warm_parent
    assert warm is not None
    os.kill(warm, signal.SIGKILL)
    until(lambda: len(w.lines()) == 6, "the task runs again", PATIENCE)
    assert not any(map(is_running, pids))
    w.touch("go")
    assert w.wait(run_id).run.status == "SUCCESS"


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_who_reads_the_lock_file_or_has_another_is_left_alone(world: Make, mode: str) -> None:
    """A backup at work, or a scheduler on a copy of the folder."""
    w = world(FAMILY)
    w.start()
    begun(w)
    w.kill(with_warm_parent=True)
    lock = w.folder / "scheduler.db.children.lock"
    copy = w.folder / "copy.lock"
    copy.touch()
    with open(lock if mode == "r" else copy, mode):
        w.start()
        assert w.url is not None
