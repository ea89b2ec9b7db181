"""Tasks that treat their process, its parent, or the program badly: one attempt suffers, and says of what."""

import os
import signal

from crash.conftest import Make
from crash.world import PATIENCE, is_running
from ppacer.torture.program import until

DEATHS = """
@task
def segfaults() -> None:
    import ctypes
    ctypes.string_at(0)

@task
def exits() -> None:
    os._exit(3)

@task
def waits_for_its_killer() -> None:
    mark(f"victim {os.getpid()}")
    time.sleep(600)

@task
def takes_too_much() -> None:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)

@task(timeout=timedelta(seconds=5))
def ignores_everything() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    apart = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
    mark(f"child {child.pid}")
    mark(f"apart {apart.pid}")
    mark(f"deaf {os.getpid()}")
    time.sleep(600)

@task
def neighbour() -> str:
    wait_for("go")
    return "all is well"

with Dag("deaths") as deaths:
    segfaults(), exits(), waits_for_its_killer(), takes_too_much(), ignores_everything(), neighbour()
"""

CAUSES = {
    "segfaults": "was killed by SIGSEGV (segmentation fault)",
    "exits": "exited with code 3 without a result",
    "waits_for_its_killer": "was killed by SIGKILL",
    "takes_too_much": "MemoryError",
    "ignores_everything": "timed out after 5s",
}


def test_each_death_is_told_and_harms_no_neighbour(world: Make) -> None:
    w = world(DEATHS, settings={"slots": 6})
    w.start()
    run_id = w.trigger("deaths")
    os.kill(w.pid_of("victim"), signal.SIGKILL)
    deaf = [w.pid_of(name) for name in ("deaf", "child", "apart")]
    until(lambda: len(w.rows("SELECT 1 FROM dagruntasks WHERE Status = 'FAILED'")) == 5, "deaths", PATIENCE)
    assert not any(map(is_running, deaf))
    w.touch("go")
    tasks = {task.task_id: task for task in w.wait(run_id).tasks}
    assert tasks.pop("neighbour").status == "SUCCESS"
    assert {name: task.status for name, task in tasks.items()} == dict.fromkeys(CAUSES, "FAILED")
    for name, words in CAUSES.items():
        assert words in (tasks[name].error or ""), name


KILLS_PARENT = """
@task
def kills_parent() -> None:
    mark("ran")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)

@task
def innocent() -> None:
    pass

with Dag("bad") as bad:
    kills_parent()
with Dag("good") as good:
    innocent()
"""


def test_a_task_that_kills_the_parent_of_all_tasks_is_given_up(world: Make) -> None:
    w = world(KILLS_PARENT)
    w.start()
    run_id = w.trigger("bad")
    detail = w.wait(run_id)
    assert detail.run.status == "FAILED"
    assert w.attempts("kills_parent") == [("FAILED_PENDING_RETRY", "LOST")] * 3 + [("FAILED", "LOST")]
    assert len(w.lines()) == 4
    assert "from which task processes are forked has died" in (detail.tasks[0].error or "")
    assert not w.has_ended
    assert w.wait(w.trigger("good")).run.status == "SUCCESS"


KILLS_PROGRAM = """
@task
def kills_program() -> None:
    mark("ran")
    parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(parent), signal.SIGKILL)
    time.sleep(600)

with Dag("bad") as bad:
    kills_program()
"""


def test_a_task_that_kills_the_program_is_given_up(world: Make) -> None:
    w = world(KILLS_PROGRAM)
    w.start()
    run_id = w.trigger("bad")
    for _ in range(3):
        until(lambda: w.has_ended, "the program is killed", PATIENCE)
        w.start(wait=False)
    until(lambda: w.has_ended, "the program is killed", PATIENCE)
    w.start()
    detail = w.wait(run_id)
    assert detail.run.status == "FAILED"
    assert w.attempts("kills_program") == [("FAILED_PENDING_RETRY", "LOST")] * 3 + [("FAILED", "LOST")]
    assert len(w.lines()) == 4
    assert "4 times" in (detail.tasks[0].error or "")
