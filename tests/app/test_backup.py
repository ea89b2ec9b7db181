"""A running program is copied, goes on, is put back to the copy, and everything that was open goes on."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from app.program import SRC, Program, until

SOURCE = """
import os, time
import ppacer
from ppacer import Dag, TaskContext, task

@task
def first(ctx: TaskContext) -> int:
    with open("ledger", "a") as file:
        print(ctx.run.run_id, "first", file=file, flush=True)
    return 7

@task
def slow(n: int) -> int:
    while not os.path.exists("go"):
        time.sleep(0.02)
    return n + 1

@task
def last(n: int, ctx: TaskContext) -> None:
    with open("ledger", "a") as file:
        print(ctx.run.run_id, "last", n, file=file, flush=True)

with Dag("slow") as slow_dag:
    last(slow(first()))

with Dag("busy", max_active_runs=1000) as busy:
    last(first())

ppacer.serve([slow_dag, busy], runner="thread", drain=0.0, grace=0.5)
"""


def ppacer(program: Program, *arguments: str) -> Any:
    """What a command answers as JSON."""
    command = [sys.executable, "-m", "ppacer", *arguments, "--json"]
    environ = {"PYTHONPATH": str(SRC), "PATH": ""}
    done = subprocess.run(
        command, cwd=program.folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_copy_of_a_writing_scheduler_is_put_back_and_open_runs_go_on(
    program: Callable[[str], Program],
) -> None:
    one = program(SOURCE).start()
    open_run = one.trigger("slow")
    until(lambda: one.lines("ledger") == [f"{open_run} first"], "the first task is done")
    before = [one.trigger("busy") for _ in range(30)]
    ppacer(one, "db", "backup", "copy.db")  # while they run
    for run_id in before:
        one.wait(run_id)
    one.stop()

    assert ppacer(one, "db", "check", "--db", "copy.db")["ok"] is True
    replaced = ppacer(one, "db", "restore", "copy.db")["replaced"]
    assert ppacer(one, "db", "check", "--db", replaced)["ok"] is True
    (one.folder / "go").touch()
    one.start()
    assert one.wait(open_run)["run"]["status"] == "SUCCESS"
    runs = one.rows("SELECT RunId FROM dagruns")
    for (run_id,) in runs:
        assert one.wait(run_id)["run"]["status"] == "SUCCESS"
    assert one.lines("ledger").count(f"{open_run} first") == 1
    assert f"{open_run} last 8" in one.lines("ledger")
    one.stop()
    assert ppacer(one, "db", "check")["ok"] is True
