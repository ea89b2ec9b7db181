"""One program from start to stop, and what a kill -9 leaves to the next start."""

import os
import signal
import urllib.error
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from app.program import PATIENCE, Program, until

Make = Callable[[str], Program]

HEAD = """
import os, sys, time
from datetime import datetime, timedelta, timezone
import ppacer
from ppacer import Dag, TaskContext, task
from ppacer.schedule import Fixed

def mark(text):
    file = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (text + "\\n").encode())
    os.close(file)
"""

SLOW = (
    HEAD
    + """
@task
def quick(ctx: TaskContext) -> int:
    mark(f"{ctx.task_id} {ctx.retry} {os.getpid()}")
    return 7

@task
def slow(n: int, ctx: TaskContext) -> int:
    mark(f"{ctx.task_id} {ctx.retry} {os.getpid()}")
    while not os.path.exists("go"):
        time.sleep(0.02)
    return n + 1

@task
def last(n: int, ctx: TaskContext) -> None:
    mark(f"{ctx.task_id} {ctx.retry} {os.getpid()} got {n}")

with Dag("slow") as dag:
    last(slow(quick()))

ppacer.serve(dag, runner=%r, drain=%r, grace=0.5)
"""
)


def counts(program: Program) -> Counter[str]:
    return Counter(line.split()[0] for line in program.lines("ledger"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("runner", ["process", "pool", "thread"])
def test_after_kill_9_finished_tasks_stay_and_running_ones_run_again(program: Make, runner: str) -> None:
    p = program(SLOW % (runner, 5.0)).start()
    run_id = p.trigger("slow")
    until(lambda: counts(p)["slow"] == 1, "slow runs")
    before = p.rows("SELECT * FROM dagruntasks WHERE TaskId = 'quick'")
    pid = int(p.lines("ledger")[-1].split()[2])
    p.kill()
    until(lambda: not is_alive(pid), "the orphan is gone")
    p.start()
    until(lambda: counts(p)["slow"] == 2, "slow runs again")
    words = p.log.rpartition("ppacer serves 1 dag(s)")[2].splitlines()
    assert words[1].endswith("1 open run(s) go on; 1 attempt(s) that were running begin again")
    (p.folder / "go").touch()
    detail = p.wait(run_id)
    assert detail["run"]["status"] == "SUCCESS"
    assert counts(p) == {"quick": 1, "slow": 2, "last": 1}
    assert p.lines("ledger")[-1].endswith("got 8")
    assert p.rows("SELECT * FROM dagruntasks WHERE TaskId = 'quick'") == before
    attempts = p.rows("SELECT Retry, Status, Reason FROM dagruntasks WHERE TaskId = 'slow' ORDER BY Retry")
    assert attempts == [(0, "FAILED_PENDING_RETRY", "LOST"), (1, "SUCCESS", None)]


def test_sigterm_lets_running_tasks_finish_and_ends_with_0(program: Make) -> None:
    p = program(SLOW % ("process", PATIENCE)).start()
    p.trigger("slow")
    until(lambda: counts(p)["slow"] == 1, "slow runs")
    p.signal(signal.SIGTERM)
    until(lambda: "stopping" in p.log, "the program stops")
    (p.folder / "go").touch()
    assert p.process is not None
    assert p.process.wait(PATIENCE) == 0
    assert p.rows("SELECT Status FROM dagruntasks WHERE TaskId = 'slow'") == [("SUCCESS",)]


def test_while_a_stop_waits_one_can_look_and_not_act(program: Make) -> None:
    p = program(SLOW % ("process", 60.0)).start()
    run_id = p.trigger("slow")
    until(lambda: counts(p)["slow"] == 1, "slow runs")
    p.signal(signal.SIGTERM)
    until(lambda: "stopping: 1 task(s) have 60 s to finish" in p.log, "the program stops")
    assert p.get(f"/api/v1/runs/{run_id}")["run"]["status"] == "RUNNING"
    with pytest.raises(urllib.error.HTTPError) as refused:
        until(lambda: p.trigger("slow"), "a refusal")
    with refused.value:
        assert refused.value.code == 503
        assert "the scheduler is stopping" in refused.value.read().decode()
    (p.folder / "go").touch()
    assert p.process is not None
    assert p.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("signals", [1, 2])
def test_what_does_not_finish_in_time_is_handed_back_without_costing_a_retry(
    program: Make, signals: int
) -> None:
    p = program(SLOW % ("process", 0.3 if signals == 1 else 60.0)).start()
    run_id = p.trigger("slow")
    until(lambda: counts(p)["slow"] == 1, "slow runs")
    for _ in range(signals):
        p.signal(signal.SIGTERM)
        until(lambda: "stopping" in p.log, "the program stops")
    assert p.process is not None
    assert p.process.wait(PATIENCE) == 0
    attempts = p.rows("SELECT Retry, Status, Reason FROM dagruntasks WHERE TaskId = 'slow' ORDER BY Retry")
    assert attempts == [(0, "FAILED_PENDING_RETRY", "HANDED_BACK"), (1, "SCHEDULED", None)]
    (p.folder / "go").touch()
    p.start()
    assert p.wait(run_id)["run"]["status"] == "SUCCESS"


@pytest.mark.slow
def test_a_sigterm_to_every_process_hands_back_what_runs(program: Make) -> None:
    """As systemd sends it, unless it is told otherwise. Here the task has it first."""
    patient = f"import ppacer.executor.children\nppacer.executor.children.STRAY_SECONDS = {PATIENCE}\n"
    p = program(patient + SLOW % ("process", 5.0)).start()
    run_id = p.trigger("slow")
    until(lambda: counts(p)["slow"] == 1, "slow runs")
    os.kill(int(p.lines("ledger")[-1].split()[2]), signal.SIGTERM)
    assert p.stop() == 0
    attempts = p.rows("SELECT Retry, Status, Reason FROM dagruntasks WHERE TaskId = 'slow' ORDER BY Retry")
    assert attempts == [(0, "FAILED_PENDING_RETRY", "HANDED_BACK"), (1, "SCHEDULED", None)]
    (p.folder / "go").touch()
    p.start()
    assert p.wait(run_id)["run"]["status"] == "SUCCESS"


RETRIES = (
    HEAD
    + """
@task(retries=1, retry_delay=timedelta(seconds=5))
def flaky(ctx: TaskContext) -> None:
    mark(f"{ctx.task_id} {ctx.retry} {time.time()}")
    raise ValueError("no")

with Dag("flaky") as dag:
    flaky()

ppacer.serve(dag)
"""
)


def test_retries_and_their_delays_are_remembered_over_kill_9(program: Make) -> None:
    p = program(RETRIES).start()
    run_id = p.trigger("flaky")
    until(
        lambda: p.rows("SELECT 1 FROM dagruntasks WHERE Status = 'FAILED_PENDING_RETRY'"),
        "it has failed once",
    )
    p.kill()  # long before the next attempt is due
    p.start()
    detail = p.wait(run_id)
    assert detail["run"]["status"] == "FAILED"
    times = [float(line.split()[2]) for line in p.lines("ledger")]
    assert len(times) == 2
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(times))
    assert len(p.rows("SELECT 1 FROM outbox WHERE Kind = 'FAILURE'")) == 1


def test_a_second_scheduler_on_the_file_is_refused_in_one_sentence(program: Make) -> None:
    p = program(SLOW % ("process", 1.0)).start()
    assert p.process is not None
    second = Program(p.folder, SLOW % ("process", 1.0))
    pid = p.process.pid
    second.start()
    assert second.process is not None
    assert second.process.wait(PATIENCE) != 0
    assert f"another scheduler (process {pid}, {p.url}) has" in second.log
    assert p.get("/healthz")["state"] == "RUNNING"


SCHEDULED = (
    HEAD
    + """
@task
def tick(ctx: TaskContext) -> None:
    mark(ctx.run.exec_ts.isoformat())

with Dag("ticks", schedule=Fixed(datetime(2024, 3, 11, tzinfo=timezone.utc), timedelta(seconds=1))) as dag:
    tick()

ppacer.serve(dag, runner="pool")
"""
)


def test_every_point_over_a_kill_is_a_run_or_a_recorded_skip(program: Make) -> None:
    p = program(SCHEDULED).start()
    until(lambda: len(p.lines("ledger")) >= 2, "two ticks")
    p.kill()
    p.start()
    begun = len(p.lines("ledger"))
    until(lambda: len(p.lines("ledger")) >= begun + 2, "two ticks more")
    assert p.stop() == 0
    points = p.rows("SELECT ScheduleTs, NextScheduleTs FROM schedules ORDER BY ScheduleTs")
    assert all(before[1] == after[0] for before, after in pairwise(points))
    runs = p.rows("SELECT ExecTs FROM dagruns ORDER BY ExecTs")
    assert runs == [(ts,) for ts, _ in p.rows(
        "SELECT ScheduleTs, 0 FROM schedules WHERE Event <> 'SKIPPED' ORDER BY ScheduleTs"
    )]  # fmt: skip
    ended = p.rows("SELECT ExecTs FROM dagruns WHERE Status = 'SUCCESS'")
    assert len(ended) <= len(set(p.lines("ledger"))) <= len(runs)  # one may be open when the program stops


EDITED = (
    HEAD
    + """
@task
def work() -> str:
    raise ValueError("a typo")

with Dag("edited") as dag:
    work()

ppacer.serve(dag)
"""
)


def test_a_restart_of_a_failed_run_uses_the_mended_code(program: Make) -> None:
    p = program(EDITED).start()
    run_id = p.trigger("edited")
    detail = p.wait(run_id)
    assert detail["run"]["status"] == "FAILED"
    assert "ValueError: a typo" in detail["tasks"][0]["error"]
    assert p.stop() == 0
    p.file.write_text(EDITED.replace('raise ValueError("a typo")', 'return "mended"'))
    p.start()
    p.post(f"/api/v1/runs/{run_id}/restart")
    assert p.wait(run_id)["run"]["status"] == "SUCCESS"
    assert p.get(f"/api/v1/runs/{run_id}/tasks/work/result") == "mended"
    sources = p.get("/api/v1/dags/edited/tasks/work/sources")["sources"]
    assert [source["revision"] for source in sources] == [1, 0]
    assert '"mended"' in sources[0]["source"]


HELPED = EDITED.replace("import ppacer\n", "import ppacer\nimport helper\n", 1).replace(
    'raise ValueError("a typo")', "return helper.help()"
)
FAULTY = 'def help():\n    raise ValueError("a typo")  # as it was\n'


def test_a_program_says_that_its_files_have_changed_since_it_started(program: Make) -> None:
    p = program(HELPED)
    helper = p.folder / "helper.py"
    helper.write_text(FAULTY)
    run_id = p.start().trigger("edited")
    p.wait(run_id)
    assert "changed" not in p.get(f"/api/v1/runs/{run_id}/why")["why"]
    helper.write_text('# a line more\n\ndef help():\n    return "mended"\n')
    note = "helper.py has changed since this program started: start it again to run the mended code"
    for path in ("why", "tasks/work/why"):
        assert p.get(f"/api/v1/runs/{run_id}/{path}")["why"].endswith(f" Mind that {note}.")
    assert p.post(f"/api/v1/runs/{run_id}/restart")["note"] == note
    assert "ValueError: a typo" in p.wait(run_id)["tasks"][0]["error"]
    until(lambda: f"note: {note}" in p.log, "the second alert")
    helper.write_text(FAULTY)
    assert p.post(f"/api/v1/runs/{run_id}/restart")["note"] is None


def test_a_traceback_shows_the_lines_that_ran(program: Make) -> None:
    p = program(HELPED)
    helper = p.folder / "helper.py"
    helper.write_text(FAULTY)
    p.start()
    helper.write_text("# a line more\n" + FAULTY.replace("as it was", "as it is"))
    error = p.wait(p.trigger("edited"))["tasks"][0]["error"]
    assert "as it was" in error
    assert "as it is" not in error


def test_what_will_be_caught_up_is_told_at_the_start(program: Make) -> None:
    source = SCHEDULED.replace("2024, 3, 11", "1, 3, 11").replace(
        "timedelta(seconds=1))) as", "timedelta(days=3650)), catch_up=True) as"
    )
    p = program(source).start()
    assert p.stop() == 0
    assert "ticks will catch up from 0001-03-11: about 203 runs" in p.log
    assert "open run(s) go on" not in p.log
